"""``m35-plan stop``: end a server and everything it started."""

from __future__ import annotations

import click

from planner.cli.exit_code import ExitCode
from planner.cli.output import write, write_json
from planner.serve.process.run import STOP_GRACE_S, Run, attach, list_runs


@click.command(short_help="stop a server that was launched")
@click.argument("run", default="latest")
@click.option("--all", "everything", is_flag=True, help="stop every running one")
@click.option("--grace", "grace_s", type=click.FloatRange(0), default=STOP_GRACE_S, help="seconds before SIGKILL")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(run: str, everything: bool, grace_s: float, as_json: bool) -> int:
    """Stop RUN: SIGTERM to its processes, wait, SIGKILL. Nothing of it is left; its directory stays."""
    chosen = [item for item in list_runs() if _has_processes(item)] if everything else [attach(run)]
    results = []
    for item in chosen:
        report = item.stop(grace_s=grace_s)
        results.append({"run": item.id, "how": report.how, "took_s": round(report.took_s, 3)})
        if not as_json:
            write(f"{item.id}  {report.how}" + (f" after {report.took_s:.1f} s" if report.took_s else ""))
    if as_json:
        write_json(results)
    elif not results:
        write("nothing is running")
    return ExitCode.OK


def _has_processes(run: Run) -> bool:
    status = run.status()
    return status.alive or status.remains > 0
