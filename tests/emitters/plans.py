"""Plans that the emitters' tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, Targets, Workload, plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.speed.answer import SpeedSection

ONE_NODE: dict[str, dict[str, Any]] = {
    "8xH200": {},
    "1xMI300X": {"language_model_only": True},
    "8xMI300X": {"num_speculative_tokens": 3},
    "3xH200": {},
    "8xB200": {"tensor_parallel_size": 4},
}
REPLICAS: dict[str, dict[str, Any]] = {"2x8xH200": {}, "2x8xMI300X": {"tensor_parallel_size": 4}}
SPANNING: dict[str, dict[str, Any]] = {"2x8xH200": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}}


def planned(gpus: str, settings: dict[str, Any] | None = None) -> Plan:
    """The plan for `gpus` with `settings`, for a release whose images need the pin."""
    return plan(PlanRequest(gpus=parse_gpus(gpus), **({"vllm_version": "0.33.0"} | (settings or {}))))


def loaded(gpus: str, *, concurrency: int = 64) -> Plan:
    """The plan for `gpus` with the forecast of a short chat."""
    return replace(planned(gpus), speed=forecast_for(gpus, concurrency=concurrency))


def forecast_for(
    gpus: str, *, concurrency: int | None, request_rate: float | None = None, targets: Targets | None = None
) -> SpeedSection:
    """The forecast of a short chat on `gpus`."""
    workload = Workload(prompt_tokens=512, output_tokens=128, concurrency=concurrency, request_rate=request_rate)
    answer = plan_for_workload(PlanRequest(gpus=parse_gpus(gpus)), workload, targets=targets or Targets())
    assert answer.speed is not None, "it fits"
    return answer.speed
