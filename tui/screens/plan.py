"""Step 3: the answer; layouts and levers to choose from, and the plan they lead to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static
from textual.worker import get_current_worker

from hw_specs import M35Error
from planner import Lever, Plan, PlanRequest, SpeedForecast
from planner.rendering import report
from planner.rendering.headline import summary
from planner.rendering.report import LayoutChoice
from planner.settings import Layout
from tui import news
from tui.screens.compare import Compare
from tui.screens.dialogues import Ask, Curve, Explain
from tui.screens.speed_step import SpeedStep
from tui.widgets.columns import Column, Row
from tui.widgets.layouts import BY_MEMORY, BY_SPEED, LEVERS, WITH_BOUNDS, layout_row, lever_row
from tui.widgets.plan_panel import PlanPanel
from tui.widgets.plan_side import PlanSide
from tui.widgets.table import SwitchRows, Table
from tui.wizard import (
    Step,
    effective_load,
    effective_request,
    offered_levers,
    with_layout,
    with_lever,
)


class PlanScreen(SpeedStep):
    """Verdict, layouts, levers, and one GPU as a picture."""

    STEP: ClassVar[Step] = Step.PLAN
    HELP_TEXT: ClassVar[str] = (
        "The plan. Upper left: every way to split the GPUs; moving the cursor picks one. Lower left: changes that "
        "give the KV cache more room; space toggles one and the plan updates. The picture is one GPU; hatched parts "
        "are uncertain. With a load, every layout gets a forecast, red marks a missed target, and `b` takes the "
        "layout that serves the load best. Nothing here touches the machine."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "other"),
        Binding("e", "explain", "explain"),
        Binding("c", "curve", "context"),
        Binding("b", "best", "best"),
        Binding("D", "compare", "compare"),
        Binding("d", "mark", "mark"),
    ]

    def compose_body(self) -> ComposeResult:
        """Layouts and levers at the left, the plan at the right."""
        with Horizontal():
            with Vertical(classes="question"):
                yield Table(*BY_MEMORY, id="layouts", tip="every way to split the GPUs")
                yield Static(id="layout-note", classes="note", markup=False)
                yield Table(*LEVERS, id="levers", rows=SwitchRows, tip="changes that give the KV cache more room")
                yield Static(id="lever-note", classes="note", markup=False)
            yield PlanSide(classes="answer")

    def on_mount(self) -> None:
        """Draw the plan."""
        self.query_one(PlanPanel).layouts = False
        self._layouts: tuple[LayoutChoice, ...] = ()
        self._levers: tuple[Lever, ...] = ()
        self._plans: dict[Layout, Plan] = {}
        self._offered: tuple[Lever, ...] = ()
        """What would give the KV cache more room."""
        self._best: Plan | None = None
        """What serves the load best, once it is known."""
        self._advised: tuple[PlanRequest, dict[str, Any], int | None] | None = None
        """What the best way was asked for last."""
        self._take_best = False
        """Whether the best way is taken as soon as it is known: a lever that meets the targets needs it."""
        self._draw()
        self.query_one("#layouts", Table).rows_widget.focus()

    def _draw(self) -> None:
        """Plan and show everything that follows from it."""
        self.replan()
        self.show_answer(self.answer)
        if self._question() != self._advised:
            self._best = None
        if not isinstance(self.answer, Plan):
            self._offered = ()
            self._draw_levers()
            return
        plan = self.answer
        self._layouts = report.layout_choices(plan)
        self._plans = {}
        self._draw_layouts()
        self._offered = plan.levers or self.backend.levers(plan.request)
        self._draw_levers()

    def _draw_layouts(self) -> None:
        """Every layout with what it holds and, under a load, how fast it is."""
        if not self._layouts:
            return
        table, loaded = self.query_one("#layouts", Table), bool(self.answers.load)
        for columns in (WITH_BOUNDS, BY_SPEED) if loaded else (BY_MEMORY,):
            rows = [self._layout_row(one, columns) for one in self._layouts]
            if table.fits(columns, rows):
                break
        chosen = next(index for index, one in enumerate(self._layouts) if one.chosen)
        table.show(rows, cursor=chosen, columns=columns)
        note = self._layouts[chosen].row.note
        if self._best is not None and self._best.speed is not None:
            reasons = self._best.speed.reasons
            note = f"b takes {self._best.settings.layout}: {reasons[-1] if reasons else 'it serves the load best'}"
            if self._meeting():
                note = f"b takes {self._best.settings.layout}, which misses a target; the levers with ✓ meet all"
        self.query_one("#layout-note", Static).update(note)

    def _layout_row(self, one: LayoutChoice, columns: tuple[Column, ...]) -> Row:
        speed = self._speed_in(one) if columns is not BY_MEMORY else None
        missed = isinstance(speed, SpeedForecast) and bool(self.misses_of(speed))
        best = self._best is not None and self._best.settings.layout == one.layout
        return layout_row(one, columns, speed=speed, missed=missed, best=best)

    def _speed_in(self, one: LayoutChoice) -> SpeedForecast | M35Error | None:
        plan = self._planned(one)
        return None if plan is None else self.speed_of(plan)

    def _planned(self, one: LayoutChoice) -> Plan | None:
        """The plan of another layout, with everything else as it stands."""
        if one.chosen:
            return self.feasible_plan
        if one.verdict == "does-not-fit":
            return None
        if one.layout not in self._plans:
            try:
                request = effective_request(with_layout(self.answers, one.layout))
                self._plans[one.layout] = self.backend.plan(request)
            except M35Error:
                return None
        plan = self._plans[one.layout]
        return plan if plan.feasible else None

    def to_forecast(self) -> Sequence[Plan]:
        """Every layout that fits, the chosen one first."""
        ordered = sorted(self._layouts, key=lambda one: not one.chosen)
        return [plan for plan in map(self._planned, ordered) if plan is not None]

    def hear(self, heard: news.News) -> None:
        """Draw a forecast where it belongs."""
        super().hear(heard)
        if isinstance(heard, news.Advised):
            self._best = heard.best if isinstance(heard.best, Plan) and heard.best.speed is not None else None
            if self._take_best and self._best is not None:
                self._take_best = False
                self.action_best()
            self._draw_levers()
        if isinstance(heard, news.Forecasted | news.Advised):
            self._draw_layouts()
            self.refresh_bindings()

    def _question(self) -> tuple[PlanRequest, dict[str, Any], int | None] | None:
        """What the best way is asked for: everything but the layout, under the load; None without one."""
        if self.answers.request is None or not self.answers.load:
            return None
        asked = effective_request(dataclasses.replace(self.answers, layout=None, batched_tokens=None))
        return asked.with_layout(None), *effective_load(self.answers)

    def forecasts_done(self) -> None:
        """Ask which way of all serves the load best, once for every question."""
        question = self._question()
        if question is not None and question != self._advised and self.feasible_plan is not None:
            self._advised = question
            self._advise(*question)

    @work(thread=True, exclusive=True, group="advice")
    def _advise(self, request: PlanRequest, load: dict[str, Any], concurrency: int | None) -> None:
        try:
            best: Plan | M35Error = self.backend.best(request, load, concurrency)
        except M35Error as refusal:
            best = refusal
        if not get_current_worker().is_cancelled:
            self.tell(news.Advised(best))

    def _meeting(self) -> tuple[Lever, ...]:
        """What would meet the targets that even the best way misses."""
        return () if self._best is None else tuple(lever for lever in self._best.levers if lever.meets_targets)

    def action_best(self) -> None:
        """Take over what serves the load best."""
        if self._best is not None:
            settings = self._best.settings
            before = dataclasses.replace(self.answers, batched_tokens=settings.max_num_batched_tokens)
            self.answers = with_layout(before, settings.layout)
            self._draw()

    def action_mark(self) -> None:
        """Set this plan aside, to compare others with."""
        if isinstance(self.answer, Plan):
            self.answers = dataclasses.replace(self.answers, marked=self.answer.request)
            self.notify("change something, then D shows both side by side", title="marked")
            self.refresh_bindings()

    def action_compare(self) -> None:
        """Show the marked plan beside this one."""
        if self.answers.marked is not None and isinstance(self.answer, Plan):
            try:
                marked = self.backend.plan(self.answers.marked)
                self.app.push_screen(
                    Compare(marked, self.answer, speeds=(self._known(marked), self._known(self.answer)))
                )
            except M35Error as refusal:
                self.say_refused(refusal)

    def _known(self, plan: Plan) -> SpeedForecast | None:
        """The forecast for a plan under the load, where it was made."""
        found = self.speed_of(plan)
        return found if isinstance(found, SpeedForecast) else None

    def offers(self, action: str) -> bool:
        """The best way can be taken once it is known, and two plans compared once one is marked."""
        if action == "compare":
            return self.answers.marked is not None
        return action != "best" or self._best is not None

    def on_resize(self) -> None:
        """Other columns may fit now."""
        self.call_after_refresh(self._draw_layouts)

    def _draw_levers(self) -> None:
        before = self._levers
        table = self.query_one("#levers", Table)
        looked_at = table.rows_widget.has_focus and table.cursor is not None and table.cursor < len(before)
        here = before[table.cursor or 0].flag if looked_at else ""
        # One that is switched on stays where it was, under the cursor.
        places = {lever.flag: place for place, lever in enumerate(before)}
        offered = offered_levers(self.answers, (*self._meeting(), *self._offered))
        self._levers = tuple(sorted(offered, key=lambda lever: places.get(lever.flag, len(places))))
        if self._meeting() and not any(lever.meets_targets for lever in before):
            # What meets the targets comes first, when it becomes known.
            self._levers = tuple(sorted(self._levers, key=lambda lever: not lever.meets_targets))
        rows = [lever_row(lever, on=lever in self.answers.levers) for lever in self._levers]
        flags = [lever.flag for lever in self._levers]
        table.show(rows, cursor=flags.index(here) if here in flags else (table.cursor or 0) if looked_at else 0)
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
        if lever.name == "gpus" and self.answers.layout is not None:
            self.notify("other GPUs: the layout is chosen again")
        self.answers = with_lever(self.answers, lever)
        self._take_best = lever.meets_targets and lever in self.answers.levers
        self._draw()

    def action_explain(self) -> None:
        """Every line of the ledger with formula and source."""
        if isinstance(self.answer, Plan):
            self.app.push_screen(Explain(self.answer))

    def action_curve(self) -> None:
        """Context against concurrency."""
        if isinstance(self.answer, Plan):
            load, _ = effective_load(self.answers)
            self.app.push_screen(Curve(self.answer, backend=self.backend, load=load))

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
