"""From options to a plan chosen by speed; it never prints."""

from __future__ import annotations

from typing import Any

from hw_specs.spec import GpuSet
from planner.cli.kept import known_benchmarks
from planner.cli.progress import Progress
from planner.planning.answer import Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.planning.load import targets_of, workload_of
from planner.planning.request import PlanRequest


def plan_with_speed(gpus: GpuSet, settings: dict[str, Any], load: dict[str, Any]) -> Plan:
    """Return the plan that serves the load best, with its forecast where something fits in memory.

    Raises:
        InvalidRequest: when the load or the settings make no sense.
        NoSpeedFacts: when nothing was measured for these GPUs.
    """
    workload = workload_of(load, concurrency=settings["concurrency"])
    request = PlanRequest(gpus=gpus, **(settings | {"concurrency": None}))
    with Progress("forecast", total=1, even=False) as progress:
        return plan_for_workload(
            request, workload, objective=load["objective"] or "balanced", targets=targets_of(load),
            price_per_gpu_hour=load["price_per_gpu_hour"], price_per_kwh=load["price_per_kwh"],
            calibrations=known_benchmarks(), progress=progress.at,
        )  # fmt: skip
