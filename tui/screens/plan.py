"""Step 3: the answer; layouts and levers to choose from, and the plan they lead to."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from hw_specs import M35Error
from planner import Lever, Plan
from planner.rendering import report
from planner.rendering.headline import summary
from planner.rendering.report import LayoutChoice
from tui.screens.dialogues import Ask, Curve, Explain
from tui.screens.step import StepScreen
from tui.widgets.columns import Column, Row
from tui.widgets.plan_side import PlanSide
from tui.widgets.table import SwitchRows, Table
from tui.wizard import (
    Step,
    effective_request,
    offered_levers,
    with_layout,
    with_lever,
)


class PlanScreen(StepScreen):
    """Verdict, layouts, levers, and one GPU as a picture."""

    STEP: ClassVar[Step] = Step.PLAN
    HELP_TEXT: ClassVar[str] = (
        "The answer. Upper left: every way to share the GPUs out; moving the cursor picks one. Lower left: changes "
        "that give the KV cache more room; space switches one on and the plan follows. The picture is one GPU: what "
        "is hatched is uncertain. Nothing here touches the machine."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "other"),
        Binding("e", "explain", "explain"),
        Binding("c", "curve", "context"),
    ]

    def compose_body(self) -> ComposeResult:
        """Layouts and levers at the left, the plan at the right."""
        with Horizontal():
            with Vertical(classes="question"):
                yield Table(
                    Column("layout", flex=True),
                    Column("context", right=True),
                    Column("requests", right=True),
                    id="layouts",
                )
                yield Static(id="layout-note", classes="note", markup=False)
                yield Table(
                    Column("levers", flex=True, valued=True), Column("tokens", right=True), id="levers", rows=SwitchRows
                )
                yield Static(id="lever-note", classes="note", markup=False)
            yield PlanSide(classes="answer")

    def on_mount(self) -> None:
        """Draw the plan."""
        self._layouts: tuple[LayoutChoice, ...] = ()
        self._levers: tuple[Lever, ...] = ()
        self._draw()
        self.query_one("#layouts", Table).rows_widget.focus()

    def _draw(self) -> None:
        """Plan and show everything that follows from it."""
        self.replan()
        self.show_answer(self.answer)
        if not isinstance(self.answer, Plan):
            self._draw_levers(())
            return
        plan = self.answer
        self._layouts = report.layout_choices(plan)
        chosen = next(index for index, one in enumerate(self._layouts) if one.chosen)
        rows = [
            Row(
                cells=(("▸ " if one.chosen else "  ") + one.row.layout, one.row.context, one.row.requests),
                style="" if one.verdict == "fits" else "$text-warning" if one.verdict == "tight" else "$secondary",
            )
            for one in self._layouts
        ]
        self.query_one("#layouts", Table).show(rows, cursor=chosen)
        self.query_one("#layout-note", Static).update(self._layouts[chosen].row.note)
        self._draw_levers(self.backend.levers(effective_request(self.answers)))

    def _draw_levers(self, offered: tuple[Lever, ...]) -> None:
        self._levers = offered_levers(self.answers, offered)
        rows = []
        for lever in self._levers:
            mark = "[x]" if lever in self.answers.levers else "[ ]"
            gain = f"{lever.gain_tokens:+,}" if lever.gain_tokens else ""
            rows.append(
                Row(cells=(f"{mark} {lever.flag.removeprefix('--')}", gain), style="bold" if mark == "[x]" else "")
            )
        table = self.query_one("#levers", Table)
        table.show(rows, cursor=table.cursor or 0)
        self._say_lever(table.cursor)

    def _say_lever(self, index: int | None) -> None:
        note = self.query_one("#lever-note", Static)
        if index is None or index >= len(self._levers):
            note.update("")
            return
        lever = self._levers[index]
        fits = "makes it fit" if lever.fits and isinstance(self.answer, Plan) and self.answer.verdict != "fits" else ""
        note.update(", ".join(part for part in (lever.flag, fits, lever.note) if part))

    @on(Table.Moved, "#layouts")
    def _layout_moved(self, event: Table.Moved) -> None:
        one = self._layouts[event.index]
        if one.chosen:
            return
        before = self.answers
        self.answers = with_layout(self.answers, one.layout)
        self._draw()
        if isinstance(self.answer, M35Error):
            # A layout the engine cannot run at all: say why and stay on the plan there was.
            self.answers = before
            self.replan()
            self.query_one("#layout-note", Static).update(one.row.note)
            self.show_answer(self.answer)

    @on(Table.Moved, "#levers")
    def _lever_moved(self, event: Table.Moved) -> None:
        self._say_lever(event.index)

    @on(Table.Switched, "#levers")
    def _lever_switched(self, event: Table.Switched) -> None:
        lever = self._levers[event.index]
        self.answers = with_lever(self.answers, lever)
        self._draw()

    def action_explain(self) -> None:
        """Every line of the ledger with formula and source."""
        if isinstance(self.answer, Plan):
            self.app.push_screen(Explain(self.answer))

    def action_curve(self) -> None:
        """Context against concurrency."""
        if isinstance(self.answer, Plan):
            self.app.push_screen(Curve(self.answer, backend=self.backend))

    def action_next(self) -> None:
        """Go on; a plan that does not fit is asked about once more."""
        if isinstance(self.answer, M35Error):
            self.say_refused(self.answer)
        elif isinstance(self.answer, Plan) and not self.answer.feasible:
            self.app.push_screen(
                Ask(
                    f"{summary(self.answer)}\n\nThe engine is expected to refuse to start.",
                    (("stay", "stay and change something"), ("go", "see the command anyway")),
                    title="does not fit",
                ),
                self._go_anyway,
            )
        else:
            super().action_next()

    def _go_anyway(self, choice: str | None) -> None:
        if choice == "go":
            super().action_next()
