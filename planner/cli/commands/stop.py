"""``m35-plan stop``: end a server and everything it started."""

from __future__ import annotations

import time

import click

from planner.cli.command import Command
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.options import complete_runs
from planner.cli.output import write, write_document
from planner.errors import PlannerError
from planner.serve.process.ending import Stray, find_strays
from planner.serve.process.run import STOP_GRACE_S, Run, StopReport
from planner.serve.process.runs import attach, list_runs


@click.command(cls=Command, short_help="stop a server that was launched")
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option("--all", "everything", is_flag=True, help="stop every running one")
@click.option("--grace", "grace_s", type=click.FloatRange(0), default=STOP_GRACE_S, help="seconds before SIGKILL")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(run: str, everything: bool, grace_s: float, as_json: bool) -> int:
    """Stop RUN: SIGTERM to its processes, wait, SIGKILL. No process is left; its directory stays.

    A server whose run directory was deleted is still found by its id.
    """
    # Everything is stopped before anything is said: a stream that takes no more words must keep no server alive.
    reports = [_stop(item, grace_s) for item in (_running() if everything else _named(run))]
    if as_json:
        from planner.serve.documents import StoppedDocument

        write_document(StoppedDocument(stopped=tuple(reports)))
    for report in reports:
        if not as_json:
            write(f"{report.run}  {report.how}" + (f" after {report.duration_s:.1f} s" if report.duration_s else ""))
        if report.note:
            say("warning", f"run {report.run}: {report.note}")
    if not reports and not as_json:
        write("nothing is running")
    return ExitCode.OK


def _running() -> list[Run | Stray]:
    runs = [run for run in list_runs() if (status := run.status()).alive or status.remains]
    return [*runs, *(stray for stray in find_strays() if stray.is_listed)]


def _named(name: str) -> list[Run | Stray]:
    try:
        return [attach(name)]
    except PlannerError:
        stray = next((stray for stray in find_strays() if name in (stray.id, str(stray.directory))), None)
        if stray is None:
            raise
        return [stray]


def _stop(item: Run | Stray, grace_s: float) -> StopReport:
    if isinstance(item, Run):
        return item.stop(grace_s=grace_s)
    begun = time.monotonic()
    how = item.stop(grace_s=grace_s)
    took_s = round(time.monotonic() - begun, 3)
    return StopReport(run=item.id, how=how, duration_s=took_s, note="its run directory was deleted")
