"""``m35-plan attach``: watch a run that was launched before. It starts nothing and, unless asked, stops nothing."""

from __future__ import annotations

import click

from planner.cli.command import Command
from planner.cli.follow import read_limits, watch
from planner.cli.kept import plan_behind
from planner.cli.options import complete_runs
from planner.serve.process.runs import attach


@click.command(cls=Command, short_help="watch a run that was launched earlier")
@click.argument("run", default="latest", shell_complete=complete_runs)
@click.option("--until", type=click.Choice(["ready", "end"]), default="ready", help="when to stop watching")
@click.option(
    "--timeout", multiple=True, metavar="[PHASE=]SECONDS", help="time limit of a phase, or of the whole start"
)
@click.option("--json", "as_json", is_flag=True, help="print every event as a JSON line")
def command(run: str, until: str, timeout: tuple[str, ...], as_json: bool) -> int:
    """Watch RUN: its id, the beginning of one, a run directory, or `latest`.

    Everyone sees the same events from the beginning. Leaving with Ctrl-C asks whether the server should stop.
    """
    limits = read_limits(timeout)
    found = attach(run, prefer_running=True)
    plan_behind(found)
    return watch(
        found, limits=limits, until="end" if until == "end" else "ready", json_lines=as_json, stop_on_timeout=False
    )
