"""A GPU filling up beside its plan; it draws a plan and what a probe saw."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hw_specs import DetectionReport
from hw_specs.units import format_gib
from planner import Plan
from tui.widgets.plan_panel import blocks, gpu_bar


class MemoryFill(Widget):
    """Two bars of one scale: the plan above, the fullest GPU now below."""

    plan: reactive[Plan | None] = reactive(None)
    seen: reactive[DetectionReport | None] = reactive(None)

    def render(self) -> RenderResult:
        """Two lines."""
        width = max(30, self.content_size.width)
        room = width - 26
        if self.plan is None:
            return Content.styled("this server was started without a plan", "$secondary")
        planned = Content.assemble(
            f"{'planned':<10}{format_gib(self.plan.ledger.budget_bytes):>9} GiB  ", gpu_bar(self.plan, width=room)
        )
        return Content("\n").join([planned, self._now(self.plan, room)])

    def _now(self, plan: Plan, room: int) -> Content:
        gpus = self.seen.selection.chosen if self.seen is not None else ()
        used = [(gpu.used_bytes, gpu) for gpu in gpus if gpu.used_bytes is not None]
        if not used:
            return Content.styled(f"{'now':<10}{'?':>9}      no driver here tells how full a GPU is", "$secondary")
        size, fullest = max(used, key=lambda one: one[0])
        share = size / max(1, fullest.engine_total_bytes or plan.ledger.total_bytes)
        return Content.assemble(
            f"{'now, GPU ' + fullest.label:<10}{format_gib(size):>9} GiB  ", (blocks(min(1.0, share) * room), "$accent")
        )
