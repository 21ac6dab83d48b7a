"""``m35-plan plan``: the question and its answer. It never starts anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hw_specs.errors import shown
from planner.cli.command import Command, quiet
from planner.cli.diagnostics import say
from planner.cli.emit_options import PAGES, emit_options, take_deployment, write_files
from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.kept import known_calibrations
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import json_text, write
from planner.cli.speed_options import NAMES as SPEED_OPTIONS
from planner.cli.speed_options import asks_for_speed, target_options, workload_options
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.headline import missed_targets

QUIET = {"graphs-assumed"}
"""Warnings that are true of nearly every plan: the bounds say it, and ``-v`` says it in words."""


@click.command(cls=Command, name="plan")
@gpu_options
@engine_options
@workload_options
@target_options
@emit_options
@click.option("--json", "as_json", is_flag=True, help="print the whole plan as JSON")
@click.option("-v", "--verbose", is_flag=True, help="show the whole ledger, all levers, layouts and forecasts")
@click.option("--explain", is_flag=True, help="the same with formula, bounds and source of every line")
@click.option("--tui", "as_wizard", is_flag=True, help="open the wizard on this question")
@click.option("--strict", is_flag=True, help="exit with 3 when the plan is only tight or misses a target")
def command(
    gpus: str | None,
    gpu_memory: str | None,
    emit_kind: str | None,
    output_dir: str | None,
    emit_unfit: bool,
    as_json: bool,
    verbose: bool,
    explain: bool,
    as_wizard: bool,
    strict: bool,
    **settings: Any,
) -> int:
    """Find settings that fit, and say why.

    Whatever is not given is chosen so that it fits even if every uncertain term is at its worst. Exit code 0: fits
    (or tight, with a warning), 3: does not fit.

    With a load (`--prompt-tokens`, `--output-tokens`, `--request-rate`), a target or an objective the layout follows a
    speed forecast, and `--concurrency` counts requests of that load in flight.
    """
    load = {name: settings.pop(name) for name in SPEED_OPTIONS}
    deployment = take_deployment(settings)
    if emit_kind in (None, *PAGES) and (deployment is not None or emit_unfit):
        asked = f"`--emit {emit_kind}` shows the plan" if emit_kind else "no `--emit TARGET` was given"
        raise click.UsageError(f"where and how something is deployed only stands in what starts it: {asked}")
    if output_dir is not None and emit_kind is None:
        raise click.UsageError("`--output` is the folder of what is emitted: no `--emit TARGET` was given")
    if as_json and emit_kind not in (None, "json"):
        raise click.UsageError(f"`--json` prints the plan, `--emit {emit_kind}` something else: give one of them")
    settings["calibrations"] = known_calibrations()
    machine = resolve_gpus(gpus, gpu_memory=gpu_memory)
    if as_wizard:
        return _open_wizard(PlanRequest(gpus=machine, **settings), load)
    if asks_for_speed(load):
        from planner.cli.speed_request import plan_with_speed

        answer = plan_with_speed(machine, settings, load)
    else:
        answer = make_plan(PlanRequest(gpus=machine, **settings))
    if as_json or emit_kind in PAGES:
        text = _page(answer, emit_kind)
        if output_dir is None:
            write(text)
        else:
            write(str(*write_files(output_dir, {f"plan.{PAGES[emit_kind or 'json']}": text})))
    elif emit_kind:
        from planner.rendering.emitters import emit, emit_files

        if not answer.feasible:
            reason = shown(answer.reasons[0] if answer.reasons else answer.verdict, characters=200)
            say("error", f"this plan does not fit: {reason}")
            say("hint", "leave `--emit` out to see what would make it fit; `--emit-unfit` emits it anyway")
        if output_dir is not None and (answer.feasible or emit_unfit):
            for path in write_files(output_dir, emit_files(emit_kind, answer, deployment, unfit=True)):
                write(str(path))
        elif answer.feasible or emit_unfit:
            write(emit(emit_kind, answer, deployment, unfit=True))
    else:
        from planner.cli.page import page_width
        from planner.cli.plan_table import full_text, short_text

        width = page_width()
        if not (verbose or explain):
            write(short_text(answer, width=width))
        else:
            write(full_text(answer, width=width, explain=explain))
            if answer.speed is not None:
                from planner.cli.speed_table import speed_text

                write("\n" + speed_text(answer.speed))
    if answer.verdict == "tight":
        say("warning", "tight: it starts if every term is as expected, not at their worst")
    here = [line.name for line in answer.ledger.lines if line.source.startswith("measured here")]
    if here:
        say("note", f"measured here: {', '.join(here)}")
    for warning in answer.warnings:
        if verbose or explain:
            say("warning" if warning.code not in QUIET else "note", warning.message)
        elif warning.code not in QUIET:
            say("warning", warning.short)
    misses = missed_targets(answer.speed)
    if misses:
        say("warning", f"misses {' and '.join(misses)}")
    if not answer.feasible or (strict and (answer.verdict == "tight" or misses)):
        return ExitCode.DOES_NOT_FIT
    return ExitCode.OK


def _page(answer: Plan, kind: str | None) -> str:
    """Return the plan as the page of that kind, as JSON without one."""
    if kind in ("markdown", "html"):
        from planner.cli.sheet import sheet_text

        return sheet_text(answer, kind).rstrip("\n")
    from planner.rendering.document import plan_document, to_json_value

    return json_text(to_json_value(plan_document(answer)))


def _open_wizard(request: PlanRequest, load: dict[str, Any]) -> int:
    """Hand the question to the terminal application."""
    wizard: Callable[[PlanRequest, dict[str, Any]], int] | None = click.get_current_context().find_root().obj
    if wizard is None:
        raise click.UsageError("`--tui` opens the wizard from `m35-plan` only; `m35-tui` opens it by itself")
    quiet()
    return wizard(request, {name: value for name, value in load.items() if value is not None})
