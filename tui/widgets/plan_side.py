"""The plan at the side of a step, and as much of its ledger and curve as the terminal has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual import work
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from hw_specs import M35Error
from planner import Lever, Plan, PlanRequest
from planner.planning.context_curve import CurvePoint
from planner.rendering import report
from tui.widgets.about import lever_lines, terms_explained
from tui.widgets.columns import Column, Row, lay_out, natural_width
from tui.widgets.curve_plot import curve_lines
from tui.widgets.plan_panel import PlanPanel

LEDGER = (
    Column("one GPU", flex=True),
    Column("GiB", right=True),
    Column("low", right=True),
    Column("high", right=True),
    Column("basis"),
)


def ledger_lines(plan: Plan, *, width: int) -> list[Content]:
    """Return the ledger, one line per component, under a head."""
    rows = [Row(cells=(row.label, row.gib, row.low, row.high, row.basis)) for row in report.ledger_rows(plan)]
    columns: tuple[Column, ...] = LEDGER
    if natural_width(columns, rows) > width:
        # A name that is cut says less than a basis that is left out.
        columns, rows = LEDGER[:-1], [Row(cells=row.cells[:-1]) for row in rows]
    head, lines = lay_out(columns, rows, width=width)
    return [head, *lines]


CALM_S = 0.1
"""What stands beside a plan follows when no key came for so long."""


class PlanSide(Container):
    """Verdict and picture; beside them, as far as there is room, ledger, curve, levers and where numbers come from."""

    def __init__(self, *, classes: str) -> None:
        super().__init__(classes=classes)
        self._plan: Plan | None = None
        self._curve: Callable[[Plan], Sequence[CurvePoint]] | None = None
        self._levers: Callable[[PlanRequest], Sequence[Lever]] | None = None

    def compose(self) -> ComposeResult:
        """The panel, and what stands below or beside it."""
        yield PlanPanel()
        with Container(id="plan-aside"):
            yield Static(id="inline-ledger")
            yield Static(id="inline-curve")
            yield Static(id="inline-levers")
            yield Static(id="inline-why")

    def show(
        self,
        answer: Plan | M35Error | None,
        curve: Callable[[Plan], Sequence[CurvePoint]],
        levers: Callable[[PlanRequest], Sequence[Lever]],
    ) -> None:
        """Draw a plan, or why there is none; what costs time is asked only where there is room for it."""
        self.query_one(PlanPanel).show(answer)
        self._plan = answer if isinstance(answer, Plan) else None
        self._curve, self._levers = curve, levers
        self._draw(CALM_S)

    def on_resize(self) -> None:
        """Draw what there is room for now."""
        self._draw(0.0)

    @work(exclusive=True, group="aside")
    async def _draw(self, calm_s: float) -> None:
        """Draw one box after the other, once no key came for so long: no key waits for what stands beside a plan."""
        await asyncio.sleep(calm_s)
        plan = self._plan
        # A step that ends meanwhile has none of them any more.
        aside = next(iter(self.query("#plan-aside")), None)
        boxes = list(self.query("#plan-aside Static").results(Static))
        if aside is None or not aside.display or not aside.size.width:
            return
        width, height = aside.content_size.width, aside.content_size.height
        for box in boxes:
            if box.display and box.is_attached:
                lines = self._lines(box.id or "", plan, width=width, height=height) if plan is not None else []
                _write(box, lines)
                height -= len(lines) + 1
                await asyncio.sleep(0)

    def _lines(self, box: str, plan: Plan, *, width: int, height: int) -> list[Content]:
        if box == "inline-ledger":
            return ledger_lines(plan, width=width)
        if box == "inline-curve":
            return curve_lines(self._curve(plan) if self._curve else (), width=width)
        if box == "inline-levers":
            return self._lever_lines(plan, width)
        return terms_explained(plan, width=width, height=height)

    def _lever_lines(self, plan: Plan, width: int) -> list[Content]:
        try:
            # A plan that is cut or does not fit has found them already.
            return lever_lines(plan.levers or (self._levers(plan.request) if self._levers else ()), width=width)
        except M35Error:
            # What cannot be asked has no levers; the panel says why.
            return []


def _write(box: Static, lines: list[Content]) -> None:
    """Draw lines; everything is laid out anew only where their number changed, because that costs a key its time."""
    box.update(Content("\n").join(lines), layout=len(lines) != box.size.height)
