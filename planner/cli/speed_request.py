"""From options to a plan chosen by speed; it never prints."""

from __future__ import annotations

from typing import Any

from hw_specs.spec import GpuSet
from planner.cli.speed_options import TYPICAL
from planner.errors import InvalidRequest, PlannerError
from planner.planning.answer import Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.planning.request import PlanRequest
from planner.serve.bench import kept_benchmarks
from planner.speed.answer import SpeedSection, Targets
from planner.speed.workload import Workload


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
        price_per_gpu_hour=load["price_per_gpu_hour"], calibrations=kept_benchmarks(),
    )  # fmt: skip
    if isinstance(answer, Plan):
        return answer, None
    return answer.plan, answer.section


def workload_of(load: dict[str, Any], *, concurrency: int | None) -> Workload:
    """Return the load that options describe; what is left out is the public benchmark of this model.

    Raises:
        InvalidRequest: naming the option that is out of range.
    """
    given = {
        name: load[name]
        for name in (
            "prompt_tokens", "output_tokens", "request_rate", "length_range_ratio", "num_requests",
            "prefix_cache_hit_rate", "images_per_request",
        )
        if load.get(name) is not None
    }  # fmt: skip
    if concurrency is None and "request_rate" not in given:
        concurrency = TYPICAL["concurrency"]
    lengths = {name: TYPICAL[name] for name in ("prompt_tokens", "output_tokens")}
    return Workload(**(lengths | given), concurrency=concurrency)


def targets_of(load: dict[str, Any]) -> Targets:
    """Return the targets among the options.

    Raises:
        InvalidRequest: for a target that is not positive.
    """
    values = {name: load[name] for name in ("ttft_ms", "tpot_ms", "tokens_per_s") if load.get(name) is not None}
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise InvalidRequest(name, f"{name} must be above 0, not `{value}`")
    return Targets(**values)


def require_numpy() -> None:
    """Say how to install what forecasts need.

    Raises:
        PlannerError: when numpy is missing.
    """
    from importlib.util import find_spec

    if find_spec("numpy") is None:
        raise PlannerError("forecasts of speed need numpy", hint="pip install numpy")
