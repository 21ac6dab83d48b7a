"""``m35-plan plan``: the question and its answer. It never starts anything."""

from __future__ import annotations

from typing import Any

import click

from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import write, write_json
from planner.emitters import EMITTERS
from planner.choose import plan
from planner.request import PlanRequest


@click.command(name="plan")
@gpu_options
@engine_options
@click.option("--emit", "emit_kind", type=click.Choice([*EMITTERS, "json"]), help="print the command for a target")
@click.option("--host", default="127.0.0.1", help="address the emitted server listens on")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, help="port the emitted server listens on")
@click.option("--json", "as_json", is_flag=True, help="print the whole plan as JSON")
@click.option("--explain", is_flag=True, help="show formula, bounds and source of every line")
@click.option("--strict", is_flag=True, help="exit with 3 when the plan is only tight")
def command(
    gpus: str | None,
    gpu_memory: str | None,
    emit_kind: str | None,
    host: str,
    port: int,
    as_json: bool,
    explain: bool,
    strict: bool,
    **settings: Any,
) -> int:
    """Find settings that fit, and say why.

    Whatever is not given is chosen so that it fits even if every uncertain term is at its worst. Exit code 0: fits
    (or tight, with a warning), 3: does not fit.
    """
    answer = plan(PlanRequest(gpus=resolve_gpus(gpus, gpu_memory=gpu_memory), **settings))
    if as_json or emit_kind == "json":
        from planner.document import plan_document, to_json_value

        write_json(to_json_value(plan_document(answer)))
    elif emit_kind:
        from planner.emitters import emit

        write(emit(emit_kind, answer, host=host, port=port))
    else:
        from planner.cli.plan_table import plan_text

        write(plan_text(answer, explain=explain))
    if answer.verdict == "tight":
        say("warning", "tight: it fits if every uncertain term is as expected, not if each is at its worst")
    for warning in answer.warnings:
        say("warning" if warning.code != "graphs-assumed" else "note", warning.message)
    if not answer.feasible or (strict and answer.verdict == "tight"):
        return ExitCode.DOES_NOT_FIT
    return ExitCode.OK
