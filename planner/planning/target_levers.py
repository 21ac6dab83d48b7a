"""What would meet the targets of a load that are missed: each lever is the same load forecast once more.

The largest load that still meets them, a draft, a smaller KV cache entry, more or faster GPUs. It never recommends
silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest, PlannerError
from planner.facts.policy import policy
from planner.planning.answer import LEVER_COSTS, Lever, LeverCost
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.planning.setting import SettingValue
from planner.planning.ways import Way, ways_of
from planner.speed.answer import Targets
from planner.speed.workload import Workload

CRAMPED = 0.9
"""Share of the KV blocks in use from which a smaller cache entry is worth a try: below it no request waits for one."""
RIVALS = 3
"""Ways that are played at every load that is tried; the others did worse at both ends."""
MOST_GPUS = 16
"""Largest number of GPUs that the lever "more GPUs" looks at."""
MOST_KINDS = 3
"""Other GPUs that are tried."""
SHORTEST_PROMPT_TOKENS = 128
"""No shorter prompt is offered as a lever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A set of ways under a load, before anything about the load is changed."""

    ways: Sequence[Way]
    change: dict[str, SettingValue]
    cost: LeverCost
    note: str = ""


def target_levers(
    request: PlanRequest,
    workload: Workload,
    targets: Targets,
    ways: Sequence[Way],
    *,
    progress: Callable[[int, int], None],
) -> tuple[Lever, ...]:
    """Return what would meet `targets`, which none of the asked `ways` does: cheapest first, each forecast.

    `progress` hears how many kinds of change of how many were tried.
    """
    starts = list(_starts(request, workload, ways))
    found: list[Lever] = []
    for number, start in enumerate(starts):
        progress(number, len(starts) + 1)
        known = best(start.ways, targets)
        if start.change and known.miss(targets) <= 1:
            found.append(_lever(start, known))
        else:
            found += _other_load(start, workload, targets)
    progress(len(starts), len(starts) + 1)
    found += _more_gpus(request, workload, targets)
    found += _faster_gpus(request, workload, targets)
    return tuple(sorted(_useful(found, workload), key=lambda lever: LEVER_COSTS.index(lever.cost)))


def alone(ways: Sequence[Way], workload: Workload) -> list[Way]:
    """The ways with one request of the load at a time: nothing on these GPUs is faster."""
    return _played(ways, dataclasses.replace(workload, concurrency=1, request_rate=None, num_requests=None))


def best(ways: Sequence[Way], targets: Targets) -> Way:
    """The way that misses the targets least; the first of equals."""
    return min(ways, key=lambda way: way.miss(targets))


def _starts(request: PlanRequest, workload: Workload, ways: Sequence[Way]) -> Iterator[_Start]:
    """As asked; then with a draft, with FP8 KV cache and text only, each where it can help."""
    asked = [way for way in ways if way.asked]
    yield _Start(ways=asked, change={}, cost="nothing")
    drafted = [way for way in ways if not way.asked]
    if drafted:
        tokens = drafted[0].plan.settings.num_speculative_tokens
        note = "at the assumed acceptance rate"
        yield _Start(ways=drafted, change={"num_speculative_tokens": tokens}, cost="context", note=note)
    if max(way.figures.kv_cache_peak_use for way in asked) < CRAMPED:
        return
    settings, model = asked[0].plan.settings, asked[0].plan.model
    if settings.kv_cache_dtype in ("auto", "bfloat16", "float16") and not model.kv_cache_scheme:
        change: dict[str, SettingValue] = {"kv_cache_dtype": policy().levers.kv_cache_dtype.value}
        if others := _ways(request, change, workload):
            yield _Start(ways=others, change=change, cost="quality", note="quality not measured")
    if not settings.language_model_only and not workload.images_per_request:
        change = {"language_model_only": True}
        if others := _ways(request, change, workload):
            yield _Start(ways=others, change=change, cost="images", note="no images")


def _ways(request: PlanRequest, change: dict[str, Any], workload: Workload) -> list[Way]:
    """The asked ways of the changed request; none where nothing of it fits or can be forecast."""
    try:
        changed = dataclasses.replace(request, **change)
        first = make_plan(changed)
        return [way for way in ways_of(changed, first, workload, None) if way.asked] if first.feasible else []
    except PlannerError:
        return []


def _lever(start: _Start, way: Way, load: dict[str, SettingValue] | None = None) -> Lever:
    figures = way.figures
    told = (
        f"TTFT {figures.ttft_ms:,.0f} ms, TPOT {figures.tpot_ms:,.1f} ms, {figures.output_tokens_per_s:,.0f} tokens/s"
    )
    names = [name.replace("_", "-") for name in (*start.change, *(load or {}))]
    cost: LeverCost = max(start.cost, "context", key=LEVER_COSTS.index) if load else start.cost
    return Lever(
        name="+".join(names), change=start.change, load=load or {}, gain_bytes=0, gain_tokens=0,
        fits=True, meets_targets=True, cost=cost, note=", ".join(part for part in (told, start.note) if part),
    )  # fmt: skip


# ---------------------------------------------------------------- another load


def _other_load(start: _Start, workload: Workload, targets: Targets) -> Iterator[Lever]:
    """The largest load of the same kind that meets the targets, on the ways of `start`."""
    missed = best(start.ways, targets).figures
    too_slow = (targets.ttft_ms is not None and missed.ttft_ms > targets.ttft_ms) or (
        targets.tpot_ms is not None and missed.tpot_ms > targets.tpot_ms
    )
    if not too_slow:
        yield from _more_in_flight(start, workload, targets)
        return
    if targets.tokens_per_s is not None:
        return  # a smaller load would miss that one
    if workload.request_rate is not None:
        yield from _largest(start, workload, targets, "request_rate")
    elif (workload.concurrency or 1) > 1:
        yield from _largest(start, workload, targets, "concurrency")


def _largest(start: _Start, workload: Workload, targets: Targets, name: str) -> Iterator[Lever]:
    """Bisect the rate or the number in flight; where one request alone is too slow, the length of its prompt."""
    asked: float = getattr(workload, name)
    one = alone(start.ways, workload)
    if not one:
        return
    rivals = _rivals(start.ways, one, targets)
    if best(one, targets).miss(targets) > 1:
        shorter = list(_shorter_prompt(start, rivals, workload, targets, {}))
        single = dataclasses.replace(workload, concurrency=1, request_rate=None, num_requests=None)
        change: dict[str, SettingValue] = {name: 1} if name == "concurrency" else {}
        yield from shorter or (_shorter_prompt(start, rivals, single, targets, change) if change else ())
        return
    whole = name == "concurrency"
    low, high, met = 0.0, float(asked), None
    while high - low > (1 if whole else asked / 64):
        middle = (low + high) // 2 if whole else (low + high) / 2
        if middle == 0:
            break
        value = int(middle) if whole else _two_digits(middle)
        changes: dict[str, Any] = {name: value, "num_requests": None}
        tried = _played(rivals, dataclasses.replace(workload, **changes))
        if tried and best(tried, targets).miss(targets) <= 1:
            low, met = middle, (value, best(tried, targets))
        else:
            high = middle
    if met is None and whole:
        met = 1, best(one, targets)
    if met is not None:
        yield _lever(start, met[1], {name: met[0]})


def _shorter_prompt(
    start: _Start, rivals: list[Way], workload: Workload, targets: Targets, load: dict[str, SettingValue]
) -> Iterator[Lever]:
    """The longest prompt that meets the targets under that load, which differs by `load` from the asked one."""
    low, high, met = 0, workload.prompt_tokens // SHORTEST_PROMPT_TOKENS, None
    while high - low > 1:
        middle = (low + high) // 2
        tokens = middle * SHORTEST_PROMPT_TOKENS
        tried = _played(rivals, dataclasses.replace(workload, prompt_tokens=tokens))
        if tried and best(tried, targets).miss(targets) <= 1:
            low, met = middle, (tokens, best(tried, targets))
        else:
            high = middle
    if met is not None:
        yield _lever(start, met[1], {"prompt_tokens": met[0], **load})


def _more_in_flight(start: _Start, workload: Workload, targets: Targets) -> Iterator[Lever]:
    """More requests at once, where only tokens per second are missing."""
    if workload.concurrency is None or workload.request_rate is not None:
        return
    most = max(way.plan.settings.max_num_seqs * way.plan.settings.replicas for way in start.ways)
    concurrency = workload.concurrency
    while (concurrency := concurrency * 2) <= most:
        tried = _played(start.ways, dataclasses.replace(workload, concurrency=concurrency, num_requests=None))
        if tried and best(tried, targets).miss(targets) <= 1:
            yield _lever(start, best(tried, targets), {"concurrency": concurrency})
            return


def _rivals(ways: Sequence[Way], alone: Sequence[Way], targets: Targets) -> list[Way]:
    """The ways that did best at the whole load and with one request."""
    ranked = sorted(ways, key=lambda way: way.miss(targets))[: RIVALS - 1]
    names = {id(way.plan) for way in ranked}
    ranked += [way for way in sorted(alone, key=lambda way: way.miss(targets)) if id(way.plan) not in names][:1]
    return ranked


def _played(ways: Sequence[Way], workload: Workload) -> list[Way]:
    """The same plans under another load; those that cannot hold it are left out."""
    from planner.speed.predict import expected_figures

    found = []
    for way in ways:
        try:
            found.append(dataclasses.replace(way, figures=expected_figures(way.plan, workload)))
        except InvalidRequest:
            continue
    return found


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


# ---------------------------------------------------------------- other GPUs


def _more_gpus(request: PlanRequest, workload: Workload, targets: Targets) -> Iterator[Lever]:
    """The next larger number of the same GPUs that meets the targets: in one node, then in several."""
    gpus = request.gpus
    count, nodes = gpus.count, gpus.nodes
    while True:
        more = 1 << count.bit_length()
        count, nodes = (more, nodes) if more <= gpus.spec.max_gpus_per_node else (count, nodes * 2)
        if count * nodes > MOST_GPUS:
            return
        larger = GpuSet(
            spec=gpus.spec, count=count, nodes=nodes, memory_override_bytes=gpus.memory_override_bytes
        )  # fmt: skip
        if lever := _on(request, larger, workload, targets):
            yield lever
            return


def _faster_gpus(request: PlanRequest, workload: Workload, targets: Targets) -> Iterator[Lever]:
    """As many of the next faster GPUs, by memory bandwidth."""
    from hw_specs import list_gpus

    gpus = request.gpus
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
    for spec in faster[:MOST_KINDS]:
        if lever := _on(request, GpuSet(spec=spec, count=gpus.count, nodes=gpus.nodes), workload, targets):
            yield lever
            return


def _on(request: PlanRequest, gpus: GpuSet, workload: Workload, targets: Targets) -> Lever | None:
    change: dict[str, SettingValue] = {
        "gpus": gpus, "tensor_parallel_size": None, "pipeline_parallel_size": None, "replicas": None
    }  # fmt: skip
    ways = _ways(request, change, workload)
    if not ways or best(ways, targets).miss(targets) > 1:
        return None
    way = best(ways, targets)
    lever = _lever(_Start(ways=ways, change=change, cost="hardware", note=f"as {way.plan.settings.layout}"), way)
    return dataclasses.replace(lever, name="gpus")


def _useful(levers: Sequence[Lever], workload: Workload) -> Iterator[Lever]:
    """Without those that add a change and come no nearer to the asked load than the same load alone."""

    def away(name: str, value: Any) -> float:
        return abs(float(value) - float(getattr(workload, name) or 0))

    plain = {name: value for lever in levers if not lever.change for name, value in lever.load.items()}
    for lever in levers:
        shared = [name for name in lever.load if name in plain]
        if lever.change and any(away(name, lever.load[name]) >= away(name, plain[name]) for name in shared):
            continue
        yield lever
