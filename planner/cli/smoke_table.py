"""The report of a smoke test in words, at most 80 columns; it never runs a check."""

from __future__ import annotations

from textwrap import wrap

from planner.cli.output import style
from planner.serve.smoke import CheckResult, SmokeReport, Status

WIDTH = 80
_NAME_WIDTH = 18
_COLOURS: dict[Status, str] = {"pass": "32", "fail": "31;1", "skip": "2"}


def result_lines(result: CheckResult) -> list[str]:
    """Return the lines of one check: how it ended, its name, seconds, what was seen; a hint below a failure."""
    head = f"{result.status:<4}  {result.name:<{_NAME_WIDTH}}{result.duration_s:7.2f} s  "
    seen = result.seen or "-"
    first, *rest = wrap(seen, WIDTH - len(head), break_on_hyphens=False) or [seen]
    lines = [style(result.status, _COLOURS[result.status]) + head[4:] + first]
    lines += [" " * len(head) + line for line in rest]
    if result.hint:
        lines += [" " * len(head) + line for line in wrap(f"hint: {result.hint}", WIDTH - len(head))]
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
