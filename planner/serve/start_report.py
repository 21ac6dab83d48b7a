"""What a start came to: figures against the plan when it is up, the cause when it is not. It stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from hw_specs.errors import reason_of
from planner.errors import PlannerError, UnsafePath, VerifyFailed
from planner.planning.answer import Plan
from planner.rendering.envelope import document, to_value
from planner.serve.log.comparison import Comparison, Predicted, compare
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.events import Event, PhaseStarted, ServerEnded, ServerReady, TimedOut
from planner.serve.log.excerpt import HEAD_BYTES, NOTHING, LogExcerpt, read_excerpt
from planner.serve.log.measured import Measured, read_measured, with_metrics
from planner.serve.log.parser import parse_log
from planner.serve.log.verdict import Failure
from planner.serve.process.health import read_metrics
from planner.serve.process.run import Run, RunStatus
from planner.serve.process.witness import gpu_memory, kernel_words
from planner.state import read_own, write_json

Outcome = Literal["ready", "failed", "timed out", "stopped", "open"]

PLAN = "plan.json"
"""The whole plan, request and model included, from which it can be planned again."""

_METRICS_TIMEOUT_S = 5.0


@document("start-report", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class StartReport:
    """How a start ended."""

    outcome: Outcome
    """``open`` while it is not known."""
    was_ready: bool = False
    """Whether it could be used at some time."""
    measured: Measured
    comparison: Comparison | None = None
    """None without a plan."""
    failure: Failure | None = None
    """None when nothing failed."""


def report_start(run: Run, last: Event | None = None) -> StartReport:
    """Return what the start of `run` came to and keep it as ``report.json`` in its directory.

    `last` is the last event of a follower; without it the records of the run decide. Nothing is taken from a log that
    is not a plain file of this user any more: `Run.read_log` says why.

    Raises:
        UnsafePath: when another user may have written the run's records.
    """
    start = parse_log(_head(run))
    measured = read_measured(start)
    if isinstance(last, ServerReady):
        # The log rounds and may lack the block count; the server itself knows both exactly.
        with suppress(VerifyFailed):
            measured = with_metrics(measured, read_metrics(run.url, timeout_s=_METRICS_TIMEOUT_S))
    planned = run.plan_document
    comparison = None
    # A damaged plan.json must not hide how the start ended.
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        comparison = compare(Predicted.read(planned), measured) if planned is not None else None
    status = run.status()
    was_ready = _was_ready(run, start, last)
    outcome = _outcome(status, last, was_ready=was_ready)
    found = StartReport(
        outcome=outcome,
        measured=measured,
        comparison=comparison,
        failure=_failure(run, status, last) if outcome in ("failed", "timed out") else None,
        was_ready=was_ready,
    )
    with suppress(OSError):
        write_json(run.directory / "report.json", to_value(found))
    return found


def _was_ready(run: Run, start: Sequence[Event], last: Event | None) -> bool:
    if isinstance(last, ServerReady) or (isinstance(last, ServerEnded) and last.was_ready):
        return True
    if run.was_seen_ready():
        return True
    said_ready = any(isinstance(event, PhaseStarted) and event.phase == "ready" for event in start)
    return said_ready and not isinstance(last, TimedOut)


def _outcome(status: RunStatus, last: Event | None, *, was_ready: bool) -> Outcome:
    if isinstance(last, ServerReady):
        return "ready"
    if isinstance(last, TimedOut):
        return "timed out"
    if status.state == "stopped":
        return "stopped"
    if isinstance(last, ServerEnded) or not status.alive:
        # A server that ends by itself before it was ready has failed, whatever it says.
        return "stopped" if status.state == "ended" and was_ready else "failed"
    return "open"


def _head(run: Run) -> bytes:
    try:
        return run.read_log(first_bytes=HEAD_BYTES)
    except UnsafePath:
        return b""


def _excerpt(run: Run) -> LogExcerpt:
    try:
        with run.open_log() as file:
            return read_excerpt(file)
    except (OSError, UnsafePath):
        return NOTHING


def _failure(run: Run, status: RunStatus, last: Event | None) -> Failure:
    timed_out = last if isinstance(last, TimedOut) else None
    # The code of a server that we ended tells about us, not about its failure.
    ours = timed_out is not None or run.stop_was_asked()
    log = _excerpt(run)
    return log.renumbered(
        diagnose(
            log.text,
            plan=plan_of(run),
            exit_code=None if ours else status.exit_code,
            timed_out=timed_out,
            kernel=kernel_words(run.directory, since_s=run.record.created_at_s),
            port=run.record.endpoint.port,
            held=() if status.alive or run.stop_was_asked() else gpu_memory(run.directory),
        )
    ).failure


def plan_of(run: Run, *, dropped: list[str] | None = None) -> Plan | None:
    """Return the plan that `run` was started from, made again; None without one or when it is of another version.

    `dropped` gets a text where there is one that cannot be used.
    """
    from planner.planning.choose import make_plan
    from planner.rendering.document import read_document

    try:
        return make_plan(read_document(read_own(run.directory / PLAN)).request)
    except FileNotFoundError:
        return None
    except (OSError, PlannerError) as error:
        if dropped is not None:
            told = reason_of(error) if isinstance(error, OSError) else str(error)
            dropped.append(f"the plan of run {run.id}, in {run.directory / PLAN}: {told}")
        return None
