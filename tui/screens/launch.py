"""Step 5: check, start and watch a server, and cure a start that fails; it draws a `Start` and parses no log."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from hw_specs import M35Error
from planner import Plan
from planner.serve import Run, StartOrder
from tui import news, watching
from tui.backend import Backend
from tui.cures import Cure, cures
from tui.links import step_line
from tui.screens.dialogues import Ask, AskText
from tui.screens.step import ServerStep
from tui.starting import STATES, Start, State, take
from tui.widgets.columns import Column, Row
from tui.widgets.diagnosis import failure_lines
from tui.widgets.log_view import LogView
from tui.widgets.memory import MemoryFill
from tui.widgets.plan_side import PlanSide
from tui.widgets.startup import left_lines, phase_block, startup_title
from tui.widgets.step_bar import StepBar
from tui.widgets.table import RetryRows, Table
from tui.wizard import Answers, Move, Step

TICK_S = 0.25
"""How often the sign turns beside what takes long."""


CURES = (Column("try again with", flex=True), Column("GiB", right=True), Column("tokens", right=True))
"""The last two only where a change gains something."""


class LaunchScreen(ServerStep):
    """Preflight, start-up phases, live log, memory; on failure the diagnosis and its cures."""

    STEP: ClassVar[Step] = Step.LAUNCH
    HELP_TEXT: ClassVar[str] = (
        "This machine is checked first; nothing starts until you say so. `l` starts the server: it keeps running "
        "when the wizard ends, and the wizard finds it again. `h` rehearses instead: the same engine and flags on a "
        "tiny twin of the model, without a download, stopped after its checks. A failed start is explained, and `r` "
        "retries with the change under the cursor."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "launch", "launch"),
        Binding("h", "rehearse", "rehearse"),
        Binding("c", "check", "check again"),
        Binding("t", "target", "target"),
        Binding("r", "retry", "retry"),
        Binding("s", "stop", "stop"),
        Binding("o", "full_log", "log"),
        Binding("d", "detach", "detach"),
    ]
    STATES_OF: ClassVar[dict[str, tuple[State, ...]]] = {
        "launch": ("checking", "checked", "stopped", "rehearsed"),
        "rehearse": ("checked", "stopped", "rehearsed"),
        "check": ("checked", "stopped", "rehearsed"),
        "target": ("checked",),
        "retry": ("failed",),
        "stop": ("starting", "ready"),
        "detach": ("starting", "ready"),
        "full_log": ("starting", "ready", "failed", "stopped", "rehearsing", "rehearsed"),
        "next": ("ready", "failed"),
    }
    """Action → the states in which it makes sense; only those stand in the footer."""

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self.start = Start()

    def compose_body(self) -> ComposeResult:
        """Start-up and memory at the left; the plan at the right, once it starts the log; trouble stands above."""
        with VerticalScroll(id="trouble", can_focus=False):
            yield Static(id="diagnosis")
        with Horizontal(id="watching"):
            with VerticalScroll(classes="question", id="startup"):
                yield Static("start-up", classes="title", id="startup-title")
                yield Static(id="checks")
                yield Static(id="phases")
                yield MemoryFill()
            yield PlanSide(classes="answer")
            with Vertical(classes="answer", id="log-side"):
                yield Static(id="log-title", classes="title", markup=False)
                yield LogView(id="log")
                yield Static(id="log-line", markup=False)
        with Vertical(id="cures-side"):
            yield Table(*CURES, id="cures", rows=RetryRows)

    def on_mount(self) -> None:
        """Attach to the server there is, or look at the machine."""
        self.replan()
        self._show_plan()
        if self.answers.run_id is not None:
            self._find_run(self.answers.run_id)
        else:
            self._check(docker=False)
        self.set_interval(TICK_S, self._tick)
        self.look_every(self.backend.detect_every_s, self._look_at_gpus)
        self._enter()

    @property
    def run(self) -> Run | None:
        """The server that is starting or up."""
        return self.start.run

    # News

    def hear(self, heard: news.News) -> None:
        """Take in one piece of news and show what changed."""
        self.show(take(self.start, heard))
        match heard:
            case news.GpusSeen(report=report):
                self.query_one(MemoryFill).seen = report
            case news.Launched(run=run):
                self.answers = dataclasses.replace(self.answers, run_id=run.id)
                self.show_line()
                self.query_one(LogView).clear()
                self._follow(run)
            case news.RehearsalBegun():
                self.query_one(LogView).clear()
            case news.ServerNews(log=log):
                self.query_one(LogView).feed(log)
            case news.Stopped(how=how):
                self.notify(f"server stopped ({how})")
            case news.Refused(error=error, doing=doing):
                self.say_refused(error)
                if doing == "attach":
                    self.answers = dataclasses.replace(self.answers, run_id=None)
            case _:
                pass

    # Drawing

    def show(self, start: Start) -> None:
        """Draw `start`; a new state has a layout, keys and a focus of its own."""
        before, self.start = self.start, start
        if start.ended and not before.ended:
            self.notify("the server has ended", severity="error")
        if start.failure is not None and start.failure is not before.failure:
            self._find_cures()
        if start.state != before.state:
            self._enter()
        else:
            self._draw()

    def _enter(self) -> None:
        state = self.start.state
        if state == "stopped":
            self.answers = dataclasses.replace(self.answers, run_id=None)
        for name in STATES:
            self.set_class(name == state, f"-{name}")
        self.refresh_bindings()
        self._draw()
        # Once more when the new layout has given everything its width.
        self.call_after_refresh(self._draw)
        if state == "failed":
            self.query_one("#cures", Table).rows_widget.focus()
        else:
            self.query_one("#log" if self.start.begun else "#startup").focus()
        self.query_one(StepBar).answers = self.answers

    def on_resize(self) -> None:
        """Lay everything out for the new width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        """Everything that is text; cheap enough for every tick."""
        left = self.query_one("#checks", Static)
        width = max(24, left.content_size.width or 36)
        self.query_one("#startup-title", Static).update(startup_title(self.start))
        now_s, plan = self.backend.now(), self.answer if isinstance(self.answer, Plan) else None
        lines = left_lines(self.start, width=width, now_s=now_s)
        left.update(Content("\n").join(lines))
        self.query_one("#phases", Static).update(Content("\n").join(phase_block(self.start, width=width, plan=plan)))
        if self.start.failure is not None:
            lines = failure_lines(self.start.failure, width=max(40, self.size.width - 4))
            self.query_one("#diagnosis", Static).update(Content("\n").join(lines))
        self._draw_log_title()

    def _show_plan(self) -> None:
        """Draw what does not change while a server starts."""
        self.show_answer(self.answer)
        self.query_one(MemoryFill).plan = self.answer if isinstance(self.answer, Plan) else None

    def _tick(self) -> None:
        """Turn what is looked at."""
        if self.start.state == "checking" and self.start.checking:
            self._draw()

    @on(LogView.Changed)
    def _draw_log_title(self) -> None:
        log, line = self.query_one(LogView), self.query_one("#log-line", Static)
        self.query_one("#log-title", Static).update(f"server.log · {log.status}")
        line.display = bool(log.line)
        line.update(log.line)

    def _find_cures(self) -> None:
        """Ask what can be tried after a failure; a rehearsal has nothing to try again."""
        failure, report = self.start.failure, self.start.start_report
        plan = self.answer if isinstance(self.answer, Plan) else None
        found: tuple[Cure, ...] = ()
        if failure is not None and report is not None:
            found = cures(
                failure, measured=report.measured, plan=plan, answers=self.answers, levers=self.backend.levers
            )
        self.start = take(self.start, news.CuresFound(found))
        gains = any(cure.gib or cure.tokens for cure in found)
        rows = [Row(cells=(cure.label, cure.gib, cure.tokens)[: 3 if gains else 1]) for cure in found]
        self.query_one("#cures", Table).show(rows, cursor=0 if rows else None, columns=CURES if gains else CURES[:1])

    # Preflight

    def _order(self, *, docker: bool) -> StartOrder | None:
        """What would be started."""
        if not isinstance(self.answer, Plan):
            return None
        if docker:
            return StartOrder.docker(self.answer, port=self.answers.port)
        edited = self.answers.edited
        port = None if edited is not None else self.answers.port
        return StartOrder.local(self.answer, edited=edited, program=self.backend.program, port=port)

    def own_line(self) -> str:
        """The command line that starts this server, or takes it up again."""
        return step_line(self.answers, self.STEP, docker=self.start.docker, program=self.backend.program)

    def _check(self, *, docker: bool) -> None:
        try:
            order = self._order(docker=docker)
        except M35Error as refusal:
            order = None
            self.say_refused(refusal)
        self.hear(news.CheckingBegun(docker, order))
        self.show_line()
        if order is not None and isinstance(self.answer, Plan):
            self._preflight(order, self.answer)

    @work(thread=True, exclusive=True, group="preflight")
    def _preflight(self, order: StartOrder, plan: Plan) -> None:
        worker = get_current_worker()
        watching.check_machine(self.backend, order, plan, post=self.tell, cancelled=lambda: worker.is_cancelled)

    # What can be done

    def action_launch(self) -> None:
        """Start the server; failed checks are asked about first."""
        checking, failed = self.start.state == "checking", self.start.failed_checks
        if not checking and not failed:
            self._start_anyway("go")
            return
        text = "\n".join(f"✗ {check.name}: {check.seen}" for check in failed)
        self.app.push_screen(
            Ask(
                "The checks have not finished." if checking else text,
                (("stay", "go back"), ("go", "start anyway")),
                title="start now?",
            ),
            self._start_anyway,
        )

    def _start_anyway(self, choice: str | None) -> None:
        if choice == "go" and isinstance(self.answer, Plan):
            self._start(self.answer, None)

    @work(thread=True, exclusive=True, group="follow")
    def _start(self, plan: Plan, replacing: Run | None) -> None:
        order = partial(self._order, docker=self.start.docker)
        watching.start_server(self.backend, order, plan, replacing=replacing, post=self.tell)

    @work(thread=True, exclusive=True, group="follow")
    def _find_run(self, run_id: str) -> None:
        watching.find_run(self.backend, run_id, post=self.tell)

    @work(thread=True, exclusive=True, group="follow")
    def _follow(self, run: Run) -> None:
        worker = get_current_worker()
        watching.watch_server(self.backend, run, post=self.tell, cancelled=lambda: worker.is_cancelled)

    def action_retry(self) -> None:
        """Apply the change under the cursor, plan again and start again."""
        cursor = self.query_one("#cures", Table).cursor if self.start.state == "failed" else None
        old = self.start.run
        self.answers = dataclasses.replace(self.answers, run_id=None)
        if cursor is not None and cursor < len(self.start.cures):
            self.answers = self.start.cures[cursor].apply(self.answers)
        self.replan()
        if isinstance(self.answer, M35Error):
            self.say_refused(self.answer)
            return
        if isinstance(self.answer, Plan):
            self._show_plan()
            self._start(self.answer, old)

    def action_rehearse(self) -> None:
        """Start the same engine and flags on a tiny twin of the model."""
        if isinstance(self.answer, Plan):
            self._rehearse(self.answer)

    @work(thread=True, exclusive=True, group="follow")
    def _rehearse(self, plan: Plan) -> None:
        watching.rehearse_plan(self.backend, plan, post=self.tell)

    def action_check(self) -> None:
        """Look at this machine once more, after something was fixed."""
        self._check(docker=self.start.docker)

    def action_target(self) -> None:
        """Change between this machine's vllm and its image."""
        self._check(docker=not self.start.docker)

    def action_full_log(self) -> None:
        """Give the log the whole width, or take it back."""
        self.toggle_class("-log-only")

    def action_detach(self) -> None:
        """Quit and leave the server running."""
        self.leave_to(Move(to="quit", answers=self.answers))

    def action_search(self) -> None:
        """Ask for a text and go to where it last occurs."""
        log = self.query_one(LogView)

        def found(text: str | None) -> None:
            if text is not None and not log.search(text):
                self.notify(f"`{text}` does not occur")
            log.refresh()
            self._draw_log_title()

        self.app.push_screen(AskText("search the log", value=log.needle, note="n and N go to the next match"), found)

    def action_next(self) -> None:
        """Verify once it is ready; try again after a failure. Nothing is started by haste."""
        if self.start.state == "ready":
            super().action_next()
        elif self.start.state == "failed" and not self.backend.readonly:
            self.action_retry()

    def offers(self, action: str) -> bool:
        """Only what makes sense now stands in the footer."""
        if self.backend.readonly and action in ("launch", "rehearse", "retry", "stop"):
            return False
        return action not in self.STATES_OF or self.start.state in self.STATES_OF[action]

    # GPU memory

    @work(thread=True, group="detect")
    def _look_at_gpus(self) -> None:
        self.tell(news.GpusSeen(self.backend.detect()))
