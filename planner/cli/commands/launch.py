"""``m35-plan launch``: check, start, follow until ready or failed. The server outlives it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw_specs.units import counted
from planner.cli.command import Command
from planner.cli.diagnostics import narrate, say
from planner.cli.exit_code import ExitCode
from planner.cli.output import write, write_document, write_json_line
from planner.cli.start_options import is_command, planned_here, start_options, start_order
from planner.errors import LaunchFailed
from planner.serve.process.engine_argv import unmodelled_flags
from planner.serve.process.keys import require_key
from planner.serve.process.launcher import launch
from planner.serve.process.start_order import StartOrder

if TYPE_CHECKING:
    from planner.planning.answer import Plan
    from planner.serve.check import CheckResult


@click.command(cls=Command, short_help="check, start and follow a server")
@start_options
@click.option("--run-dir", type=click.Path(path_type=Path), help="directory of this run, instead of one of our own")
@click.option(
    "--timeout", multiple=True, metavar="[PHASE=]SECONDS", help="time limit of a phase, or of the whole start"
)
@click.option("--no-check", is_flag=True, help="start even if a preflight check fails")
@click.option("--force", is_flag=True, help="start even if the plan does not fit")
@click.option("--detach", is_flag=True, help="return as soon as it is started")
@click.option("--stay", is_flag=True, help="keep watching once it is ready; Ctrl-C stops the server")
@click.option("--dry-run", is_flag=True, help="print what would be started, and stop")
@click.option("--json", "as_json", is_flag=True, help="print every event as a JSON line")
def command(
    gpus: str | None,
    gpu_memory: str | None,
    target: str,
    program: str | None,
    host: str | None,
    port: int | None,
    run_dir: Path | None,
    timeout: tuple[str, ...],
    no_check: bool,
    force: bool,
    detach: bool,
    stay: bool,
    dry_run: bool,
    as_json: bool,
    words: tuple[str, ...],
    **settings: Any,
) -> int:
    """Start the planned server and follow it until it is ready.

    What comes after `--` goes to vLLM: `m35-plan launch --gpus 8xH200 -- --served-model-name m35`. A whole command
    there, `-- vllm serve MODEL ...`, is started as it is, without a plan.

    The server keeps running when this command ends; `m35-plan runs`, `attach` and `stop` find it. Exit code 0: ready,
    3: the plan does not fit, 5: it failed (and why), 7: a phase made no progress.
    """
    from planner.cli.follow import read_limits, watch

    limits = read_limits(timeout)
    plan = None if is_command(words) else planned_here(gpus, gpu_memory, settings)
    if plan is not None and not plan.feasible and not force:
        from planner.rendering.headline import summary

        say("error", f"the plan does not fit: {summary(plan) or plan.verdict}")
        say("hint", "`m35-plan` with the same options shows the levers; --force starts it anyway")
        return ExitCode.DOES_NOT_FIT
    order = start_order(plan, words, target=target, program=program, host=host, port=port)
    if plan is not None and (dry_run or no_check):
        # Else the preflight names them.
        for flag, takes in unmodelled_flags(words).items():
            say("warning", f"{flag} takes what the plan does not count: {takes}")
    if dry_run:
        try:
            require_key(order.endpoint, os.environ)
        except LaunchFailed as refused:
            say("warning", f"{refused}: without --dry-run it is refused")
        return _show(order, as_json=as_json)
    require_key(order.endpoint, os.environ)
    if not no_check and not _checks_pass(order, plan, as_json=as_json):
        return ExitCode.LAUNCH_FAILED
    run = launch(order, plan=plan, run_dir=run_dir)
    if detach:
        if as_json:
            from planner.serve.documents import LaunchedDocument

            write_document(LaunchedDocument(run=run.id, directory=str(run.directory), url=run.url))
        else:
            write(run.id)
        return ExitCode.OK
    narrate(f"run {run.id} in {run.directory}")
    return watch(run, limits=limits, until="end" if stay else "ready", json_lines=as_json, stop_on_timeout=True)


def _show(order: StartOrder, *, as_json: bool) -> int:
    if as_json:
        from planner.serve.documents import StartOrderDocument

        write_document(StartOrderDocument.of(order))
    else:
        write(
            " ".join([*(f"{name}={shlex.quote(value)}" for name, value in order.env.items()), shlex.join(order.argv)])
        )
    return ExitCode.OK


def _checks_pass(order: StartOrder, plan: Plan | None, *, as_json: bool) -> bool:
    """Run the preflight; show what is not well, to a program as all that was checked."""
    from planner.cli.check_table import check_lines
    from planner.cli.progress import Now
    from planner.serve.preflight import run_preflight

    results: list[CheckResult] = []
    with Now() as now:
        for result in run_preflight(order, plan=plan, on_start=now.at):
            results.append(result)
            if result.status in ("fail", "warn"):
                now.over()
                narrate("\n".join(check_lines(result)))
    failed = sum(result.status == "fail" for result in results)
    if failed:
        if as_json:
            from planner.rendering.envelope import to_value
            from planner.serve.documents import CheckDocument

            write_json_line(to_value(CheckDocument(checks=tuple(results))))
        say("error", f"{counted(failed, 'preflight check')} failed")
        say("hint", "--no-check starts it anyway; `m35-plan check` shows every check")
    return not failed
