"""``m35-plan diagnose``: why a start failed, from its log. It changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hw_specs.errors import shown
from hw_specs.reading import STDIN, STREAM_LIMIT_S, open_input
from planner.cli.command import Command
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.kept import plan_behind
from planner.cli.options import complete_logs, engine_options, gpu_options
from planner.cli.output import write, write_document
from planner.cli.start_options import planned_here
from planner.errors import PlannerError
from planner.planning.answer import Plan
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.excerpt import NOTHING, LogExcerpt, read_excerpt
from planner.serve.log.sources import diagnose_together
from planner.serve.log.verdict import Diagnosis
from planner.serve.process.run import Run
from planner.serve.process.runs import attach, holds_run


@click.command(cls=Command, short_help="name the cause of a failed start from its log")
@click.argument("logs", metavar="[LOG]...", nargs=-1, shell_complete=complete_logs)
@gpu_options
@engine_options
@click.option("--exit-code", type=int, metavar="N", help="exit code of the server, where you know it")
@click.option("--json", "as_json", is_flag=True, help="print the diagnosis as JSON")
def command(
    logs: tuple[str, ...],
    gpus: str | None,
    gpu_memory: str | None,
    exit_code: int | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Name the cause of the failure in LOG: a log file, `-` for stdin, or a run (`latest` by default).

    Where a start has several logs (standard output and error, one file per pod, rank or node), name all of them: the
    cause is searched in all of them together, by time where their lines carry one, else in the order given.

    With a run, or with --gpus and the settings of the start, the fixes are planned again from what the engine
    measured before it failed. Exit code 0: nothing failed, 5: a failure, named or not, or a log that
    ends before the server was ready.
    """
    plan = planned_here(gpus, gpu_memory, settings) if gpus is not None else None
    if not logs and _is_fed():
        say("note", "standard input is not read, and the latest run is judged: `-` reads standard input")
    found = _together(logs, plan, exit_code) if len(logs) > 1 else _one(logs[0] if logs else "latest", plan, exit_code)
    if as_json:
        write_document(found)
    else:
        from planner.cli.start_report_table import diagnosis_text

        write(diagnosis_text(found))
    return ExitCode.OK if found.code == "none" and not found.unfinished else ExitCode.LAUNCH_FAILED


def _together(names: Sequence[str], plan: Plan | None, exit_code: int | None) -> Diagnosis:
    """The cause that several files tell of.

    Raises:
        PlannerError: when one is named twice, is not there or is a run.
    """
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise PlannerError(f"`{shown(twice)}` is named twice", hint="name each log once")
    excerpts = {}
    for name in names:
        excerpts[name], run = read_log(name)
        if run is not None:
            raise PlannerError(f"`{shown(name)}` is a run: several logs are files", hint=f"its log is `{run.log_path}`")
    return diagnose_together(excerpts, plan=plan, exit_code=exit_code)


def _one(name: str, plan: Plan | None, exit_code: int | None) -> Diagnosis:
    """The cause that one log tells of; a run knows its plan and its end."""
    excerpt, run = read_log(name)
    if plan is None and run is not None:
        plan = plan_behind(run)
    lost = ""
    if run is not None and exit_code is None and not run.stop_was_asked():
        status = run.status()
        exit_code = status.exit_code
        lost = status.note if status.state == "lost" else ""
    port = run.record.endpoint.port if run else None
    found = excerpt.renumbered(diagnose(excerpt.text, plan=plan, exit_code=exit_code, port=port))
    if lost and found.code == "none":
        # Nobody saw the end, and a killed server writes nothing.
        found = replace(found, code="died", title=lost, unfinished=False)
    return found


def read_log(name: str) -> tuple[LogExcerpt, Run | None]:
    """Return what matters of the log called `name`, and its run where it is one.

    Raises:
        PlannerError: when it is neither a readable file nor a run.
    """
    path = Path(name)
    if name == STDIN or (is_there(path) and not path.is_dir()):
        return _excerpt(name), None
    is_folder = is_there(path) and path.is_dir()
    if not is_folder and ("/" in name or path.suffix):
        raise PlannerError(f"there is no file `{shown(name)}`", hint="name a log file, a run directory or a run's id")
    if is_folder and not holds_run(path):
        logs = sorted(path.glob("*.log"))
        hint = f"name the log in it: `{logs[0]}`" if logs else "`m35-plan runs` lists the runs of this machine"
        raise PlannerError(f"the folder `{name}` holds no run", hint=hint)
    run = attach(name)
    try:
        with run.open_log() as file:
            return read_excerpt(file), run
    except OSError:
        return NOTHING, run


def _excerpt(name: str) -> LogExcerpt:
    minutes = round(STREAM_LIMIT_S / 60)

    def tell() -> None:
        say("note", f"reading `{shown(name)}` to its end, {minutes} minutes at most")

    with open_input(name, limit_s=STREAM_LIMIT_S, on_wait=tell, as_log=True) as file:
        excerpt = read_excerpt(file.as_utf8())
        if file.was_cut:
            say("warning", f"`{shown(name)}` did not end within {minutes} minutes: what came by then is judged")
    return excerpt


def _is_fed() -> bool:
    """Whether a file or a program is at the other end of standard input."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def is_there(path: Path) -> bool:
    """Whether something has this name; a name that nothing can have is not there."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
