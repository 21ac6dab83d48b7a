"""Predicted against measured, term by term; each model is predicted by terms that were fitted without it.

The prediction is the planner's own: the same budget that plans are made from, with the two fitted terms replaced by
their held-out fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hw_specs import parse_gpus
from hw_specs.units import GIB, gib
from planner.accuracy.data import Startup, asked, sibling, startups
from planner.accuracy.fit import Term, fit_graphs, fit_outside_torch, most_layers
from planner.accuracy.rows import Reading, Start, single_readings
from planner.facts.overheads import overhead_facts
from planner.facts.release import resolve_release
from planner.memory.budget import RankBudget, rank_budgets
from planner.memory.kv_cache import kv_bytes_per_token
from planner.memory.term import Term as LedgerTerm
from planner.memory.term import used
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest

COMPONENTS = ("weights", "activations", "outside_torch", "graphs", "buffers", "kv_pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One component of one start-up."""

    startup: Startup
    component: str
    """One of :data:`COMPONENTS`; ``kv_pool`` takes the measured weights as given."""
    predicted_gib: float
    low_gib: float
    high_gib: float
    measured_gib: float

    @classmethod
    def of(cls, startup: Startup, component: str, predicted: tuple[float, float, float], measured: float) -> Comparison:
        """Return `predicted`, which is expected, low and high, beside `measured`; all in GiB."""
        expected, low, high = predicted
        return cls(
            startup=startup, component=component, predicted_gib=expected, low_gib=low, high_gib=high,
            measured_gib=measured,
        )  # fmt: skip

    @property
    def error_gib(self) -> float:
        """Predicted less measured."""
        return self.predicted_gib - self.measured_gib

    @property
    def error_percent(self) -> float:
        """The same, as a share of what was measured."""
        return 100 * self.error_gib / self.measured_gib

    @property
    def safe(self) -> bool:
        """Whether the bound on the careful side held: pool at least `low_gib`, anything else at most `high_gib`.

        Half of the last printed digit is allowed for.
        """
        if self.component == "kv_pool":
            return self.low_gib <= self.measured_gib + 0.005
        return self.high_gib >= self.measured_gib - 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Errors of some comparisons of one component."""

    name: str
    component: str
    count: int
    models: int
    mean_gib: float
    mean_absolute_gib: float
    mean_absolute_percent: float
    worst_percent: float
    by_model_percent: float
    """Mean absolute error with every model counted once."""
    safe_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingCheck:
    """A single public reading beside what the planner says."""

    reading: Reading
    weights_gib: float | None
    """Predicted, of the rank with the most."""
    kv_gib: float | None
    """What the printed tokens take at the planner's bytes per token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheck:
    """A reported start or failure beside the planner's verdict."""

    start: Start
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All comparisons, their groups, the single readings and the reported starts."""

    comparisons: tuple[Comparison, ...]
    groups: tuple[Group, ...]
    readings: tuple[ReadingCheck, ...]
    starts: tuple[StartCheck, ...]

    def group(self, name: str, component: str) -> Group:
        """Return one group.

        Raises:
            KeyError: when there is none.
        """
        for group in self.groups:
            if (group.name, group.component) == (name, component):
                return group
        raise KeyError(name, component)


GROUPS: tuple[tuple[str, Callable[[Startup], bool]], ...] = (
    ("in scope", lambda one: not one.relative),
    ("TP1", lambda one: not one.relative and _ranks(one) == 1),
    ("TP2, TP4", lambda one: not one.relative and one.settings.tensor_parallel_size > 1),
    ("PP2, PP4", lambda one: not one.relative and one.settings.pipeline_parallel_size > 1),
    ("relatives", lambda one: one.relative),
)


def _ranks(startup: Startup) -> int:
    return startup.settings.layout.gpus_per_replica


def evaluate(*, left_out: Literal["base", "family"] = "base") -> Report:
    """Compare every start-up of the data with what the planner says without having seen its model, or its family."""
    everything = startups()
    comparisons: list[Comparison] = []
    for startup in everything:
        others = [one for one in everything if getattr(one, left_out) != getattr(startup, left_out)]
        comparisons += _compare(startup, others)
    groups = [
        make_group(name, component, [one for one in comparisons if one.component == component and belongs(one.startup)])
        for name, belongs in GROUPS
        for component in COMPONENTS
        if any(one.component == component and belongs(one.startup) for one in comparisons)
    ]
    return Report(
        comparisons=tuple(comparisons),
        groups=tuple(groups),
        readings=tuple(_check(one) for one in single_readings().readings),
        starts=tuple(StartCheck(start=one, verdict=_verdict(one)) for one in single_readings().starts),
    )


def budgets(startup: Startup) -> tuple[RankBudget, ...]:
    """The planner's budget of every pipeline stage of `startup`."""
    release = resolve_release(startup.vllm_version)
    return rank_budgets(startup.model, startup.gpus, startup.settings, release)


def _compare(startup: Startup, others: Sequence[Startup]) -> list[Comparison]:
    ranks = budgets(startup)
    first = ranks[0]
    tp = startup.settings.tensor_parallel_size
    terms = {
        "outside_torch": fit_outside_torch(others, tensor_parallel_size=tp),
        "graphs": fit_graphs(one for one in others if not one.relative),
    }
    found: list[Comparison] = []

    def add(component: str, measured: str, predicted: tuple[float, float, float]) -> None:
        if measured in startup.measured:
            found.append(Comparison.of(startup, component, predicted, startup.measured[measured]))

    if not startup.relative:
        add("weights", "weights_gib", weights_gib(first))
    add("activations", "activations_gib", term_gib(first.terms["activations"]))
    outside = _held_out(terms["outside_torch"], startup)
    if startup.settings.pipeline_parallel_size == 1 and outside:
        add("outside_torch", "outside_torch_gib", outside)
    graphs = _held_out(terms["graphs"], startup)
    if graphs:
        add("graphs", "graphs_estimated_gib", graphs)
    buffers = _buffers(startup, first)
    if buffers:
        found.append(buffers)
    if outside:
        found.append(_pool(startup, ranks, outside))
    return found


def term_gib(term: LedgerTerm) -> tuple[float, float, float]:
    """Return a term's expected, low and high size."""
    return term.bytes / GIB, term.low_bytes / GIB, term.high_bytes / GIB


def weights_gib(rank: RankBudget) -> tuple[float, float, float]:
    """Weights, RoPE table and the allocator's rest, as ``Model loading took`` counts them."""
    exact = rank.weights.total_bytes + rank.rope_bytes
    rounding = rank.terms["weights.rounding"]
    return (exact + rounding.bytes) / GIB, (exact + rounding.low_bytes) / GIB, (exact + rounding.high_bytes) / GIB


def pool_gib(rank: RankBudget, weights_gib: float) -> tuple[float, float, float]:
    """What is left for the KV cache beside weights of this size: expected, low and high."""
    taken = used(term for term in rank.terms.values() if term.name != "weights.rounding")
    room = rank.requested_bytes / GIB - weights_gib
    return room - taken.expected / GIB, room - taken.worst / GIB, room - taken.best / GIB


def _held_out(term: Term | None, startup: Startup) -> tuple[float, float, float] | None:
    return term.at(most_layers(startup)) if term else None


def _buffers(startup: Startup, rank: RankBudget) -> Comparison | None:
    """Tensors that stay after loading: the level before the profile run less the weights.

    Models with tied weights print a level that still holds the head they dropped, and weights quantised while loading
    one that holds their originals, so those test nothing here.
    """
    buffers = rank.outside_budget["buffers"]
    level = startup.measured.get("peak_after_load_gib")
    if startup.model.tie_word_embeddings or startup.quantised_on_load or not buffers.bytes or level is None:
        return None
    table_bytes = overhead_facts().custom_allreduce.table_bytes if rank.shape.tensor_parallel_size > 1 else 0
    return Comparison(
        startup=startup,
        component="buffers",
        predicted_gib=buffers.bytes / GIB,
        low_gib=buffers.low_bytes / GIB,
        high_gib=buffers.high_bytes / GIB + 0.005,  # the difference of two printed figures
        measured_gib=level - startup.measured["weights_gib"] - table_bytes / GIB,
    )


def _pool(startup: Startup, ranks: Sequence[RankBudget], outside: tuple[float, float, float]) -> Comparison:
    """KV pool of the tightest rank, its measured weights given.

    With pipeline stages only one rank's weights are printed, so each rank's own exact weights stand in, and the pool
    is what the printed tokens take.
    """
    stages = len(ranks) > 1
    pools: list[tuple[float, float, float]] = []
    for rank in ranks:
        weights = weights_gib(rank)[0] if stages else startup.measured["weights_gib"]
        room = rank.requested_bytes / GIB - weights
        # What grew outside torch holds the fused all-reduce's workspace.
        fitted = ("weights.rounding", "outside_torch", "fused_all_reduce")
        sizes = [size for name, size in rank.terms.items() if name not in fitted]
        pools.append(
            (
                room - outside[0] - sum(size.bytes for size in sizes) / GIB,
                room - outside[2] - sum(size.high_bytes for size in sizes) / GIB,
                room - outside[1] - sum(size.low_bytes for size in sizes) / GIB,
            )
        )
    measured = startup.measured["kv_available_gib"]
    if stages:
        measured = startup.measured["kv_tokens"] * max(rank.geometry.bytes_per_token for rank in ranks) / GIB
    return Comparison.of(startup, "kv_pool", smallest(pools), measured)


def smallest(pools: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Return the pool that the ranks share: expected, low and high, each of the rank that has least."""
    expected, low, high = map(min, zip(*pools, strict=True))
    return expected, low, high


def make_group(name: str, component: str, members: Sequence[Comparison]) -> Group:
    """Return the errors of `members`, comparisons of one component."""
    percents = [abs(one.error_percent) for one in members]
    by_model: dict[str, list[float]] = {}
    for one in members:
        by_model.setdefault(one.startup.base, []).append(abs(one.error_percent))
    return Group(
        name=name,
        component=component,
        count=len(members),
        models=len(by_model),
        mean_gib=sum(one.error_gib for one in members) / len(members),
        mean_absolute_gib=sum(abs(one.error_gib) for one in members) / len(members),
        mean_absolute_percent=sum(percents) / len(percents),
        worst_percent=max(members, key=lambda one: abs(one.error_percent)).error_percent,
        by_model_percent=sum(sum(errors) / len(errors) for errors in by_model.values()) / len(by_model),
        safe_percent=100 * sum(one.safe for one in members) / len(members),
    )


def _verdict(start: Start) -> str:
    return make_plan(asked(PlanRequest, start, gpus=parse_gpus(start.gpus))).verdict


def _check(reading: Reading) -> ReadingCheck:
    model, weights = sibling(reading.model), None
    if reading.weights_gib is not None:
        settings = replace(
            startups()[0].settings,
            tensor_parallel_size=reading.tensor_parallel_size,
            pipeline_parallel_size=reading.pipeline_parallel_size,
            language_model_only=False,
            load_format="mistral" if model.native_format else "hf",
        )
        gpus = replace(startups()[0].gpus, memory_override_bytes=gib(80))
        weights = max(weights_gib(rank)[0] for rank in rank_budgets(model, gpus, settings, resolve_release()))
    kv = None
    if reading.kv_tokens is not None:
        layers = -(-model.num_hidden_layers // reading.pipeline_parallel_size)
        per_token = kv_bytes_per_token(
            model,
            layers=layers,
            tensor_parallel_size=reading.tensor_parallel_size,
            kv_cache_dtype=reading.kv_cache_dtype,
        )
        kv = reading.kv_tokens * per_token / GIB
    return ReadingCheck(reading=reading, weights_gib=weights, kv_gib=kv)
