"""A preflight result in words, at most 80 columns; it never runs a check."""

from __future__ import annotations

from textwrap import wrap

from planner.cli.output import style
from planner.serve.preflight import CheckResult, Status

WIDTH = 80
_NAME_WIDTH = 16
_COLOURS: dict[Status, str] = {"pass": "32", "warn": "33", "fail": "31;1", "unknown": "2"}


def result_text(result: CheckResult) -> str:
    """Return status, name and what was seen; the hint below it."""
    head = f"{result.status:<7}  {result.name:<{_NAME_WIDTH}}"
    indent = " " * len(head)
    lines = wrap(result.seen, WIDTH - len(head), break_on_hyphens=False) or [""]
    text = [style(result.status, _COLOURS[result.status]) + head[len(result.status) :] + lines[0]]
    text += [indent + line for line in lines[1:]]
    if result.hint:
        text += [indent + line for line in wrap(f"hint: {result.hint}", WIDTH - len(head), break_on_hyphens=False)]
    return "\n".join(text)
