"""The head that every JSON document of the command line bears, and its kinds. It prints through one writer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.cli.output import write_json

KINDS = {
    "accuracy": ("1.0", "the planner against published start-ups"),
    "bench": ("1.0", "a benchmark's figures beside the forecast"),
    "bench-commands": ("1.0", "the benchmark commands, not run"),
    "calibration": ("1.0", "what one start measured, and whether it was kept"),
    "calibrations": ("1.0", "everything that is kept on this machine"),
    "check": ("1.0", "preflight checks"),
    "diagnosis": ("1.0", "why a start failed"),
    "fleet": ("1.0", "a plan for each host"),
    "fleet-load": ("1.0", "how a load is distributed over hosts"),
    "gpu": ("1.0", "one GPU of the catalogue with its sources"),
    "gpus": ("1.0", "the catalogue"),
    "launch": ("1.0", "a run that was started"),
    "plan-diff": ("1.0", "what changes from one plan to another"),
    "rehearsal": ("1.0", "a rehearsed start"),
    "runs": ("1.0", "servers that were started"),
    "start": ("1.0", "what would be started, not started"),
    "stop": ("1.0", "servers that were stopped"),
    "sweep": ("2.0", "configurations with their verdicts"),
    "verification": ("1.0", "checks of a running server"),
}
"""Kind → version of its keys, ``major.minor``, and what it is. Plans and reviews bear heads of their own."""


def write_document(kind: str, body: Mapping[str, Any]) -> None:
    """Write one JSON document under its head."""
    write_json({"kind": kind, "schema_version": KINDS[kind][0], **body})
