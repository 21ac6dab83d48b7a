"""``m35-plan runs``: what was launched on this machine and what became of it."""

from __future__ import annotations

import time

import click

from planner.cli.command import Command
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.kept import tell_of_damage
from planner.cli.output import table, write, write_document
from planner.errors import UnsafePath
from planner.serve.process.ending import find_strays
from planner.serve.process.health import ask_health
from planner.serve.process.run import Run, RunStatus
from planner.serve.process.runs import attach, list_runs, remove_run

_HEALTH_S = 1.0
"""A healthy server answers in milliseconds; a list must not wait for a hung one."""


@click.command(cls=Command, short_help="list what was launched on this machine")
@click.option(
    "--remove",
    multiple=True,
    metavar="RUN",
    help="delete the directory of an ended run with everything in it, also one that --run-dir named (repeatable)",
)
@click.option("--json", "as_json", is_flag=True, help="print the list as JSON")
def command(remove: tuple[str, ...], as_json: bool) -> int:
    """List every run, newest first: its state, address and directory."""
    for name in remove:
        remove_run(attach(name))
    rows = [(run, run.status()) for run in list_runs(on_damaged=lambda error: say("note", str(error)))]
    for stray in find_strays():
        if stray.is_listed:
            say("warning", f"a server runs whose directory `{stray.directory}` was deleted: `m35-plan stop {stray.id}`")
    if as_json:
        from planner.serve.documents import ListedRun, RunsDocument

        listed = (
            ListedRun(
                id=run.id, state=status.state, serving=_serving(run, status), exit_code=status.exit_code, url=run.url,
                target=run.record.target, created_at_s=run.record.created_at_s, model=_model(run),
                directory=str(run.directory), note=status.note,
            )
            for run, status in rows
        )  # fmt: skip
        write_document(RunsDocument(runs=tuple(listed)))
        return ExitCode.OK
    if not rows:
        write("no runs on this machine")
        return ExitCode.OK
    cells = []
    for run, status in rows:
        state = status.state + (f" ({status.exit_code})" if status.exit_code else "")
        if status.state == "running":
            state = _serving(run, status)
        since = time.strftime("%m-%d %H:%M", time.localtime(run.record.created_at_s))
        cells.append([run.id, state, since, run.url.removeprefix("http://"), _model(run)])
    head = ["run", "state", "since", "address", "model"]
    write(table(head, cells))
    return ExitCode.OK


def _serving(run: Run, status: RunStatus) -> str:
    """``ready``, ``starting``, or ``silent`` when it was ready and does not answer now; empty when nothing runs."""
    if status.state != "running":
        return ""
    # A local server that has no port yet needs no question, and an answer there is another server's.
    if (run.record.target != "local" or run.listens()) and ask_health(run.url, timeout_s=_HEALTH_S).ok:
        return "ready"
    dropped: list[str] = []
    try:
        was_ready = run.was_seen_ready(dropped=dropped)
    except UnsafePath as error:
        say("note", str(error))
        return "silent"
    tell_of_damage(dropped, run.events_path)
    return "silent" if was_ready else "starting"


def _model(run: Run) -> str:
    """The model's name without its owner; the program where no model is named."""
    argv = run.record.argv
    named = argv[argv.index("serve") + 1] if "serve" in argv[:-1] else argv[0]
    return named.rstrip("/").rpartition("/")[2]
