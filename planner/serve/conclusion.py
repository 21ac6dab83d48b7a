"""What a start came to: figures against the plan when it is up, the cause when it is not. It stops nothing."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, Literal

from planner.answer import Plan
from planner.serve.diagnosis import Diagnosis, diagnose
from planner.serve.events import Event, ServerEnded, ServerReady, TimedOut
from planner.serve.health import read_metrics
from planner.serve.measured import Comparison, Measured, compare, read_measured, with_metrics
from planner.serve.run import Run
from planner.serve.startup_log import parse_log
from planner.store import write_json

Outcome = Literal["ready", "failed", "timed out", "stopped", "open"]

FULL_PLAN = "plan.full.json"
"""The whole plan, request and model included, from which it can be planned again."""

_METRICS_TIMEOUT_S = 5.0
_LOG_BYTES = 64 << 20
"""A start is far shorter; what a server says later is not its start."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How a start ended."""

    outcome: Outcome
    """``open`` while nobody can say yet."""
    measured: Measured
    comparison: Comparison | None = None
    """None without a plan."""
    diagnosis: Diagnosis | None = None
    """None when nothing failed."""


def conclude(run: Run, last: Event | None = None) -> Conclusion:
    """Return what the start of `run` came to and keep it as ``report.json`` in its directory.

    `last` is the last event of a follower; without it the records of the run decide.
    """
    log = run.read_log()[:_LOG_BYTES]
    measured = read_measured(parse_log(log))
    if isinstance(last, ServerReady):
        # The log rounds and may lack the block count; the server itself knows both exactly.
        measured = with_metrics(measured, read_metrics(run.url, timeout_s=_METRICS_TIMEOUT_S))
    document = run.plan_document
    comparison = compare(document, measured) if document is not None else None
    status = run.status()
    outcome: Outcome
    if isinstance(last, ServerReady):
        outcome = "ready"
    elif isinstance(last, TimedOut):
        outcome = "timed out"
    elif status.state == "stopped" and not isinstance(last, TimedOut):
        outcome = "stopped"
    elif isinstance(last, ServerEnded) or not status.alive:
        outcome = "failed" if status.exit_code != 0 else "stopped"
    else:
        outcome = "open"
    diagnosis = None
    if outcome in ("failed", "timed out"):
        diagnosis = diagnose(
            log,
            plan=plan_of(run),
            exit_code=status.exit_code,
            timed_out=last if isinstance(last, TimedOut) else None,
            port=int(run.record["port"]),
        )
    found = Conclusion(outcome=outcome, measured=measured, comparison=comparison, diagnosis=diagnosis)
    with suppress(OSError):
        write_json(run.directory / "report.json", conclusion_document(found))
    return found


def plan_of(run: Run) -> Plan | None:
    """Return the plan that `run` was started from; None without one or when it is of another version of ours."""
    from pydantic import ValidationError

    from planner.document import load_plan

    try:
        return load_plan((run.directory / FULL_PLAN).read_bytes())
    except (OSError, ValidationError):
        return None


def conclusion_document(conclusion: Conclusion) -> dict[str, Any]:
    """Return `conclusion` as JSON values."""
    document = dataclasses.asdict(conclusion)
    if conclusion.comparison is not None:
        document["comparison"]["verdict"] = conclusion.comparison.verdict
    if conclusion.diagnosis is not None:
        del document["diagnosis"]["measured"]
    return document
