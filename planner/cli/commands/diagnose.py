"""``m35-plan diagnose``: why a start failed, from its log. It changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from hw_specs.errors import shown
from planner.cli.command import Command
from planner.cli.documents import write_typed
from planner.cli.exit_code import ExitCode
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import write
from planner.cli.start_options import planned_here
from planner.errors import PlannerError
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.excerpt import NOTHING, LogExcerpt, read_excerpt
from planner.serve.process.run import Run
from planner.serve.process.runs import attach, holds_run
from planner.serve.start_report import DiagnosisDocument, plan_of


@click.command(cls=Command, short_help="name the cause of a failed start from its log")
@click.argument("log", default="latest")
@gpu_options
@engine_options
@click.option("--exit-code", type=int, metavar="N", help="exit code of the server, where you know it")
@click.option("--json", "as_json", is_flag=True, help="print the diagnosis as JSON")
def command(
    log: str, gpus: str | None, gpu_memory: str | None, exit_code: int | None, as_json: bool, **settings: Any
) -> int:
    """Name the cause of the failure that LOG tells of: a log file, `-` for stdin, or a run.

    With a run, or with --gpus and the settings of the start, the cures are planned again from what the engine
    measured before it failed. Exit code 0: nothing failed, 5: a failure, named or not.
    """
    excerpt, run = read_log(log)
    plan = plan_of(run) if run is not None else None
    if gpus is not None:
        plan = planned_here(gpus, gpu_memory, settings)
    if run is not None and exit_code is None and not run.stop_was_asked():
        exit_code = run.status().exit_code
    port = run.record.endpoint.port if run else None
    found = excerpt.renumbered(diagnose(excerpt.text, plan=plan, exit_code=exit_code, port=port))
    if as_json:
        write_typed(DiagnosisDocument.of(found))
    else:
        from planner.cli.start_report_table import diagnosis_text

        write(diagnosis_text(found))
    return ExitCode.OK if found.code == "none" else ExitCode.LAUNCH_FAILED


def read_log(name: str) -> tuple[LogExcerpt, Run | None]:
    """Return what matters of the log called `name`, and its run where it is one.

    Raises:
        PlannerError: when it is neither a readable file nor a run.
    """
    if name == "-":
        if sys.stdin is None:
            raise PlannerError("there is no standard input: it is closed", hint="name a log file or a run")
        return read_excerpt(sys.stdin.buffer), None
    path = Path(name)
    if is_there(path) and path.is_file():
        try:
            with path.open("rb") as file:
                return read_excerpt(file), None
        except OSError as error:
            raise PlannerError(f"cannot read `{name}`: {(error.strerror or str(error)).lower()}") from error
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


def is_there(path: Path) -> bool:
    """Whether something has this name; a name that nothing can have is not there."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
