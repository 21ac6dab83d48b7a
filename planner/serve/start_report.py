"""What a start came to: figures against the plan when it is up, the cause when it is not. It stops nothing."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, Literal

from planner.planning.answer import Plan
from planner.serve.log.diagnosis import Diagnosis, LogLine, diagnose
from planner.serve.log.events import Event, PhaseStarted, ServerEnded, ServerReady, TimedOut
from planner.serve.log.excerpt import LogExcerpt, read_excerpt
from planner.serve.log.measured import Comparison, Measured, compare, read_measured, with_metrics
from planner.serve.log.parser import parse_log
from planner.serve.process.health import read_metrics
from planner.serve.process.run import Run
from planner.state import read_records, write_json

Outcome = Literal["ready", "failed", "timed out", "stopped", "open"]

FULL_PLAN = "plan.full.json"
"""The whole plan, request and model included, from which it can be planned again."""

_METRICS_TIMEOUT_S = 5.0
_HEAD_BYTES = 8 << 20
"""A start is far shorter; what a server says later is not its start."""
_TAIL_BYTES = 8 << 20
"""Its last words, whatever it said while it served."""


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
    was_ready: bool = False
    """Whether it could be used at some time."""


def conclude(run: Run, last: Event | None = None) -> Conclusion:
    """Return what the start of `run` came to and keep it as ``report.json`` in its directory.

    `last` is the last event of a follower; without it the records of the run decide.
    """
    log = read_excerpt(run.log_path, head_bytes=_HEAD_BYTES, tail_bytes=_TAIL_BYTES)
    start = parse_log(log.head)
    measured = read_measured(start)
    said_ready = any(isinstance(event, PhaseStarted) and event.phase == "ready" for event in start)
    if isinstance(last, ServerReady):
        # The log rounds and may lack the block count; the server itself knows both exactly.
        measured = with_metrics(measured, read_metrics(run.url, timeout_s=_METRICS_TIMEOUT_S))
    document = run.plan_document
    comparison = None
    # A plan.json that somebody damaged must not hide how the start ended.
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        comparison = compare(document, measured) if document is not None else None
    status = run.status()
    was_ready = (
        isinstance(last, ServerReady)
        or (isinstance(last, ServerEnded) and last.was_ready)
        or any(record.get("event") == "server-ready" for record in read_records(run.events_path))
        or (said_ready and not isinstance(last, TimedOut))
    )
    outcome: Outcome
    if isinstance(last, ServerReady):
        outcome = "ready"
    elif isinstance(last, TimedOut):
        outcome = "timed out"
    elif status.state == "stopped":
        outcome = "stopped"
    elif isinstance(last, ServerEnded) or not status.alive:
        # A server that ends by itself before it served anybody has failed, whatever it says.
        outcome = "stopped" if status.exit_code == 0 and was_ready else "failed"
    else:
        outcome = "open"
    diagnosis = None
    if outcome in ("failed", "timed out"):
        timed_out = last if isinstance(last, TimedOut) else None
        # The code of a server that we ended tells about us, not about its failure.
        ours = timed_out is not None or run.stop_was_asked()
        diagnosis = _renumbered(
            diagnose(
                log.head + log.tail,
                plan=plan_of(run),
                exit_code=None if ours else status.exit_code,
                timed_out=timed_out,
                port=int(run.record["port"]),
            ),
            log,
        )
    found = Conclusion(
        outcome=outcome, measured=measured, comparison=comparison, diagnosis=diagnosis, was_ready=was_ready
    )
    with suppress(OSError):
        write_json(run.directory / "report.json", conclusion_document(found))
    return found


def _renumbered(diagnosis: Diagnosis, log: LogExcerpt) -> Diagnosis:
    """The same with the numbers that lines have in the whole log."""
    if not log.skipped_lines:
        return diagnosis

    def moved(lines: tuple[LogLine, ...]) -> tuple[LogLine, ...]:
        return tuple(dataclasses.replace(line, number=log.line(line.number)) for line in lines)

    return dataclasses.replace(diagnosis, evidence=moved(diagnosis.evidence), traceback=moved(diagnosis.traceback))


def plan_of(run: Run) -> Plan | None:
    """Return the plan that `run` was started from; None without one or when it is of another version of ours."""
    from planner.rendering.document import load_plan

    try:
        return load_plan((run.directory / FULL_PLAN).read_bytes())
    except (OSError, ValueError):
        return None


def conclusion_document(conclusion: Conclusion) -> dict[str, Any]:
    """Return `conclusion` as JSON values."""
    document = dataclasses.asdict(conclusion)
    if conclusion.comparison is not None:
        document["comparison"] = comparison_record(conclusion.comparison)
    if conclusion.diagnosis is not None:
        del document["diagnosis"]["measured"]
    return document


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Return `comparison` as JSON values."""
    return {**dataclasses.asdict(comparison), "verdict": comparison.verdict}
