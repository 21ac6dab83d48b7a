"""From options to a plan chosen by speed; it never prints."""

from __future__ import annotations

from typing import Any

from hw_specs.spec import GpuSet
from planner.cli.kept import known_benchmarks
from planner.errors import PlannerError
from planner.planning.answer import Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.planning.load import targets_of, workload_of
from planner.planning.request import PlanRequest
from planner.speed.answer import SpeedSection


def plan_with_speed(gpus: GpuSet, settings: dict[str, Any], load: dict[str, Any]) -> tuple[Plan, SpeedSection | None]:
    """Return the plan that serves the load best and its forecast; None where nothing fits in memory.

    Raises:
        InvalidRequest: when the load or the settings make no sense.
        PlannerError: when numpy is not installed.
    """
    require_numpy()
    workload = workload_of(load, concurrency=settings["concurrency"])
    request = PlanRequest(gpus=gpus, **(settings | {"concurrency": None}))
    answer = plan_for_workload(
        request, workload, objective=load["objective"] or "balanced", targets=targets_of(load),
        price_per_gpu_hour=load["price_per_gpu_hour"], calibrations=known_benchmarks(),
    )  # fmt: skip
    if isinstance(answer, Plan):
        return answer, None
    return answer.plan, answer.section


def require_numpy() -> None:
    """Say how to install what forecasts need.

    Raises:
        PlannerError: when numpy is missing.
    """
    from importlib.util import find_spec

    if find_spec("numpy") is None:
        raise PlannerError("forecasts of speed need numpy", hint="pip install numpy")
