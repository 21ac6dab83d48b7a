"""The left side of the Launch step: checks, then phases; it draws a `Start`."""

from __future__ import annotations

from textual.content import Content

from hw_specs.units import GIB
from planner import Plan
from planner.rendering.emitters.shell import command_lines
from planner.rendering.report import fills
from planner.serve import RehearsalReport, StartOrder
from planner.serve.process.progress import duration
from tui.starting import Start
from tui.widgets.checks import URGENCY, check_lines, summary, tally
from tui.widgets.columns import fit, wrapped
from tui.widgets.phases import SPIN, phase_lines

SLOW_S = 1.0
"""A check that takes longer shows its seconds."""

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


def left_lines(start: Start, *, width: int, now_s: float = 0.0) -> list[Content]:
    """Return the checks and the command in full until something starts, then one line; `now_s` is the news' clock."""
    if start.state == "checking":
        spent_s = max(0.0, now_s - start.checking_since_s) if start.checking else 0.0
        mark = SPIN[int(4 * spent_s) % len(SPIN)]
        seconds = f"  {duration(spent_s)}" if spent_s >= SLOW_S else ""
        line = Content.styled(fit(f"{mark} {start.checking or '…'}{seconds}", width), "bold $accent")
        return [*check_lines(start.checks, width=width), line]
    if start.state == "checked":
        failed = len(start.failed_checks)
        told = f"{failed} failed: l asks for confirmation" if failed else "l starts the server, h rehearses first"
        ordered = sorted(start.checks, key=lambda check: URGENCY.index(check.status))
        lines = [Content.styled(told, "bold $accent"), Content(""), *check_lines(ordered, width=width)]
        return [*lines, *order_lines(start.order, width=width)] if start.order is not None else lines
    if not start.checks:
        return []
    mark = "!" if start.failed_checks else "✓"
    return [Content.styled(f"{mark} preflight  {tally(start.checks)}", "$text-success")]


def order_lines(order: StartOrder, *, width: int) -> list[Content]:
    """Return what would be started, word for word."""
    text = command_lines(order.argv, dict(order.env), width=max(40, width))
    return [Content(""), Content.styled("what starts", "bold"), *map(Content, text.splitlines())]


def memory_of(start: Start, plan: Plan | None) -> dict[str, str]:
    """Return what the fullest GPU held after each phase, beside what was planned for it, in GiB."""
    planned = fills(plan) if plan is not None else {}
    found = {}
    for phase, held in start.held:
        if phase in planned:
            low, high = planned[phase]
            found[phase] = f"{held / GIB:.1f} of {low / GIB:.0f}–{high / GIB:.0f} GiB"
        else:
            found[phase] = f"{held / GIB:.1f} GiB"
    return found


def phase_block(start: Start, *, width: int, plan: Plan | None = None) -> list[Content]:
    """Return the phases of a start and, of a rehearsal, its checks and what it cannot prove."""
    if not start.begun:
        return []
    view = start.progress.view(at_s=start.at_s)
    failed = start.state in ("failed", "stopped")
    lines = phase_lines(view, width=width, failed=failed, memory=memory_of(start, plan))
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
    if report.verification is None:
        return "rehearsal: the engine did not come up"
    checks = f"{report.verification.count('pass')} of {len(report.verification.checks)} checks pass"
    return f"rehearsal {'passed' if report.passed else 'failed'}: {checks}"
