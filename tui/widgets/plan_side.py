"""The plan at the side of a step, and as much of its ledger and curve as the terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from hw_specs import M35Error
from planner import Plan
from planner.planning.context_curve import CurvePoint
from planner.rendering import report
from tui.widgets.columns import Column, Row, lay_out, natural_width
from tui.widgets.curve_plot import curve_lines
from tui.widgets.plan_panel import PlanPanel, wrapped

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


def explained(plan: Plan, name: str, *, width: int) -> list[Content]:
    """Return one line of the ledger with formula, bounds and source."""
    lines = []
    for label, text in report.explanation(plan, name):
        parts = wrapped(text, width=width - 9)
        lines += [
            Content.assemble((f"{'' if place else label:<9}", "$secondary"), part) for place, part in enumerate(parts)
        ]
    return lines


class PlanSide(Container):
    """Verdict and picture; beside them ledger, curve and the KV cache's formula in a wide terminal."""

    def __init__(self, *, classes: str) -> None:
        super().__init__(classes=classes)
        self._plan: Plan | None = None
        self._curve: Callable[[Plan], Sequence[CurvePoint]] | None = None

    def compose(self) -> ComposeResult:
        """The panel, and what stands below or beside it."""
        yield PlanPanel()
        with Container(id="plan-aside"):
            yield Static(id="inline-ledger")
            yield Static(id="inline-curve")
            yield Static(id="inline-why")

    def show(self, answer: Plan | M35Error | None, curve: Callable[[Plan], Sequence[CurvePoint]]) -> None:
        """Draw a plan, or why there is none; `curve` is asked only where there is room for it."""
        self.query_one(PlanPanel).show(answer)
        self._plan = answer if isinstance(answer, Plan) else None
        self._curve = curve
        self._draw()

    def on_resize(self) -> None:
        """Draw what there is room for now."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        aside = self.query_one("#plan-aside")
        if not aside.display or not aside.size.width:
            return
        ledger, curve = self.query_one("#inline-ledger", Static), self.query_one("#inline-curve", Static)
        why = self.query_one("#inline-why", Static)
        width = aside.content_size.width
        if self._plan is None or self._curve is None:
            ledger.update("")
            curve.update("")
            why.update("")
            return
        if ledger.display:
            _write(ledger, ledger_lines(self._plan, width=width))
        _write(curve, curve_lines(self._curve(self._plan), width=width))
        if why.display:
            head = Content.styled("where the KV cache comes from", "bold")
            _write(why, [head, *explained(self._plan, "kv_cache", width=width)])


def _write(box: Static, lines: list[Content]) -> None:
    """Draw lines; everything is laid out anew only where their number changed, because that costs a key its time."""
    box.update(Content("\n").join(lines), layout=len(lines) != box.size.height)
