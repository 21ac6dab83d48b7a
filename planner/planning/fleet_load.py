"""How a requested load is distributed over the hosts of a fleet. It forecasts; it never contacts a host.

A host's capacity is the largest request rate that it keeps up with while the latency targets hold, over its layouts.
Capacities are expected values, without bounds: hold a margin where the forecast is far from anything measured.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planner.errors import InvalidRequest, PlannerError
from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.fleet import FleetRow
from planner.planning.ways import in_time
from planner.settings import Layout
from planner.speed.answer import Targets
from planner.speed.predict import figures_alone, steady_run
from planner.speed.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShare:
    """One host's part of the load."""

    host: str
    plan: Plan | None
    """The plan chosen for the load; None when the model does not run there."""
    capacity_requests_per_s: float
    """Largest rate it keeps up with inside the targets; 0 when it cannot serve at all."""
    assigned_requests_per_s: float
    """Its part of the requested rate; 0 where it is not used."""
    reason: str
    """Why it cannot serve; empty where it can."""

    @property
    def layout(self) -> Layout | None:
        """What could run there for this load; None where it cannot be served."""
        return self.plan.settings.layout if self.plan is not None and self.capacity_requests_per_s else None

    @property
    def unused(self) -> bool:
        """Whether it could serve and has nothing to do."""
        return self.capacity_requests_per_s > 0 and not self.assigned_requests_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetShare:
    """How the load is distributed."""

    request_rate: float
    """Requests per second, as requested."""
    assigned_requests_per_s: float
    hosts: tuple[HostShare, ...]
    """In the order of the inventory."""

    @property
    def served(self) -> bool:
        """Whether the fleet serves all of it."""
        return self.assigned_requests_per_s >= self.request_rate


def share_load(
    rows: Sequence[FleetRow],
    workload: Workload,
    targets: Targets,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FleetShare:
    """Distribute `workload.request_rate` over the hosts of `rows`, the largest first, so that few hosts are used.

    Args:
        rows: the hosts with their plans, as :func:`planner.planning.fleet.plan_fleet` returns them.
        workload: lengths and the requested rate.
        targets: latency limits that hold on every host.
        progress: hears how many hosts of how many are judged.

    Raises:
        InvalidRequest: when the workload has no request rate.
    """
    requested = workload.request_rate
    if requested is None:
        raise InvalidRequest("request_rate", "a load over hosts needs a request_rate", hint="give requests per second")
    judged: dict[str, HostShare] = {}
    seen: dict[tuple[str, int | None, int], HostShare] = {}
    for number, row in enumerate(rows):
        if progress is not None:
            progress(number, len(rows))
        kind = row.plan and (str(row.plan.gpus), row.plan.gpus.free_memory_bytes, row.plan.gpus.memory_bytes)
        if kind and kind in seen:
            judged[row.path] = dataclasses.replace(seen[kind], host=row.host)
            continue
        judged[row.path] = _judge(row, workload, targets)
        if kind:
            seen[kind] = judged[row.path]
    left = requested
    assigned: dict[str, float] = {}
    # Largest first, but the last host is the smallest that serves the rest.
    pool = sorted(judged.items(), key=lambda item: -item[1].capacity_requests_per_s)
    falling = [-host.capacity_requests_per_s for _, host in pool]
    for path, host in pool:
        if left <= 1e-9 or host.capacity_requests_per_s <= 0:
            break
        if host.capacity_requests_per_s >= left:
            path, host = pool[bisect_right(falling, -left) - 1]
        assigned[path] = min(left, host.capacity_requests_per_s)
        left -= assigned[path]
    return FleetShare(
        request_rate=requested,
        assigned_requests_per_s=requested - max(0.0, left),
        hosts=tuple(
            dataclasses.replace(judged[row.path], assigned_requests_per_s=assigned.get(row.path, 0.0)) for row in rows
        ),
    )


def _judge(row: FleetRow, workload: Workload, targets: Targets) -> HostShare:
    """The host's layout that serves the most of the load inside the targets."""
    none = HostShare(host=row.host, plan=row.plan, capacity_requests_per_s=0, assigned_requests_per_s=0, reason="")
    if row.plan is None or not row.plan.feasible:
        why = row.problem or (row.plan.reasons[0] if row.plan and row.plan.reasons else "does not fit")
        return dataclasses.replace(none, plan=None, reason=why)
    best, problem = none, "misses the targets even with a single request"
    for answer in _layouts(row.plan):
        try:
            capacity = capacity_requests_per_s(answer, workload, targets, above=best.capacity_requests_per_s)
        except PlannerError as error:
            problem = str(error)
            continue
        if capacity > best.capacity_requests_per_s:
            best = dataclasses.replace(none, plan=answer, capacity_requests_per_s=capacity)
    return best if best.capacity_requests_per_s else dataclasses.replace(none, reason=problem)


def _layouts(answer: Plan) -> list[Plan]:
    """The host's plan, and where the layout was left open, its alternatives without pipeline stages."""
    found = [answer]
    if not answer.request.layout_open:
        return found
    for other in answer.alternatives:
        if other.layout.pipeline_parallel_size == 1 and other.verdict == "fits":
            found.append(make_plan(answer.request.with_layout(other.layout)))
    return found


def capacity_requests_per_s(answer: Plan, workload: Workload, targets: Targets, *, above: float = 0.0) -> float:
    """Return the largest request rate that `answer` keeps up with inside `targets`; 0 when it is no more than `above`.

    A rate holds where a larger one does, so what is known of `above` spares the search below it.
    """
    alone, limits = figures_alone(answer, workload), policy().capacity

    def holds(rate: float) -> bool:
        figures = steady_run(answer, dataclasses.replace(workload, request_rate=rate), alone=alone)
        return figures is not None and in_time(figures, targets)

    low, high = 0.0, 1000 / alone.latency_ms
    if above and not holds(above):
        return 0.0
    while high < above:
        low, high = high, high * 2
    while high <= limits.most_requests_per_s.value and holds(high):
        low, high = high, high * 2
    for _ in range(limits.halvings.value):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
