"""What would meet the targets of a load that are missed: each lever is the plan that one gets with it, asked once more.

First what serves the whole load: a setting given free again, a draft, a smaller KV cache entry, other GPUs; then the
largest load that these ways serve. It never recommends silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hw_specs.spec import GpuSet
from hw_specs.units import format_figure
from planner.errors import InvalidRequest, PlannerError
from planner.facts.policy import policy
from planner.planning.answer import LEVER_COSTS, Lever, LeverCost
from planner.planning.load_search import largest, values
from planner.planning.pick import pick
from planner.planning.request import PlanRequest
from planner.planning.setting import SettingValue
from planner.planning.ways import Allowance, Candidate, Comparison, PlayedEnough, Way, alone, in_time, miss
from planner.speed.answer import Objective, Targets
from planner.speed.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLevers:
    """What was found, cheapest first."""

    levers: tuple[Lever, ...]
    complete: bool
    """Whether everything was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A request before anything about the load is changed, and how it differs from the one asked."""

    comparison: Comparison
    change: dict[str, SettingValue]
    cost: LeverCost
    note: str = ""
    usual_batches: bool = False
    """Whether only the usual batch sizes are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What every lever of one question shares."""

    comparison: Comparison
    workload: Workload
    objective: Objective
    targets: Targets

    def meeting(self, start: _Start, workload: Workload) -> Way | None:
        """The way that a plan of `start` takes for `workload`, where that meets the targets."""
        try:
            if not start.comparison.first(workload).feasible:
                return None
            usual = [
                one for one in start.comparison.candidates(workload, policy().compare.batched_tokens.value) if one.asked
            ]
            if all(start.comparison.hopeless(one, workload, self.targets) for one in usual):
                return None
            if start.usual_batches and not self._usual_meets(start, usual, workload):
                return None
            way = pick(start.comparison.ways(workload, self.targets, unasked=False), self.objective, self.targets)
        except PlannerError:
            return None
        return way if way.miss(self.targets) <= 1 else None

    def _usual_meets(self, start: _Start, usual: list[Candidate], workload: Workload) -> bool:
        figures = (start.comparison.figures(one, workload) for one in usual)
        return any(one is not None and miss(one, self.targets) <= 1 for one in figures)

    def but(self, change: dict[str, SettingValue]) -> Comparison | None:
        """The comparison for the changed request; None where the engine would refuse it."""
        mine = self.comparison
        try:
            changed = dataclasses.replace(mine.request, **change)  # type: ignore[arg-type]
        except InvalidRequest:
            return None
        return Comparison(changed, mine.calibrations, mine.allowance)


def target_levers(
    comparison: Comparison,
    workload: Workload,
    objective: Objective,
    targets: Targets,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TargetLevers:
    """Return what would meet `targets`, which no way of `comparison` does: cheapest first, each as it would be planned.

    `progress` hears how many kinds of change of how many were tried.
    """
    search = _Search(comparison=comparison, workload=workload, objective=objective, targets=targets)
    found: list[Lever] = []
    complete, limits = True, policy().target_levers
    comparison.allowance = Allowance(limits.most_played.value)
    starts: list[_Start] = []
    try:
        starts += (start for start in _starts(search) if start is not None)
    except PlayedEnough:
        complete = False
    here, total = 2 * len(starts), 2 * len(starts) + 2

    def at(done: int) -> None:
        if progress is not None:
            progress(done, total)

    for done, levers in ((0, _here(search, starts, at)), (here, _more_gpus(search)), (here + 1, _faster_gpus(search))):
        at(done)
        if done >= here:
            comparison.allowance = Allowance(limits.most_played_elsewhere.value)
        try:
            for lever in levers:
                found.append(lever)
        except PlayedEnough:
            complete = False
    ordered = sorted(found, key=lambda lever: LEVER_COSTS.index(lever.cost))
    return TargetLevers(levers=tuple(ordered), complete=complete)


def _here(search: _Search, starts: list[_Start], at: Callable[[int], None]) -> Iterator[Lever]:
    """What the same GPUs offer: another setting, then another load."""
    unmet = []
    for number, start in enumerate(starts):
        at(number)
        if start.change and (way := search.meeting(start, search.workload)):
            yield _lever(start, way)
        else:
            unmet.append(start)
    best: dict[str, int] = {}
    for number, start in enumerate(unmet):
        at(len(starts) + number)
        yield from _other_load(search, start, best)


def _starts(search: _Search) -> Iterator[_Start | None]:
    """As asked; with what was fixed free again; with a draft, with a fuller GPU, FP8 KV cache and text only."""
    request, workload, mine = search.comparison.request, search.workload, search.comparison
    yield _Start(comparison=mine, change={}, cost="nothing")
    yield _freed(search)
    asked = [way for way in mine.ways(workload, search.targets, unasked=False) if way.asked]
    settings, model = asked[0].plan.settings, asked[0].plan.model
    if not request.num_speculative_tokens and model.draft is not None:
        change: dict[str, SettingValue] = {"num_speculative_tokens": model.draft.card_num_speculative_tokens}
        length = workload.acceptance_length
        at = "the assumed acceptance rate" if length is None else f"{length:g} tokens a step"
        yield _changed(search, change, "context", f"at {at}")
    if max(way.figures.kv_cache_peak_use for way in asked) < policy().target_levers.cramped_kv_cache_use.value:
        return
    share = policy().levers.gpu_memory_utilization.value
    if settings.kv_cache_memory_bytes is None and settings.gpu_memory_utilization < share:
        yield _changed(search, {"gpu_memory_utilization": share}, "nothing", "less room outside the budget")
    if settings.kv_cache_dtype in ("auto", "bfloat16", "float16") and not model.kv_cache_scheme:
        change = {"kv_cache_dtype": policy().levers.kv_cache_dtype.value}
        yield _changed(search, change, "quality", "quality not measured")
    if not settings.language_model_only and not workload.images_per_request:
        yield _changed(search, {"language_model_only": True}, "images", "no images")


def _changed(search: _Search, change: dict[str, SettingValue], cost: LeverCost, note: str) -> _Start | None:
    comparison = search.but(change)
    return _Start(comparison=comparison, change=change, cost=cost, note=note) if comparison is not None else None


def _freed(search: _Search) -> _Start | None:
    """The layout and the batch that would be chosen where the request fixes one that misses."""
    request = search.comparison.request
    if request.layout_open and request.max_num_batched_tokens is None:
        return None
    free: dict[str, SettingValue] = dict.fromkeys(
        ("tensor_parallel_size", "pipeline_parallel_size", "replicas", "max_num_batched_tokens")
    )
    start = _changed(search, free, "nothing", "")
    way = start and search.meeting(start, search.workload)
    if not way:
        return None
    change = _as_options(request, way)
    return _changed(search, change, "nothing", f"instead of {search.comparison.first(search.workload).settings.layout}")


def _as_options(request: PlanRequest, way: Way) -> dict[str, SettingValue]:
    """The settings of `way` that a request says which says others, without those that follow from the rest."""
    settings = way.plan.settings
    change: dict[str, SettingValue] = {}
    if request.tensor_parallel_size != settings.tensor_parallel_size:
        change["tensor_parallel_size"] = settings.tensor_parallel_size
    if settings.pipeline_parallel_size != (request.pipeline_parallel_size or 1):
        stages = settings.pipeline_parallel_size
        change["pipeline_parallel_size"] = stages if stages > 1 else None
    if request.replicas is not None and request.replicas != settings.replicas:
        change["replicas"] = settings.replicas
    if request.max_num_batched_tokens not in (None, settings.max_num_batched_tokens):
        change["max_num_batched_tokens"] = None if way.default_batch else settings.max_num_batched_tokens
    return change


def _lever(start: _Start, way: Way, load: dict[str, SettingValue] | None = None) -> Lever:
    figures = way.figures
    rate = format_figure(figures.output_tokens_per_s)
    told = f"TTFT {figures.ttft_ms:,.0f} ms, TPOT {figures.tpot_ms:,.1f} ms, {rate} tokens/s"
    names = [name.replace("_", "-") for name in (*start.change, *(load or {}))]
    cost: LeverCost = max(start.cost, "context", key=LEVER_COSTS.index) if load else start.cost
    return Lever(
        name="+".join(names), change=start.change, load=load or {}, gain_bytes=0, gain_tokens=0,
        fits=True, meets_targets=True, cost=cost, note=", ".join(part for part in (told, start.note) if part),
    )  # fmt: skip


# ---------------------------------------------------------------- another load


def _other_load(search: _Search, start: _Start, best: dict[str, int]) -> Iterator[Lever]:
    """The largest load of the same kind that meets the targets; `best` holds what needs no change of the request."""
    workload, targets = search.workload, search.targets
    if not _too_slow(search, start):
        yield from _more_in_flight(search, start, best)
        return
    if targets.tokens_per_s is not None:
        return  # a smaller load would miss that one
    if workload.request_rate is not None:
        yield from _largest(search, start, "request_rate", best)
    elif (workload.concurrency or 1) > 1:
        yield from _largest(search, start, "concurrency", best)


def _too_slow(search: _Search, start: _Start) -> bool:
    """Whether the nearest way misses a time, not only tokens per second."""
    try:
        ways = start.comparison.ways(search.workload, search.targets, unasked=False)
    except PlannerError:
        return True
    return not any(in_time(way.figures, search.targets) for way in ways)


def _largest(search: _Search, start: _Start, name: str, best: dict[str, int]) -> Iterator[Lever]:
    """The largest rate or number in flight; where one request alone is too slow, the length of its prompt."""
    single = alone(search.workload)
    if search.meeting(start, single) is None:
        found = list(_most(search, start, search.workload, "prompt_tokens", {}, best))
        if not found and name == "concurrency":
            found = list(_most(search, start, single, "prompt_tokens", {name: 1}, best))
        yield from found
        return
    yield from _most(search, start, search.workload, name, {}, best)


def _most(
    search: _Search, start: _Start, workload: Workload, name: str, load: dict[str, SettingValue], best: dict[str, int]
) -> Iterator[Lever]:
    """The largest value of one part of `workload`, where it is larger than without the change of `start`.

    `workload` differs by `load` from the one that was asked about.
    """
    steps = values(name, getattr(workload, name))
    loads = [dataclasses.replace(workload, **{name: value}) for value in steps]  # type: ignore[arg-type]
    key = "+".join((name, *load))
    found = largest(start.comparison, loads, workload, search.targets, above=best.get(key, -1))
    if found is None:
        return
    if not start.change:
        best[key] = found
    way = search.meeting(start, loads[found])
    if way is not None:
        yield _lever(start, way, {name: steps[found], **load})


def _more_in_flight(search: _Search, start: _Start, best: dict[str, int]) -> Iterator[Lever]:
    """More requests at once, where only tokens per second are missing: the first doubling that gives them."""
    workload = search.workload
    if workload.concurrency is None or workload.request_rate is not None:
        return
    candidates = start.comparison.asked(workload)
    most = max((one.plan.settings.max_num_seqs * one.plan.settings.replicas for one in candidates), default=0)
    most = min(most, best.get("in flight", most + 1) - 1)
    concurrency = workload.concurrency
    while (concurrency := concurrency * 2) <= most:
        try:
            load = dataclasses.replace(workload, concurrency=concurrency)
        except InvalidRequest:
            return
        if way := search.meeting(start, load):
            if not start.change:
                best["in flight"] = concurrency
            yield _lever(start, way, {"concurrency": concurrency})
            return


# ---------------------------------------------------------------- other GPUs


def _more_gpus(search: _Search) -> Iterator[Lever]:
    """The next larger number of the same GPUs that meets the targets: in one node, then in several."""
    gpus = search.comparison.request.gpus
    count, nodes = gpus.count, gpus.nodes
    while True:
        more = 1 << count.bit_length()
        count, nodes = (more, nodes) if more <= gpus.spec.max_gpus_per_node else (count, nodes * 2)
        if count * nodes > policy().target_levers.most_gpus.value:
            return
        larger = GpuSet(
            spec=gpus.spec, count=count, nodes=nodes, memory_override_bytes=gpus.memory_override_bytes
        )  # fmt: skip
        if lever := _on(search, larger):
            yield lever
            return


def _faster_gpus(search: _Search) -> Iterator[Lever]:
    """As many of the next faster GPUs, by memory bandwidth."""
    from hw_specs import list_gpus

    gpus = search.comparison.request.gpus
    faster = [
        spec
        for spec in list_gpus()
        if spec.released
        and spec.bandwidth_bytes_per_s > gpus.spec.bandwidth_bytes_per_s
        and spec.max_gpus_per_node >= gpus.count
        and spec.fp8_kind != "none"
        and spec.engine_memory_bytes >= gpus.spec.engine_memory_bytes
    ]
    faster.sort(key=lambda spec: (spec.bandwidth_bytes_per_s, spec.vendor != gpus.spec.vendor))
    for spec in faster[: policy().target_levers.most_faster_kinds.value]:
        if lever := _on(search, GpuSet(spec=spec, count=gpus.count, nodes=gpus.nodes), usual_batches=True):
            yield lever
            return


def _on(search: _Search, gpus: GpuSet, *, usual_batches: bool = False) -> Lever | None:
    change: dict[str, SettingValue] = {
        "gpus": gpus, "tensor_parallel_size": None, "pipeline_parallel_size": None, "replicas": None
    }  # fmt: skip
    start = _changed(search, change, "hardware", "")
    if start is None:
        return None
    way = search.meeting(dataclasses.replace(start, usual_batches=usual_batches), search.workload)
    if way is None:
        return None
    lever = _lever(dataclasses.replace(start, note=f"as {way.plan.settings.layout}"), way)
    return dataclasses.replace(lever, name="gpus")
