"""Checks in words: those before a start and those of a server alike. It never runs one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from planner.cli.output import style, write
from planner.cli.page import fold, paragraph
from planner.serve.check import CheckResult, Status, count
from planner.serve.verification.smoke import SmokeReport

_NAME_WIDTH = 18
_COLOURS: dict[Status, str] = {"pass": "32", "warn": "33", "fail": "31;1", "skip": "2", "unknown": "2"}
_WORDS: dict[Status, str] = {
    "pass": "passed", "warn": "warned", "fail": "failed", "skip": "skipped", "unknown": "unknown"
}  # fmt: skip
_WORST: tuple[Status, ...] = ("fail", "warn", "unknown", "skip", "pass")
_LONG_S = 0.1
"""Seconds are shown of checks that take longer."""


def check_lines(result: CheckResult, *, hint: bool = True) -> list[str]:
    """Return how a check ended, its name and what was seen; below it the hint, unless `hint` is off."""
    head = f"{result.status:<7}  {result.name:<{_NAME_WIDTH}}"
    seen = result.seen or "-"
    if result.duration_s >= _LONG_S:
        seen += f" ({result.duration_s:.1f} s)"
    text = fold(head, seen, column=len(head))
    if result.hint and hint:
        text += "\n" + fold("", f"hint: {result.hint}", column=len(head))
    return (style(result.status, _COLOURS[result.status]) + text.removeprefix(result.status)).split("\n")


def result_writer() -> Callable[[CheckResult], None]:
    """Return what writes one result after another; a hint that was given, or why one was skipped, is not said again."""
    given: set[str] = set()

    def show(result: CheckResult) -> None:
        again = result.status == "skip" and result.seen in given
        shown = replace(result, seen="for the same reason") if again else result
        write("\n".join(check_lines(shown, hint=result.hint not in given)))
        given.update((result.hint, result.seen))

    return show


def tally(results: Sequence[CheckResult]) -> str:
    """Return how many ended how: ``12 passed, 1 warned``."""
    return ", ".join(f"{number} {_WORDS[status]}" for status, number in count(results).items() if number)


def named_tally(results: Sequence[CheckResult]) -> str:
    """Return how many ended how, the worst first and by name: ``1 failed (gpus), 3 passed``."""
    parts = []
    for status, number in sorted(count(results).items(), key=lambda one: _WORST.index(one[0])):
        names = ", ".join(result.name for result in results if result.status == status)
        if number:
            parts.append(f"{number} {_WORDS[status]}" + (f" ({names})" if status in ("fail", "warn") else ""))
    return paragraph(", ".join(parts), indent="")


def smoke_summary(report: SmokeReport) -> str:
    """Return the last lines of a verification: how many ended how, the server, seconds, what failed."""
    names = ", ".join(result.name for result in report.failed)
    text = f"{tally(report.checks)} in {report.duration_s:.1f} s at {report.url}"
    return "\n" + paragraph(text + (f"; failed: {names}" if names else ""), indent="")
