"""``m35-plan check``: would the start succeed on this machine? It changes nothing and downloads nothing."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.check_table import named_tally, result_writer
from planner.cli.command import Command
from planner.cli.exit_code import ExitCode
from planner.cli.output import write, write_document
from planner.cli.progress import Now
from planner.cli.start_options import is_command, planned_here, start_options, start_order
from planner.serve.check import CheckResult, count
from planner.serve.preflight import run_preflight


@click.command(cls=Command, short_help="check this machine before a start")
@start_options
@click.option("--only", multiple=True, metavar="CHECK", help="run this check alone (repeatable)")
@click.option("--skip", multiple=True, metavar="CHECK", help="leave this check out (repeatable)")
@click.option("--strict", is_flag=True, help="exit with 5 on warnings and unknowns as well")
@click.option("--json", "as_json", is_flag=True, help="print the results as JSON")
def command(
    gpus: str | None,
    gpu_memory: str | None,
    target: str,
    program: str | None,
    host: str | None,
    port: int | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    strict: bool,
    as_json: bool,
    words: tuple[str, ...],
    **settings: Any,
) -> int:
    """Check engine, GPUs, disk, checkpoint and the rest for the start that `launch` with the same options would make.

    A whole command after `--` is checked without a plan. Exit code 0: nothing failed, 5: a check failed.
    """
    plan = None if is_command(words) else planned_here(gpus, gpu_memory, settings)
    order = start_order(plan, words, target=target, program=program, host=host, port=port)
    elsewhere = plan is not None and plan.gpus.origin == "snapshot"
    results: list[CheckResult] = []
    show = result_writer()
    with Now() as now:
        for result in run_preflight(order, plan=plan, elsewhere=elsewhere, only=only, skip=skip, on_start=now.at):
            now.over()
            results.append(result)
            if not as_json:
                show(result)
    counts = count(results)
    if as_json:
        from planner.serve.documents import CheckDocument

        write_document(CheckDocument(checks=tuple(results)))
    else:
        write(f"\n{named_tally(results)}")
    bad = counts["fail"] + (counts["warn"] + counts["unknown"] if strict else 0)
    return ExitCode.LAUNCH_FAILED if bad else ExitCode.OK
