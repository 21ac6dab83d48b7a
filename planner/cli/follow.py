"""Following a run for a person or a program until there is a result, with Ctrl-C on the way. It never launches."""

from __future__ import annotations

import contextlib
import re
import sys
import time

import click

from planner.cli.diagnostics import narrate, say
from planner.cli.exit_code import ExitCode
from planner.cli.kept import tell_of_damage
from planner.cli.output import write, write_json_line
from planner.errors import UnsafePath
from planner.rendering.envelope import to_value
from planner.serve.log.events import Event, ServerEnded, ServerReady, TimedOut
from planner.serve.process.follower import Until, follow, stall_limits
from planner.serve.process.history import earlier_starts
from planner.serve.process.progress import StartProgress
from planner.serve.process.run import Run
from planner.serve.start_report import StartReport, report_start
from planner.state import history_path

Limits = tuple[dict[str, float], float | None]
"""Seconds by phase, and for the whole start."""

_LIMIT = re.compile(r"^(?:(?P<phase>[a-z]+)=)?(?P<seconds>\d+(?:\.\d+)?)$")


def read_limits(values: tuple[str, ...]) -> Limits:
    """Return limits by phase and of the whole, from ``PHASE=SECONDS`` and ``SECONDS``; call it before a launch.

    Raises:
        click.BadParameter: for anything else.
        InvalidRequest: for a phase that does not exist or a time that is not positive.
    """
    phases: dict[str, float] = {}
    whole = None
    for value in values:
        match = _LIMIT.match(value)
        if match is None:
            raise click.BadParameter(f"`{value}` is not PHASE=SECONDS or SECONDS", param_hint="--timeout")
        if match["phase"]:
            phases[match["phase"]] = float(match["seconds"])
        else:
            whole = float(match["seconds"])
    stall_limits(phases)
    if whole is not None and not whole > 0:
        raise click.BadParameter("the whole start needs more than 0 seconds", param_hint="--timeout")
    return phases, whole


def watch(run: Run, *, limits: Limits, until: Until, json_lines: bool, stop_on_timeout: bool) -> int:
    """Follow `run`, show what happens and what it came to, and return the exit code."""
    phases, whole = limits
    expected, starts = _earlier(run)
    from planner.cli.start_display import StartDisplay

    display = (
        None
        if json_lines
        else StartDisplay(StartProgress(expected_s=expected, earlier_starts=starts), launch_s=run.record.created_at_s)
    )
    last: Event | None = None
    concluded: StartReport | None = None
    try:
        for batch in follow(run, until=until, stall_limits_s=phases, total_limit_s=whole, tick=display is not None):
            for event in batch:
                last = event
                if json_lines:
                    write_json_line(to_value(event))
            if display is not None:
                display.show(batch, at_s=max(0.0, time.time() - run.record.created_at_s))
            if until == "end" and any(isinstance(event, ServerReady) for event in batch):
                concluded = _show(run, last, report_start(run, last), json_lines=json_lines)
    except KeyboardInterrupt:
        return _interrupted(run)
    if concluded is not None and isinstance(last, ServerEnded):
        return _ended_after_ready(run, last)
    if isinstance(last, ServerEnded):
        run.clear_remains()
    # Concluded before it is stopped: how we end it is not a cause.
    found = report_start(run, last)
    if isinstance(last, TimedOut) and stop_on_timeout:
        say("note", "stopping the server")
        try:
            run.stop()
        except KeyboardInterrupt:
            return _left_behind(run)
    return _exit_code(_show(run, last, found, json_lines=json_lines))


def _earlier(run: Run) -> tuple[dict[str, float], int]:
    """What earlier starts took; damaged records, also of what was seen of this run, are told."""
    damaged: list[str] = []
    earlier = earlier_starts(run.record.history_key, dropped=damaged)
    if damaged:
        tell_of_damage(damaged, history_path())
    seen: list[str] = []
    try:
        run.was_seen_ready(dropped=seen)
    except UnsafePath as error:
        seen.append(str(error))
    tell_of_damage(seen, run.events_path)
    return earlier


def _show(run: Run, last: Event | None, found: StartReport, *, json_lines: bool) -> StartReport:
    if json_lines:
        write_json_line(to_value(found))
        return found
    from planner.cli.start_report_table import comparison_text, failure_text
    from planner.serve.process.progress import duration

    narrate("")
    _tell_of_log(run)
    if found.outcome == "ready":
        write(f"ready    {run.url}")
        write(f"run      {run.id}   (m35-plan stop, attach, verify, calibrate)")
        write(f"log      {run.log_path}")
        if found.comparison is not None and found.comparison.differences:
            write("\n" + comparison_text(found.comparison))
    elif found.failure is not None:
        write(failure_text(found.failure))
        write(f"\nlog: {run.log_path}")
        if isinstance(last, TimedOut):
            say("error", f"no progress in phase {last.phase} for {duration(last.waited_s)}; /health: {last.health}")
            say("hint", f"last line of the log: {last.last_seen[:200]}")
        else:
            what = "died after it was ready" if found.failure.phase == "ready" else "did not come up"
            say("error", f"the server {what} (exit code {run.status().exit_code})")
            if run.status().exit_code == 0:
                say("hint", "the command ended by itself; a server goes on until it is stopped")
    else:
        write(f"{found.outcome}   run {run.id}")
        if not found.was_ready:
            say("error", "the server was stopped before it was ready")
    return found


def _tell_of_log(run: Run) -> None:
    """Say where the log was replaced by what is not read: nothing in the report is from it then."""
    with contextlib.suppress(OSError):
        try:
            run.open_log().close()
        except UnsafePath as error:
            say("warning", f"the log is not read: {error}")


def _exit_code(found: StartReport) -> int:
    return {
        "ready": ExitCode.OK,
        "stopped": ExitCode.OK if found.was_ready else ExitCode.LAUNCH_FAILED,
        "open": ExitCode.LAUNCH_FAILED,
        "failed": ExitCode.LAUNCH_FAILED,
        "timed out": ExitCode.TIMEOUT,
    }[found.outcome]


def _ended_after_ready(run: Run, last: ServerEnded) -> int:
    status = run.status()
    found = report_start(run, last)
    if found.outcome == "stopped":
        write(f"{status.state}   run {run.id}")
        return ExitCode.OK
    from planner.cli.start_report_table import failure_text

    if found.failure is not None:
        write(failure_text(found.failure))
    say("error", f"the server died after it was ready (exit code {status.exit_code})")
    return ExitCode.LAUNCH_FAILED


def _interrupted(run: Run) -> int:
    """Ctrl-C: ask on a terminal, stop cleanly elsewhere."""
    leave = False
    if sys.stdin.isatty() and sys.stderr.isatty():
        narrate("")
        try:
            answer = click.prompt(
                "stop the server, or leave it running?",
                type=click.Choice(["stop", "leave"]), default="stop", err=True,
            )  # fmt: skip
            leave = answer == "leave"
        except (click.Abort, KeyboardInterrupt):
            leave = False
    if leave:
        say("note", f"the server goes on: `m35-plan attach {run.id}`, `m35-plan stop {run.id}`")
    else:
        say("note", "stopping the server")
        try:
            report = run.stop()
        except KeyboardInterrupt:
            return _left_behind(run)
        say("note", f"{report.how} after {report.duration_s:.1f} s")
    return ExitCode.INTERRUPTED


def _left_behind(run: Run) -> int:
    """Ctrl-C while the server is being stopped: its end is no longer waited for."""
    say("note", "the server was asked to stop and may still run")
    say("hint", f"`m35-plan stop {run.id}` ends it")
    return ExitCode.INTERRUPTED
