"""``m35-plan diff``: two plans side by side. It starts nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from planner.cli.command import Command
from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.kept import known_calibrations, plan_in
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import write, write_document
from planner.cli.page import fold, page_width
from planner.errors import InvalidRequest
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.difference import PlanDifference, difference, markdown, rows

_RELEASE = re.compile(r"v?(\d+\.\d+(\.\d+)?)")


@click.command(cls=Command, short_help="compare two plans, releases or GPU sets")
@click.argument("sides", nargs=-1, required=True, metavar="SIDE [SIDE]")
@gpu_options
@engine_options
@click.option("--markdown", "as_markdown", is_flag=True, help="write the comparison as Markdown")
@click.option("--json", "as_json", is_flag=True, help="write the comparison as JSON")
@click.option("--exit-code", "tells", is_flag=True, help="exit with 3 when the second plan no longer fits")
def command(
    sides: tuple[str, ...],
    gpus: str | None,
    gpu_memory: str | None,
    as_markdown: bool,
    as_json: bool,
    tells: bool,
    **settings: Any,
) -> int:
    """Show what changes from one plan to another: memory, context, requests, flags, and why.

    A SIDE is a set of GPUs (`8xH200`), a vLLM release (`0.33.0`) or a file with a plan's JSON. Two sides are compared
    with each other; one side is compared with the plan that the options describe.

    """
    if len(sides) > 2:
        raise InvalidRequest("sides", f"diff compares two plans, not {len(sides)}", hint="name one or two sides")
    settings["calibrations"] = known_calibrations()
    if len(sides) == 1:
        before = PlanRequest(gpus=resolve_gpus(gpus, gpu_memory=gpu_memory), **settings)
        after = _changed(before, sides[0])
    else:
        before = _side(sides[0], gpus, gpu_memory, settings)
        after = _changed(before, sides[1])
    found = difference(make_plan(before), second := make_plan(after))
    if as_json:
        write_document(found)
    elif as_markdown:
        write(markdown(found).rstrip("\n"))
    else:
        write(_text(found, width=page_width()))
    return ExitCode.DOES_NOT_FIT if tells and not second.feasible else ExitCode.OK


def _side(side: str, gpus: str | None, gpu_memory: str | None, settings: dict[str, Any]) -> PlanRequest:
    """The first side: a document, GPUs, or a release for the GPUs of the options."""
    if _is_file(side):
        return plan_in(Path(side)).request
    if release := _RELEASE.fullmatch(side):
        settings, side = settings | {"vllm_version": release[1]}, gpus or "auto"
    return PlanRequest(gpus=resolve_gpus(side, gpu_memory=gpu_memory), **settings)


def _changed(request: PlanRequest, side: str) -> PlanRequest:
    """The question of a document, or the same one for another release or other GPUs."""
    if _is_file(side):
        return plan_in(Path(side)).request
    if release := _RELEASE.fullmatch(side):
        return dataclasses.replace(request, vllm_version=release[1])
    return dataclasses.replace(request, gpus=resolve_gpus(side))


def _is_file(side: str) -> bool:
    return (side.endswith(".json") and not side.startswith("@")) or Path(side).is_file()


def _text(found: PlanDifference, *, width: int) -> str:
    lines = [fold("before", found.before, width=width), fold("after", found.after, width=width), ""]
    if found.same:
        return "\n".join([*lines, "nothing changes"])
    body = [("", "before", "after", "change"), *((row.label, row.before, row.after, row.change) for row in rows(found))]
    if len(body) > 1:
        sizes = [max(len(cells[i]) for cells in body) for i in range(4)]
        for cells in body:
            rest = (f"{cell:>{size}}" for cell, size in zip(cells[1:], sizes[1:], strict=True))
            lines.append("  ".join([f"{cells[0]:<{sizes[0]}}", *rest]).rstrip())
    for label, items in (
        ("gone", found.flags_gone),
        ("new", found.flags_new),
        ("warned", tuple(f"no more: {text}" for text in found.warnings_gone)),
        ("warns", found.warnings_new),
    ):
        for index, item in enumerate(items):
            lines += ["", fold(label, item, width=width)] if index == 0 else [fold("", item, width=width)]
    told = [term for term in found.terms if term.why]
    for index, term in enumerate(told[:4]):
        lines += [""] if index == 0 else []
        lines.append(fold("why" if index == 0 else "", f"{term.label}: {term.why}", width=width))
    return "\n".join(lines)
