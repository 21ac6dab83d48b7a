"""How far a start is: one line per phase with its progress and time; it draws a `StartView`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from textual.content import Content

from planner.serve.process.progress import PhaseView, StartView, count, duration, quiet_words, stall_words
from tui.widgets.columns import fit

MARKS = {"done": "✓", "now": "●", "next": "○", "skipped": "–"}
STYLES = {"done": "$text-success", "now": "bold $accent", "next": "$secondary", "skipped": "$secondary"}


SPIN = "◐◓◑◒"
"""What a phase turns while it lasts."""


def phase_lines(
    view: StartView, *, width: int, failed: bool = False, memory: Mapping[str, str] | None = None
) -> list[Content]:
    """Return one line per phase; the one that a failed start ended in is crossed. Below them what it waits for.

    `memory` says for a phase what a GPU holds after it.
    """
    lines = []
    for phase in view.phases:
        if phase.phase == "ready":
            continue
        mark, style = MARKS[phase.state], STYLES[phase.state]
        if phase.state == "now":
            mark = SPIN[int(view.elapsed_s) % len(SPIN)]
        if failed and phase.state == "now":
            mark, style = "✗", "bold $text-error"
        bar = ""
        if phase.state == "now" and phase.fraction is not None and not failed:
            cells = 8
            full = round(min(1.0, phase.fraction) * cells)
            bar = f" {'▓' * full}{'░' * (cells - full)}"
        left = f"{mark} {phase.title}"
        said = _right(phase)
        held = (memory or {}).get(phase.phase)
        if held:
            said = (*(f"{text}   {held}" for text in said[:1]), *said)
        right = next((text for text in said if len(left) + len(bar) + len(text) < width), said[-1])
        # A name is cut before its figures are.
        left = fit(left, min(len(left), width - len(bar) - len(right) - 1))
        room = width - len(left) - len(bar) - 1
        lines.append(
            Content.assemble((left, style), (bar, "$accent"), " ", (fit(right, room, right=True), "$secondary"))
        )
    news = stall_words(view.stall, view) if view.stall is not None else quiet_words(view)
    waits = textwrap.wrap(news, width) if not failed else []
    return [*lines, _ready(view, width, failed=failed), *(Content.styled(text, "$text-warning") for text in waits)]


def _right(phase: PhaseView) -> tuple[str, ...]:
    """What is known of its time or progress, the longest way to say it first."""
    if phase.state == "now":
        if phase.fraction is not None:
            return f"{count(phase)} {phase.fraction:4.0%}", f"{phase.fraction:4.0%}"
        spent = duration(phase.elapsed_s or 0.0)
        if not phase.expected_s:
            return (spent,)
        expected = duration(phase.expected_s)
        return f"{spent} of ~ {expected}", f"{_short(spent)}/{_short(expected)}"
    if phase.state == "done":
        return (duration(phase.elapsed_s or 0.0),)
    return (f"~ {duration(phase.expected_s)}" if phase.expected_s and phase.state == "next" else "",)


def _short(words: str) -> str:
    """A duration in as few cells as it takes.

    >>> _short("1 min 35 s"), _short("1 h 6 min")
    ('1m35s', '1h6m')
    """
    return words.replace(" min", "m").replace(" s", "s").replace(" h", "h").replace(" ", "")


def _ready(view: StartView, width: int, *, failed: bool) -> Content:
    last = view.phases[-1]
    if last.state == "done":
        return Content.assemble(
            ("✓ ready", "bold $text-success"),
            (fit(f"after {duration(view.elapsed_s)}", width - 7, right=True), "$secondary"),
        )
    left = "" if failed else "no estimate yet"
    if view.remaining_s is not None and not failed:
        left = f"in about {duration(view.remaining_s)}"
    return Content.assemble(("○ ready", "$secondary"), (fit(left, width - 7, right=True), "$secondary"))
