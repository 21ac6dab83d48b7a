"""GPUs filling up towards their plan, with a short history; it draws a plan and what probes saw."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hw_specs import DetectionReport
from hw_specs.detect.devices import DetectedGpu
from hw_specs.units import format_gib
from planner import Plan
from tui.widgets.columns import fit, wrapped
from tui.widgets.history import chart
from tui.widgets.plan_panel import blocks, gpu_bar

HISTORY = 24
"""Looks that are remembered of each GPU."""
NAME, FIGURE = 5, 7
SPARK = 8
ROOMY = 40
"""Cells from which a history has room beside a bar."""
MOST_ROWS = 8
"""More GPUs than that stand two in a row."""


class MemoryFill(Widget):
    """Bars of one scale: the plan above, below it every GPU that it may use."""

    plan: reactive[Plan | None] = reactive(None, layout=True)
    seen: reactive[DetectionReport | None] = reactive(None, always_update=True, layout=True)

    def __init__(self) -> None:
        super().__init__()
        self._past: dict[str, list[int]] = {}
        self.tooltip = "what the driver tells of each GPU, below what the plan takes of one"

    def watch_seen(self) -> None:
        """Remember how full each GPU is."""
        for gpu in self._gpus():
            past = self._past.setdefault(gpu.label, [])
            past.append(gpu.used_bytes or 0)
            del past[:-HISTORY]

    def render(self) -> RenderResult:
        """The plan, and the GPUs below it."""
        return Content("\n").join(self._lines(max(24, self.content_size.width)))

    def _lines(self, width: int) -> list[Content]:
        if self.plan is None:
            return wrapped("this server was started without a plan", width=width, style="$secondary")
        gpus = self._gpus()
        columns = 2 if len(gpus) > MOST_ROWS else 1
        size = (width - 2 * (columns - 1)) // columns
        planned = self._row("plan", gpu_bar(self.plan, width=_bar(width)), self.plan.ledger.budget_bytes)
        lines = [Content.styled(fit("memory of each GPU, GiB", width), "$secondary"), planned]
        if not gpus:
            lines += wrapped("no driver here reports how full a GPU is", width=width, style="$secondary")
        rows = -(-len(gpus) // columns)
        for index in range(rows):
            line = [self._line(gpu, self.plan, size) for gpu in gpus[index::rows]]
            lines.append(Content("  ").join(line))
        return lines

    def _gpus(self) -> list[DetectedGpu]:
        chosen = self.seen.selection.chosen if self.seen is not None else ()
        return [gpu for gpu in chosen if gpu.used_bytes is not None]

    def _line(self, gpu: DetectedGpu, plan: Plan, width: int) -> Content:
        used = gpu.used_bytes or 0
        room = _bar(width)
        total = gpu.engine_total_bytes or plan.ledger.total_bytes
        full = min(1.0, used / total) * room
        over = used > plan.ledger.total_bytes
        solid = blocks(full)
        bar = Content.assemble(
            (solid, "$text-warning" if over else "$accent"), ("·" * (room - len(solid)), "$secondary")
        )
        past = self._past.get(gpu.label, [])[-SPARK:]
        history = f" {fit(chart(past, width=SPARK, height=1, most=total)[0], SPARK)}" if width >= ROOMY else ""
        return Content.assemble(self._row(gpu.label, bar, used), (history, "$secondary"))

    @staticmethod
    def _row(name: str, bar: Content, size_bytes: int) -> Content:
        return Content.assemble(f"{name:>{NAME - 1}} ", bar, f"{format_gib(size_bytes, decimals=1):>{FIGURE}}")


def _bar(width: int) -> int:
    """Cells of a bar in a line of `width`."""
    return max(4, width - NAME - FIGURE - (SPARK + 1 if width >= ROOMY else 0))
