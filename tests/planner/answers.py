"""Answers of the planner."""

from __future__ import annotations

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, plan


def answer(gpus: str, **settings: object) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))  # type: ignore[arg-type]
