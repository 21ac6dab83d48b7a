"""Why a start failed, as lines; it draws a `Diagnosis`."""

from __future__ import annotations

from textual.content import Content

from planner.rendering.report import LABELS
from planner.serve import Diagnosis
from planner.serve.process.progress import TITLES
from tui.widgets.columns import wrapped
from tui.widgets.log_lines import clean

MOST_EVIDENCE = 6


def diagnosis_lines(diagnosis: Diagnosis, *, width: int) -> list[Content]:
    """Return cause, evidence and cures."""
    lines = wrapped(f"✗ {diagnosis.title}", width=width, style="bold $text-error", indent="  ")
    place = f"during: {TITLES.get(diagnosis.phase, diagnosis.phase)}" if diagnosis.phase else ""
    if diagnosis.term:
        place += f"; the plan's line: {LABELS.get(diagnosis.term, diagnosis.term)}"
    lines += wrapped(place, width=width, style="$secondary") if place else []
    evidence = diagnosis.evidence or diagnosis.traceback[-MOST_EVIDENCE:]
    if evidence:
        lines.append(Content(""))
    for item in evidence[:MOST_EVIDENCE]:
        number = f"{item.number or '':>5}  "
        text = wrapped(clean(item.text)[:400], width=width - len(number))
        lines += [
            Content.assemble((number if index == 0 else " " * len(number), "$secondary"), line)
            for index, line in enumerate(text)
        ]
    if diagnosis.cures:
        lines += [Content(""), Content.styled("what cures it", "bold")]
        for cure in diagnosis.cures:
            lines += wrapped(f"• {cure}", width=width, indent="  ")
    if diagnosis.note:
        lines += [Content(""), *wrapped(diagnosis.note, width=width, style="$secondary")]
    if diagnosis.also:
        lines += wrapped(f"the log also names: {', '.join(diagnosis.also)}", width=width, style="$secondary")
    return lines
