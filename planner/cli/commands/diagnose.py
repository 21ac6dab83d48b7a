"""``m35-plan diagnose``: why a start failed, from its log. It changes nothing."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from planner.cli.exit_code import ExitCode
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import write, write_json
from planner.cli.start_options import planned_here
from planner.errors import PlannerError
from planner.serve.log.diagnosis import Diagnosis, diagnose
from planner.serve.log.failed_log import read_thinned
from planner.serve.process.run import Run, attach
from planner.serve.start_report import plan_of


@click.command(short_help="name the cause of a failed start from its log")
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
    data, run = read_log(log)
    plan = plan_of(run) if run is not None else None
    if gpus is not None:
        plan = planned_here(gpus, gpu_memory, settings)
    if run is not None and exit_code is None and not run.stop_was_asked():
        exit_code = run.status().exit_code
    found = diagnose(data, plan=plan, exit_code=exit_code, port=int(run.record["port"]) if run else None)
    if as_json:
        write_json(_document(found))
    else:
        from planner.cli.conclusion_table import diagnosis_text

        write(diagnosis_text(found))
    return ExitCode.OK if found.code == "none" else ExitCode.LAUNCH_FAILED


def read_log(name: str) -> tuple[bytes, Run | None]:
    """Return the log called `name`, and its run where it is one.

    Raises:
        PlannerError: when it is neither a readable file nor a run.
    """
    if name == "-":
        return read_thinned(sys.stdin.buffer), None
    path = Path(name)
    if path.is_file():
        try:
            with path.open("rb") as file:
                return read_thinned(file), None
        except OSError as error:
            raise PlannerError(f"cannot read `{name}`: {(error.strerror or str(error)).lower()}") from error
    if not path.is_dir() and ("/" in name or path.suffix):
        raise PlannerError(f"there is no file `{name}`", hint="name a log file, a run directory or a run's id")
    if path.is_dir() and not (path / "run.json").is_file():
        logs = sorted(path.glob("*.log"))
        hint = f"name the log in it: `{logs[0]}`" if logs else "`m35-plan runs` lists the runs of this machine"
        raise PlannerError(f"the folder `{name}` holds no run", hint=hint)
    run = attach(name)
    try:
        with run.log_path.open("rb") as file:
            return read_thinned(file), run
    except OSError:
        return b"", run


def _document(found: Diagnosis) -> dict[str, Any]:
    return {"known": found.known, **dataclasses.asdict(found)}
