"""The living plan at the side: verdict, one GPU as a picture, what it holds; it draws a `Plan` and nothing else."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hw_specs import M35Error
from hw_specs.units import format_gib
from planner import Plan
from planner.planning.request import in_options
from planner.rendering import report
from planner.rendering.headline import headline, summary, verdict_words
from planner.rendering.picture import MARKS, group_rows
from planner.rendering.picture import gpu_bar as picture_bar
from tui.widgets.columns import Column, Row, fit, lay_out, wrapped
from tui.widgets.speed_lines import SpeedShown, speed_lines

VERDICTS = {
    "fits": ("✓ fits", "bold $text-success"),
    "tight": ("≈ tight", "bold $text-warning"),
    "does-not-fit": ("✗ does not fit", "bold $text-error"),
}
"""Verdict → words and colour; the mark in front says it without colour."""

STYLES = {
    "weights": "$foreground",
    "activations": "$secondary",
    "outside torch": "$secondary",
    "graphs": "$secondary",
    "KV cache": "$accent",
    "free": "$secondary",
    "held by others": "$text-warning",
    "missing": "bold $text-error",
    "slack": "$secondary",
}
"""Row of the picture → colour."""

CELL_STYLES = {
    "KV cache": "$accent",
    "held by others": "$text-warning",
    "missing": "bold $text-error",
    "slack": "$secondary",
    "free": "$secondary",
}
OTHER_LAYOUTS = (Column("other layouts", flex=True), Column("context", right=True), Column("requests", right=True))
NAMES = 13
"""Cells of a row's name, unless one is longer."""
ROOMY = 30
"""Rows from which the bar of the whole GPU has room beside a forecast."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def blocks(size: float, *, mark: str = "█") -> str:
    """Return a bar of `size` cells, the last one in eighths.

    >>> blocks(2.5), blocks(0)
    ('██▌', '')
    """
    whole, part = divmod(round(max(0.0, size) * 8), 8)
    if mark != "█":
        return mark * (whole + (part >= 4))
    return mark * whole + (_EIGHTHS[part] if part else "")


def picture(plan: Plan, *, width: int) -> list[Content]:
    """One row per group of the ledger, `width` cells: name, GiB, bar; what may come on top is hatched."""
    groups = group_rows(plan)
    names = max(NAMES, *(len(row.label) for row in groups))
    room = max(4, width - names - 9)
    scale = room / max(max(row.bytes, row.high_bytes) for row in groups)
    rows = []
    for row in groups:
        style = STYLES[row.label]
        if row.label == "slack":
            bar = Content.styled(blocks(row.bytes * scale, mark="·"), style)
        else:
            full = min(room, max(1, round(max(row.bytes, row.high_bytes) * scale)))
            expected = min(room, max(1.0, row.bytes * scale)) if row.bytes > 0 else 0
            # Eighths only where nothing follows: a part of a cell before the hatching would look like a gap.
            solid = blocks(expected) if full <= expected + 1 else "█" * round(expected)
            bar = Content.assemble((solid, style), ("▒" * (full - cell_len(solid)), style))
        rows.append(Content.assemble(fit(row.label, names), fit(row.gib, 8, right=True), " ", bar))
    return rows


def gpu_bar(plan: Plan, *, width: int) -> Content:
    """The whole GPU in one line, every share with its own mark."""
    return Content.assemble(
        *(
            (MARKS[name] * count, CELL_STYLES.get(name, "$foreground"))
            for name, count in picture_bar(plan, width=width).cells
        )
    )


def reason_lines(plan: Plan, *, width: int) -> list[Content]:
    """Return why the plan is as it is."""
    head = Content.styled("why", "$secondary")
    return [head, *(line for reason in plan.reasons for line in wrapped(f"• {reason}", width=width, indent="  "))]


def layout_lines(plan: Plan, *, width: int) -> list[Content]:
    """Return what other layouts of the same GPUs hold."""
    rows = [Row(cells=(one.layout, one.context, one.requests)) for one in report.layout_rows(plan)]
    head, lines = lay_out(OTHER_LAYOUTS, rows, width=min(width, 44))
    return [head, *lines] if rows else []


class PlanPanel(Widget):
    """Everything that matters of one plan in one column."""

    plan: reactive[Plan | None] = reactive(None)
    problem: reactive[M35Error | None] = reactive(None)
    """Why there is no plan; it wins over `plan`."""
    speed: reactive[SpeedShown | None] = reactive(None)
    """How fast it would be; None where no load was given."""
    layouts: reactive[bool] = reactive(True)
    """Whether other layouts stand below, where there is room; not beside a list of them."""

    def show(self, answer: Plan | M35Error | None) -> None:
        """Draw a plan, or the reason why there is none."""
        if isinstance(answer, M35Error):
            self.problem = answer
        else:
            self.problem = None
            self.plan = answer

    def render(self) -> RenderResult:
        """The column, as long as the widget is high."""
        width = max(20, self.content_size.width)
        if self.problem is not None:
            said, hint = in_options(self.problem)
            lines = wrapped(f"✗ {said}", width=width, style="bold $text-error", indent="  ")
            if hint:
                lines += [Content(""), *wrapped(hint, width=width)]
            return Content("\n").join(lines)
        if self.plan is None:
            return Content.styled("choose GPUs to see a plan", "$secondary")
        return Content("\n").join(self._lines(self.plan, width)[: self.content_size.height or None])

    def _lines(self, plan: Plan, width: int) -> list[Content]:
        words, style = VERDICTS[plan.verdict]
        told = verdict_words(plan)
        if plan.verdict == "fits" and told != "fits":
            words, style = f"✓ {told}", "bold $text-warning"
        if self.speed is not None and self.speed.misses and plan.feasible:
            words, style = f"{words}, but misses {len(self.speed.misses)} of the targets", "bold $text-warning"
        lines = [Content.styled(words, style), *wrapped(headline(plan), width=width)]
        if plan.request.model is not None:
            lines += wrapped(plan.model.name, width=width, style="$secondary")
        second = summary(plan)
        if second:
            lines += wrapped(second, width=width, style="$secondary")
        height = self.content_size.height
        tight = self.speed is not None and height < ROOMY
        speed = speed_lines(self.speed, width=width) if self.speed is not None and plan.feasible else []
        ranks = plan.settings.layout.gpus_per_replica
        head = f"one GPU{f' of {ranks}' if ranks > 1 else ''}"
        lines += [
            Content(""),
            Content.styled(
                f"{fit(head, NAMES)}{'GiB':>8} of {format_gib(plan.ledger.total_bytes, decimals=1)}", "$secondary"
            ),
            *picture(plan, width=width),
            *([] if tight else [Content(""), gpu_bar(plan, width=width), Content("")]),
        ]
        lines += [*speed, *([] if tight or not speed else [Content("")])]
        if plan.feasible:
            lines += wrapped(report.holds(plan), width=width)
        lines += self._remarks(plan, width, room=height - len(lines))
        others = layout_lines(plan, width=width) if self.layouts and plan.feasible else []
        lines += [Content(""), *others] if len(others) < height - len(lines) else []
        why = reason_lines(plan, width=width)
        return lines + ([Content(""), *why] if len(why) < height - len(lines) else [])

    def _remarks(self, plan: Plan, width: int, *, room: int) -> list[Content]:
        """Warnings in full where there is room, else their number."""
        if not plan.warnings:
            return []
        full = [
            line
            for warning in plan.warnings
            for line in wrapped(f"! {warning.message}", width=width, style="$text-warning", indent="  ")
        ]
        if len(full) + 1 <= room:
            return [Content(""), *full]
        count = f"{len(plan.warnings)} warning{'s' if len(plan.warnings) > 1 else ''}"
        return [Content.styled(f"! {count}: w shows {'them' if len(plan.warnings) > 1 else 'it'}", "$text-warning")]
