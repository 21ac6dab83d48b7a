"""The left side of the Launch step: checks, then phases; it draws a `Start`."""

from __future__ import annotations

from textual.content import Content

from planner.serve import RehearsalReport
from tui.starting import Start
from tui.widgets.checks import check_lines, summary, tally
from tui.widgets.phases import phase_lines
from tui.widgets.plan_panel import wrapped

URGENCY = ("fail", "warn", "unknown", "pass", "skip")
"""What one has to see first."""

STAGES = {
    "twin": "making a twin of the model, a few MiB with the same architecture",
    "start": "starting the engine on it",
    "checks": "checking what it answers",
    "stop": "stopping it",
}


def startup_title(start: Start) -> str:
    """Return what is going on, in one line."""
    target = "docker" if start.docker else "vllm serve"
    if start.state == "checking":
        return f"looking at this machine, {target}"
    if start.state == "checked":
        return f"this machine, {target}: {summary(start.checks)}"
    if start.state == "rehearsing":
        return f"rehearsal: {STAGES.get(start.stage, '')}"
    if start.state == "rehearsed" and start.rehearsal is not None:
        return rehearsal_verdict(start.rehearsal)
    return "start-up"


def left_lines(start: Start, *, width: int) -> list[Content]:
    """Return the checks in full until something starts, then in one line."""
    if start.state == "checking":
        return check_lines(start.checks, width=width, running="…")
    if start.state == "checked":
        failed = len(start.failed_checks)
        told = f"{failed} failed: l asks for confirmation" if failed else "l starts the server, h rehearses first"
        ordered = sorted(start.checks, key=lambda check: URGENCY.index(check.status))
        return [Content.styled(told, "bold $accent"), Content(""), *check_lines(ordered, width=width)]
    if not start.checks:
        return []
    mark = "!" if start.failed_checks else "✓"
    return [Content.styled(f"{mark} preflight  {tally(start.checks)}", "$text-success")]


def phase_block(start: Start, *, width: int) -> list[Content]:
    """Return the phases of a start and, of a rehearsal, its checks and what it cannot prove."""
    if not start.begun:
        return []
    view = start.progress.view(at_s=start.at_s)
    lines = phase_lines(view, width=width, failed=start.state in ("failed", "stopped"))
    if not start.smoke:
        return lines
    lines += [Content(""), *check_lines(start.smoke, width=width)]
    if start.rehearsal is not None:
        lines += [Content(""), Content.styled("what a twin cannot prove", "bold")]
        for text in start.rehearsal.unproved:
            lines += wrapped(f"– {text}", width=width, style="$secondary", indent="  ")
    return lines


def rehearsal_verdict(report: RehearsalReport) -> str:
    """Return how a rehearsal went, in one line."""
    if report.smoke is None:
        return "rehearsal: the engine did not come up"
    checks = f"{report.smoke.count('pass')} of {len(report.smoke.results)} checks pass"
    return f"rehearsal {'passed' if report.passed else 'failed'}: {checks}"
