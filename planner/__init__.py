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

from typing import TYPE_CHECKING, Any

from hw_specs.lazy import lazy

if TYPE_CHECKING:
    from hw_specs.errors import M35Error as M35Error
    from planner.calibrate import calibrations as calibrations
    from planner.checkpoint import load_model as load_model
    from planner.checkpoint import load_preset as load_preset
    from planner.errors import BadFacts as BadFacts
    from planner.errors import InvalidRequest as InvalidRequest
    from planner.errors import LaunchFailed as LaunchFailed
    from planner.errors import LogNotUnderstood as LogNotUnderstood
    from planner.errors import PlannerError as PlannerError
    from planner.errors import UnknownVersion as UnknownVersion
    from planner.errors import UnreadableCheckpoint as UnreadableCheckpoint
    from planner.errors import UnreadableDocument as UnreadableDocument
    from planner.errors import UnsafePath as UnsafePath
    from planner.errors import UnsupportedModel as UnsupportedModel
    from planner.errors import VerifyFailed as VerifyFailed
    from planner.memory.ledger import Ledger as Ledger
    from planner.memory.rank import Calibration as Calibration
    from planner.memory.term import Term as Term
    from planner.model import ModelSpec as ModelSpec
    from planner.planning.answer import KvCache as KvCache
    from planner.planning.answer import Lever as Lever
    from planner.planning.answer import Plan as Plan
    from planner.planning.answer import PlanWarning as PlanWarning
    from planner.planning.choose import all_levers as all_levers
    from planner.planning.choose import make_plan
    from planner.planning.choose_by_speed import plan_for_workload as plan_for_workload
    from planner.planning.fleet import FleetRow as FleetRow
    from planner.planning.fleet import plan_fleet as plan_fleet
    from planner.planning.request import PlanRequest as PlanRequest
    from planner.rendering.command import ServeCommand as ServeCommand
    from planner.rendering.command import serve_command as serve_command
    from planner.rendering.document import PlanDocument as PlanDocument
    from planner.rendering.document import json_schema as json_schema
    from planner.rendering.document import plan_document as plan_document
    from planner.rendering.document import read_document as read_document
    from planner.rendering.document import to_json_value as to_json_value
    from planner.rendering.emitters import EMITTERS as EMITTERS
    from planner.rendering.emitters import emit as emit
    from planner.rendering.emitters import emit_files as emit_files
    from planner.rendering.emitters.deployment import Deployment as Deployment
    from planner.rendering.multi_node import NodeCommand as NodeCommand
    from planner.rendering.multi_node import node_commands as node_commands
    from planner.serve.bench import speed_calibrations as speed_calibrations
    from planner.serve.preflight import run_preflight as run_preflight
    from planner.serve.process.follower import follow as follow
    from planner.serve.process.launcher import launch as launch
    from planner.serve.process.run import Run as Run
    from planner.serve.process.start_order import StartOrder as StartOrder
    from planner.serve.verification.verifier import verify as verify
    from planner.settings import Settings as Settings
    from planner.speed.answer import Estimate as Estimate
    from planner.speed.answer import SpeedCalibration as SpeedCalibration
    from planner.speed.answer import SpeedForecast as SpeedForecast
    from planner.speed.answer import SpeedSection as SpeedSection
    from planner.speed.answer import Targets as Targets
    from planner.speed.predict import NoSpeedFacts as NoSpeedFacts
    from planner.speed.predict import forecast as forecast
    from planner.speed.workload import Workload as Workload

    plan = make_plan

_get, __dir__, __all__ = lazy(
    __name__,
    {
        "calibrate": "calibrations",
        "checkpoint": "load_model load_preset",
        "errors": "BadFacts InvalidRequest LaunchFailed LogNotUnderstood M35Error PlannerError UnknownVersion "
        "UnreadableCheckpoint UnreadableDocument UnsafePath UnsupportedModel VerifyFailed",
        "memory.ledger": "Ledger",
        "memory.rank": "Calibration",
        "memory.term": "Term",
        "model": "ModelSpec",
        "planning.answer": "KvCache Lever Plan PlanWarning",
        "planning.choose": "all_levers make_plan=plan",
        "planning.choose_by_speed": "plan_for_workload",
        "planning.fleet": "FleetRow plan_fleet",
        "planning.request": "PlanRequest",
        "rendering.command": "ServeCommand serve_command",
        "rendering.document": "PlanDocument json_schema plan_document read_document to_json_value",
        "rendering.emitters": "EMITTERS emit emit_files",
        "rendering.emitters.deployment": "Deployment",
        "rendering.multi_node": "NodeCommand node_commands",
        "serve.bench": "speed_calibrations",
        "serve.process.follower": "follow",
        "serve.process.launcher": "launch",
        "serve.process.run": "Run",
        "serve.process.start_order": "StartOrder",
        "serve.preflight": "run_preflight",
        "serve.verification.verifier": "verify",
        "settings": "Settings",
        "speed.answer": "Estimate SpeedCalibration SpeedForecast SpeedSection Targets",
        "speed.predict": "NoSpeedFacts forecast",
        "speed.workload": "Workload",
    },
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("m35-plan")
    return _get(name)
