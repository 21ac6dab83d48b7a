"""The one place where the wizard asks for speed; slow, so for threads only. Answers are remembered while it runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from planner import Plan, PlanRequest
from planner.planning.load import targets_of, workload_of

if TYPE_CHECKING:
    from planner import SpeedForecast, Targets, Workload

MOST = 512
"""Forecasts that are remembered."""

_seen: OrderedDict[Hashable, SpeedForecast] = OrderedDict()


def workload_for(load: Mapping[str, Any], concurrency: int | None) -> Workload:
    """Return the load of the options, `concurrency` requests in flight.

    Raises:
        InvalidRequest: for a number out of range.
    """
    return workload_of(load, concurrency=concurrency)


def targets_for(load: Mapping[str, Any]) -> Targets:
    """Return the targets among the options.

    Raises:
        InvalidRequest: for a number out of range.
    """
    return targets_of(load)


def speed_of(plan: Plan, workload: Workload) -> SpeedForecast:
    """Return what `plan` would show under `workload`.

    Raises:
        PlannerError: where no forecast can be made.
    """
    from planner import speed_calibrations
    from planner.planning.ways import benchmark_for

    measured = benchmark_for(speed_calibrations(), plan)
    key = (*_key(plan, workload), tuple(measured.ratios.items()) if measured is not None else None)
    if key not in _seen:
        from planner import forecast

        _seen[key] = forecast(plan, workload, calibration=measured)
        while len(_seen) > MOST:
            _seen.popitem(last=False)
    return _seen[key]


def best_for(request: PlanRequest, load: Mapping[str, Any], concurrency: int | None) -> Plan:
    """Return the way to use the GPUs that serves a load best; a second or so.

    Raises:
        PlannerError: where no forecast can be made.
    """
    from planner import plan_for_workload, speed_calibrations

    return plan_for_workload(
        request,
        workload_for(load, concurrency),
        objective=load.get("objective") or "balanced",
        targets=targets_for(load),
        price_per_gpu_hour=load.get("price_per_gpu_hour"),
        price_per_kwh=load.get("price_per_kwh"),
        calibrations=speed_calibrations(),  # as on the command line
    )


def _key(plan: Plan, workload: Workload) -> tuple[Hashable, ...]:
    gpus = plan.gpus
    return (
        plan.settings, workload, plan.model.name, gpus.spec.id, gpus.count, gpus.nodes, gpus.linked,
        plan.kv_cache.num_gpu_blocks, plan.vllm_version,
    )  # fmt: skip
