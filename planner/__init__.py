"""Plan, launch and verify Mistral-Medium-3.5-128B under vLLM.

    from hw_specs import parse_gpus
    from planner import PlanRequest, plan

    answer = plan(PlanRequest(gpus=parse_gpus("1xMI300X"), language_model_only=True))
    print(answer.verdict, answer.settings.max_model_len)
    for line in answer.ledger.lines:
        print(line.name, line.bytes, line.basis)

Bytes are ints, lengths are tokens, and a plan that does not fit is an answer (``feasible`` is false), not an
exception. Names are imported when they are used: ``import planner`` loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hw_specs.errors import M35Error
    from planner.checkpoint import load_model, load_preset
    from planner.errors import (
        InvalidRequest,
        LaunchFailed,
        LogNotUnderstood,
        PlannerError,
        UnknownVersion,
        UnreadableCheckpoint,
        UnreadableDocument,
        UnsupportedModel,
        VerifyFailed,
    )
    from planner.memory.ledger import Ledger
    from planner.memory.rank import Calibration
    from planner.memory.term import Term
    from planner.model import ModelSpec
    from planner.planning.answer import Alternative, KvCache, Lever, Plan, PlanWarning, Rejected
    from planner.planning.choose import make_plan as plan
    from planner.planning.choose_by_speed import plan_for_workload
    from planner.planning.request import PlanRequest
    from planner.rendering.command import ServeCommand, serve_command
    from planner.rendering.document import PlanDocument, json_schema, plan_document, read_document, to_json_value
    from planner.rendering.emitters import EMITTERS, emit, emit_files
    from planner.rendering.emitters.deployment import Deployment
    from planner.settings import Settings
    from planner.speed.answer import Estimate, SpeedForecast, Targets
    from planner.speed.predict import forecast
    from planner.speed.workload import Workload

_HOMES = {
    "Alternative": "planning.answer",
    "Calibration": "memory.rank",
    "Deployment": "rendering.emitters.deployment",
    "EMITTERS": "rendering.emitters",
    "Estimate": "speed.answer",
    "InvalidRequest": "errors",
    "KvCache": "planning.answer",
    "LaunchFailed": "errors",
    "Ledger": "memory.ledger",
    "Term": "memory.term",
    "Lever": "planning.answer",
    "LogNotUnderstood": "errors",
    "M35Error": "errors",
    "ModelSpec": "model",
    "Plan": "planning.answer",
    "PlanDocument": "rendering.document",
    "PlanRequest": "planning.request",
    "PlanWarning": "planning.answer",
    "PlannerError": "errors",
    "Rejected": "planning.answer",
    "ServeCommand": "rendering.command",
    "Settings": "settings",
    "SpeedForecast": "speed.answer",
    "Targets": "speed.answer",
    "UnknownVersion": "errors",
    "UnreadableDocument": "errors",
    "UnreadableCheckpoint": "errors",
    "UnsupportedModel": "errors",
    "VerifyFailed": "errors",
    "Workload": "speed.workload",
    "emit": "rendering.emitters",
    "emit_files": "rendering.emitters",
    "forecast": "speed.predict",
    "json_schema": "rendering.document",
    "load_model": "checkpoint",
    "load_preset": "checkpoint",
    "plan": "planning.choose:make_plan",
    "plan_document": "rendering.document",
    "plan_for_workload": "planning.choose_by_speed",
    "read_document": "rendering.document",
    "serve_command": "rendering.command",
    "to_json_value": "rendering.document",
}
"""Public name → module of :mod:`planner` that defines it."""

__all__ = [
    "Alternative",
    "Calibration",
    "Deployment",
    "EMITTERS",
    "Estimate",
    "InvalidRequest",
    "KvCache",
    "LaunchFailed",
    "Ledger",
    "Term",
    "Lever",
    "LogNotUnderstood",
    "M35Error",
    "ModelSpec",
    "Plan",
    "PlanDocument",
    "PlanRequest",
    "PlanWarning",
    "PlannerError",
    "Rejected",
    "ServeCommand",
    "Settings",
    "SpeedForecast",
    "Targets",
    "UnknownVersion",
    "UnreadableDocument",
    "UnreadableCheckpoint",
    "UnsupportedModel",
    "VerifyFailed",
    "Workload",
    "emit",
    "emit_files",
    "forecast",
    "json_schema",
    "load_model",
    "load_preset",
    "plan",
    "plan_document",
    "plan_for_workload",
    "read_document",
    "serve_command",
    "to_json_value",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("m35-plan")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, other = _HOMES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{home}"), other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
