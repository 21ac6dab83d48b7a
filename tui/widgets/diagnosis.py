"""Why a start failed, as lines; it draws a `Failure`."""

from __future__ import annotations

from textual.content import Content

from planner.rendering.report import LABELS
from planner.serve import Failure
from planner.serve.process.progress import TITLES
from tui.widgets.columns import wrapped
from tui.widgets.log_lines import clean

MOST_EVIDENCE = 6


def failure_lines(failure: Failure, *, width: int) -> list[Content]:
    """Return cause, evidence and cures."""
    lines = wrapped(f"✗ {failure.title}", width=width, style="bold $text-error", indent="  ")
    place = f"during: {TITLES.get(failure.phase, failure.phase)}" if failure.phase else ""
    if failure.term:
        place += f"; the plan's line: {LABELS.get(failure.term, failure.term)}"
    lines += wrapped(place, width=width, style="$secondary") if place else []
    evidence = failure.evidence or failure.traceback[-MOST_EVIDENCE:]
    if evidence:
        lines.append(Content(""))
    for item in evidence[:MOST_EVIDENCE]:
        number = f"{item.number or '':>5}  "
        text = wrapped(clean(item.text)[:400], width=width - len(number))
        lines += [
            Content.assemble((number if index == 0 else " " * len(number), "$secondary"), line)
            for index, line in enumerate(text)
        ]
    if failure.cures:
        lines += [Content(""), Content.styled("what cures it", "bold")]
        for cure in failure.cures:
            lines += wrapped(f"• {cure}", width=width, indent="  ")
    if failure.note:
        lines += [Content(""), *wrapped(failure.note, width=width, style="$secondary")]
    if failure.also:
        lines += wrapped(f"the log also names: {', '.join(failure.also)}", width=width, style="$secondary")
    return lines
