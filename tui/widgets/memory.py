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
from tui.widgets.dashboard import spark
from tui.widgets.plan_panel import blocks, gpu_bar

HISTORY = 24
"""Looks that are remembered of each GPU."""
SPARK = 10
LABEL = 38
MOST_GPUS = 8


class MemoryFill(Widget):
    """Bars of one scale: the plan above, below it every GPU where there is room, else the fullest one."""

    plan: reactive[Plan | None] = reactive(None)
    seen: reactive[DetectionReport | None] = reactive(None, always_update=True)
    roomy: reactive[bool] = reactive(False, layout=True)
    """Whether every GPU has a line of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._past: dict[str, list[int]] = {}

    def watch_seen(self, seen: DetectionReport | None) -> None:
        """Remember how full each GPU is."""
        for gpu in self._gpus() if seen is not None else ():
            past = self._past.setdefault(gpu.label, [])
            past.append(gpu.used_bytes or 0)
            del past[:-HISTORY]
        self.styles.height = 2 + max(1, len(self._shown()))

    def watch_roomy(self) -> None:
        """Take as many lines as there are GPUs to show."""
        self.styles.height = 2 + max(1, len(self._shown()))

    def render(self) -> RenderResult:
        """The plan, and the GPUs below it."""
        width = max(LABEL + 10, self.content_size.width)
        room = width - LABEL
        if self.plan is None:
            return Content.styled("this server was started without a plan", "$secondary")
        words = f"{'planned':<10}{format_gib(self.plan.ledger.budget_bytes):>9} GiB"
        planned = Content.assemble(f"{words:<{LABEL}}", gpu_bar(self.plan, width=room))
        shown = self._shown()
        if not shown:
            none = f"{'now':<10}{'?':>9}      no driver here tells how full a GPU is"
            return Content("\n").join([planned, Content.styled(none, "$secondary")])
        return Content("\n").join([planned, *(self._line(gpu, self.plan, room) for gpu in shown)])

    def _gpus(self) -> list[DetectedGpu]:
        chosen = self.seen.selection.chosen if self.seen is not None else ()
        return [gpu for gpu in chosen if gpu.used_bytes is not None]

    def _shown(self) -> list[DetectedGpu]:
        gpus = self._gpus()
        if self.roomy:
            return gpus[:MOST_GPUS]
        return sorted(gpus, key=lambda gpu: -(gpu.used_bytes or 0))[:1]

    def _line(self, gpu: DetectedGpu, plan: Plan, room: int) -> Content:
        used = gpu.used_bytes or 0
        share = used / max(1, gpu.engine_total_bytes or plan.ledger.total_bytes)
        past = self._past.get(gpu.label, [])[-SPARK:]
        words = f"{'GPU ' + gpu.label:<10}{format_gib(used):>9} GiB  "
        over = used > plan.ledger.total_bytes
        return Content.assemble(
            words,
            (f"{spark([0, *past], width=SPARK + 1)[-SPARK:]:>{SPARK}}", "$secondary"),
            " " * (LABEL - len(words) - SPARK),
            (blocks(min(1.0, share) * room), "$text-warning" if over else "$accent"),
        )
