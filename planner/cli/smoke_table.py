"""The report of a smoke test in words, at most 80 columns; it never runs a check."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap

from planner.cli.output import style, write
from planner.serve.verification.smoke import CheckResult, SmokeReport, Status

WIDTH = 80
_NAME_WIDTH = 18
_COLOURS: dict[Status, str] = {"pass": "32", "fail": "31;1", "skip": "2"}


def result_writer() -> Callable[[CheckResult], None]:
    """Return what writes one result after another; a hint that was given is not given again."""
    given: set[str] = set()

    def show(result: CheckResult) -> None:
        hint = "" if result.hint in given else result.hint
        given.add(result.hint)
        write("\n".join(_lines(result, hint)))

    return show


def _lines(result: CheckResult, hint: str) -> list[str]:
    """How the check ended, its name, seconds, what was seen; the hint below."""
    head = f"{result.status:<4}  {result.name:<{_NAME_WIDTH}}{result.duration_s:7.2f} s  "
    seen = result.seen or "-"
    first, *rest = wrap(seen, WIDTH - len(head), break_on_hyphens=False) or [seen]
    lines = [style(result.status, _COLOURS[result.status]) + head[4:] + first]
    lines += [" " * len(head) + line for line in rest]
    if hint:
        lines += [" " * len(head) + line for line in wrap(f"hint: {hint}", WIDTH - len(head), break_on_hyphens=False)]
    return lines


def summary(report: SmokeReport) -> str:
    """Return the last line: counts, server, seconds."""
    counts = f"{report.count('pass')} passed"
    if report.failed:
        counts += f", {len(report.failed)} failed"
    if skipped := report.count("skip"):
        counts += f", {skipped} skipped"
    names = ", ".join(result.name for result in report.failed)
    return "\n" + "\n".join(
        wrap(
            f"{counts} in {report.duration_s:.1f} s at {report.base_url}" + (f"; failed: {names}" if names else ""),
            WIDTH,
            break_on_hyphens=False,
        )
    )
