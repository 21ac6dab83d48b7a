"""``m35-plan runs``: what was launched on this machine and what became of it."""

from __future__ import annotations

import time

import click

from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.output import table, write, write_json
from planner.serve.run import Run, attach, list_runs, remove_run


@click.command(short_help="list what was launched on this machine")
@click.option("--remove", multiple=True, metavar="RUN", help="delete the directory of an ended run (repeatable)")
@click.option("--json", "as_json", is_flag=True, help="print the list as JSON")
def command(remove: tuple[str, ...], as_json: bool) -> int:
    """List every run, newest first: its state, address and directory."""
    for name in remove:
        remove_run(attach(name))
    rows = [(run, run.status()) for run in list_runs(on_damaged=lambda error: say("note", str(error)))]
    if as_json:
        write_json(
            [
                {
                    "id": run.id, "state": status.state, "exit_code": status.exit_code, "url": run.url,
                    "target": run.target, "created_at_s": run.created_at_s, "model": _model(run),
                    "directory": str(run.directory), "note": status.note,
                }
                for run, status in rows
            ]
        )  # fmt: skip
        return ExitCode.OK
    if not rows:
        write("no runs on this machine")
        return ExitCode.OK
    cells = []
    for run, status in rows:
        state = status.state + (f" ({status.exit_code})" if status.exit_code else "")
        since = time.strftime("%m-%d %H:%M", time.localtime(run.created_at_s))
        cells.append((run.id, state, since, run.url.removeprefix("http://"), _model(run)[:18]))
    write(table(("run", "state", "since", "address", "model"), cells))
    return ExitCode.OK


def _model(run: Run) -> str:
    """The model's name without its owner; the program where no model is named."""
    argv = run.argv
    named = argv[argv.index("serve") + 1] if "serve" in argv[:-1] else argv[0]
    return named.rstrip("/").rpartition("/")[2]
