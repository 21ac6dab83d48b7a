"""Named checks, ticking through; it draws preflight and smoke-test results alike."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from planner.serve.check import CheckResult, Status
from tui.widgets.columns import fit, wrapped

MARKS: dict[Status, str] = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "–", "unknown": "?"}
STYLES: dict[Status, str] = {
    "pass": "$text-success",
    "warn": "$text-warning",
    "fail": "bold $text-error",
    "skip": "$secondary",
    "unknown": "$secondary",
}
URGENCY = ("fail", "warn", "unknown", "pass", "skip")
"""What one has to see first."""


def check_lines(results: Sequence[CheckResult], *, width: int, running: str = "") -> list[Content]:
    """Return one line per result and, below what is not well, its hint; `running` is the check under way."""
    names = max([len(result.name) for result in results] + [len(running), 8])
    lines = []
    for result in results:
        head = f"{MARKS[result.status]} {result.name:<{names}}"
        quiet = result.status in ("pass", "skip")
        if quiet:
            lines.append(
                Content.assemble(
                    (head, STYLES[result.status]), "  ", (fit(result.seen, width - len(head) - 2), "$secondary")
                )
            )
            continue
        seen = wrapped(result.seen, width=width - len(head) - 2)
        indent = " " * (len(head) + 2)
        lines.append(Content.assemble((head, STYLES[result.status]), "  ", *seen[:1]))
        lines += [Content.assemble(indent, line) for line in seen[1:]]
        if result.hint:
            lines += [
                Content.assemble(indent, line)
                for line in wrapped(f"→ {result.hint}", width=width - len(indent), style="$secondary", indent="  ")
            ]
    if running:
        lines.append(Content.styled(f"● {running}", "bold $accent"))
    return lines


def tally(results: Sequence[CheckResult]) -> str:
    """Return the same as :func:`summary` in marks: ``12✓ 1!``."""
    counts = {mark: sum(result.status == status for result in results) for status, mark in MARKS.items()}
    return " ".join(f"{number}{mark}" for mark, number in counts.items() if number)


def summary(results: Sequence[CheckResult]) -> str:
    """Return how many ended how, the worst first: ``1 warn, 12 pass``."""
    counts = {status: sum(result.status == status for result in results) for status in URGENCY}
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number) or "nothing yet"
