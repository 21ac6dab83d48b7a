"""What a plan predicted against what the engine measured, component by component; it reads no file and no log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from planner.memory.term import Bounds, Term, used
from planner.planning.answer import KvCache, Plan
from planner.serve.log.measured import Measured

T = TypeVar("T", Term, KvCache)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What a plan says of one GPU."""

    lines: Mapping[str, Term]
    """The ledger, by name."""
    outside_budget: Mapping[str, Term]
    kv_cache: KvCache

    @classmethod
    def of(cls, plan: Plan) -> Predicted:
        """Return what `plan` says."""
        return cls(
            lines={line.name: line for line in plan.ledger.lines},
            outside_budget={line.name: line for line in plan.ledger.outside_budget},
            kv_cache=plan.kv_cache,
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Predicted:
        """Return the same from a plan's JSON, without planning again; keys of newer documents are passed over.

        Raises:
            KeyError, TypeError: for a document that is damaged.
        """
        return cls(
            lines={line["name"]: _read(Term, line) for line in document["ledger"]},
            outside_budget={line["name"]: _read(Term, line) for line in document.get("outside_budget", ())},
            kv_cache=_read(KvCache, document["kv_cache"]),
        )


def _read(kind: type[T], table: Mapping[str, Any]) -> T:
    return kind(**{one.name: table[one.name] for one in fields(kind) if one.name in table})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One component, predicted and measured."""

    name: str
    """Key of the component: a ledger term, or a sum of terms."""
    title: str
    unit: str
    """``bytes``, ``blocks`` or ``tokens``."""
    predicted: int
    low: int
    high: int
    measured: int

    @property
    def difference(self) -> int:
        """Measured less predicted."""
        return self.measured - self.predicted

    def outside(self, tolerance: int) -> bool:
        """Whether the measurement is beyond the predicted bounds by more than `tolerance`."""
        return not self.low - tolerance <= self.measured <= self.high + tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Predicted against measured, component by component."""

    differences: tuple[Difference, ...]
    tolerance_bytes: int
    wrong: tuple[str, ...]
    """Components outside their bounds, the largest error first; derived quantities are left out."""
    summary: str = field(init=False, default="")
    """One sentence: what to make of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", self._summary())

    def _summary(self) -> str:
        if not self.differences:
            return "the log holds no figure that the plan predicts"
        if not self.wrong:
            return "every measured component is within its predicted bounds"
        worst = next(item for item in self.differences if item.name == self.wrong[0])
        way = "larger" if worst.difference > 0 else "smaller"
        return f"{worst.title} was predicted wrong: {abs(worst.difference) / 2**30:.2f} GiB {way} than expected"


def outside_torch_bytes(terms: Mapping[str, int], measured: Measured) -> int | None:
    """Return what the engine measured outside torch, negative where the figures contradict each other.

    Where the log gives one sum only, the weights that it measured are taken off, else those of the plan, and what
    `terms`, predicted bytes by ledger line, says of segments and buffers. The fused all-reduce's workspace, outside
    torch too, has a line of its own; a later start does not have it by then.
    """
    workspace = 0 if makes_workspace_with_graphs(measured) else terms.get("fused_all_reduce", 0)
    if measured.non_torch_bytes is not None:
        return measured.non_torch_bytes - workspace
    if measured.consumed_bytes is None:
        return None
    predicted = sum(size for name, size in terms.items() if _is_loaded(name))
    rounding = terms.get("weights.rounding", 0)
    loaded = measured.rank_weights_bytes if measured.rank_weights_bytes is not None else predicted
    if loaded < predicted + rounding / 2:
        # Loading mostly reports the remainders of the vision tower's segments, too; a figure this small does not.
        loaded += rounding
    known = workspace + sum(terms.get(name, 0) for name in ("buffers", "segments"))
    return measured.consumed_bytes - loaded - known


def makes_workspace_with_graphs(measured: Measured) -> bool:
    """Whether the fused all-reduce's workspace is in the graph estimate instead of the profile run.

    Compiling makes it. A start that finds everything compiled makes it at its first step, which is the first capture:
    vLLM 0.33.0 at TP2 on two H200 showed the same KV cache to the byte with 512 MiB in the one or the other.
    """
    return measured.compiled_anew is False


def _is_loaded(name: str) -> bool:
    """Whether loading reports this ledger line: allocated bytes; the allocator's segments come on top of them."""
    return name == "rope_cache" or (name.startswith("weights.") and name != "weights.rounding")


def compare(predicted: Predicted, measured: Measured) -> Comparison:
    """Return predicted against measured for everything that both know."""
    lines, kv = predicted.lines, predicted.kv_cache

    def total(names: Sequence[str]) -> Bounds:
        return used(lines[name] for name in names if name in lines)

    weights = [name for name in lines if name.startswith("weights.")] + ["rope_cache"]
    loaded = [name for name in weights if _is_loaded(name)]
    found: list[Difference] = []

    def note(name: str, title: str, terms: Sequence[str], value: int | None) -> None:
        if value is not None:
            sums = total(terms)
            found.append(_difference(name, title, "bytes", (sums.expected, sums.best, sums.worst), value))

    if measured.weights_bytes is not None:
        exact_bytes = total(loaded).expected
        bounds = exact_bytes, exact_bytes, total(weights).worst
        found.append(_difference("weights", "weights", "bytes", bounds, measured.weights_bytes))
    workspace = ["fused_all_reduce"]
    consumed, graphs = [*weights, "buffers", "segments", "outside_torch", *workspace], ["graphs"]
    if makes_workspace_with_graphs(measured):
        consumed, graphs = consumed[:-1], graphs + workspace
    note("consumed", "weights, buffers and memory outside torch", consumed, measured.consumed_bytes)
    outside = outside_torch_bytes({name: line.bytes for name, line in lines.items()}, measured)
    note("outside_torch", "memory outside torch", ["outside_torch"], outside)
    if measured.peak_activation_bytes is not None:
        note("activations", "peak activation", ["activations"], measured.peak_activation_bytes)
        note("graphs", "graphs, the engine's estimate", graphs, measured.graph_estimate_bytes)
    else:
        note(
            "activations+graphs", "peak activation and graph estimate", ["activations", *graphs],
            measured.peak_with_estimate_bytes,
        )  # fmt: skip
    exact = [item.name for item in found if item.name != "consumed"]
    if measured.graph_actual_bytes is not None:
        # Where a release subtracts no estimate, the captures live outside its budget.
        line = predicted.outside_budget.get("graphs") or lines["graphs"]
        bounds = line.bytes, line.low_bytes, line.high_bytes
        found.append(_difference("graphs.actual", "graphs, actual", "bytes", bounds, measured.graph_actual_bytes))
    available = kv.available_bytes, kv.available_low_bytes, kv.available_high_bytes
    if measured.kv_available_bytes is not None:
        found.append(_difference("kv_available", "KV cache memory", "bytes", available, measured.kv_available_bytes))
    per_token = kv.bytes_per_token_per_gpu
    for name, unit, size, expected, value in (
        ("num_gpu_blocks", "blocks", per_token * kv.block_size, kv.num_gpu_blocks, measured.num_gpu_blocks),
        ("tokens", "tokens", per_token, kv.tokens, measured.kv_cache_tokens),
    ):
        if value is not None:
            low = expected - max(0, available[0] - available[1]) // size
            high = expected + max(0, available[2] - available[0]) // size
            found.append(_difference(name, f"KV {unit}", unit, (expected, low, high), value))
    off = [item for item in found if item.name in exact and item.outside(2 * measured.tolerance_bytes)]
    off.sort(key=lambda item: -abs(item.difference))
    return Comparison(
        differences=tuple(found),
        tolerance_bytes=measured.tolerance_bytes,
        wrong=tuple(item.name for item in off),
    )


def _difference(name: str, title: str, unit: str, predicted: tuple[int, int, int], measured: int) -> Difference:
    return Difference(
        name=name, title=title, unit=unit,
        predicted=predicted[0], low=predicted[1], high=predicted[2], measured=measured,
    )  # fmt: skip
