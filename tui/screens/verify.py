"""Step 6: prove the server, hold it against the plan, watch it and talk to it; it computes none of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, Static

from hw_specs import M35Error
from planner.calibrate import calibration_of
from planner.serve import CheckResult, Conclusion, Expectations, Run, SmokeReport, attach, conclude
from planner.serve.process.launcher import option_value
from planner.serve.start_report import plan_of
from planner.serve.verification.chat import Turn
from planner.serve.verification.live_metrics import Counters, Gauges, gauges, read_counters
from planner.serve.verification.snippets import CLIENTS, client_snippet
from tui import messages
from tui.backend import Backend
from tui.screens.step import StepScreen
from tui.widgets.checks import check_lines, summary
from tui.widgets.comparison import comparison_lines
from tui.widgets.dashboard import HISTORY, dashboard_lines
from tui.widgets.fields import Choice, Speech
from tui.wizard import Answers, Step

VIEWS = ("checks", "measured", "dashboard", "chat", "client")
LOOK_EVERY_S = 2.0


class VerifyScreen(StepScreen):
    """Checks, predicted against measured, dashboard, chat and client snippets of one running server."""

    STEP: ClassVar[Step] = Step.VERIFY
    HELP_TEXT: ClassVar[str] = (
        "Is it what was planned? The checks ask the server for everything a client needs and say what they saw. "
        "`measured` holds what the engine found against the plan, and `k` keeps it: later plans for these GPUs then "
        "rest on it. The other views watch the server, talk to it, and show how a client does."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", "view", key_display="←→"),
        Binding("left", "turn(-1)", "view", show=False),
        *(Binding(str(number), f"view('{name}')", name, show=False) for number, name in enumerate(VIEWS, 1)),
        Binding("v", "verify", "check again"),
        Binding("k", "keep", "keep measured"),
        Binding("c", "copy", "copy"),
        Binding("s", "stop", "stop"),
        Binding("q", "leave", "quit"),
    ]

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self._view = VIEWS[0]
        self._run: Run | None = None
        self._results: list[CheckResult] = []
        self._checking = ""
        self._report: SmokeReport | None = None
        self._conclusion: Conclusion | None = None
        self._model = ""
        self._before: Counters | None = None
        self._history: list[Gauges] = []
        self._trouble = ""
        self._turns: list[Turn] = []
        self._answer = ""
        self._talking = False

    def compose_body(self) -> ComposeResult:
        """The names of the views above one of them."""
        yield Static(id="views")
        yield Static(id="server", markup=False)
        with ContentSwitcher(initial="view-checks"):
            with VerticalScroll(id="view-checks"):
                yield Static(id="smoke")
            with VerticalScroll(id="view-measured"):
                yield Static("reading the log …", id="comparison")
            with VerticalScroll(id="view-dashboard"):
                yield Static(id="dashboard")
            with Vertical(id="view-chat"):
                with VerticalScroll(id="conversation"):
                    yield Static(id="turns", markup=False)
                yield Speech(placeholder="say something; enter sends it", id="say")
            with Vertical(id="view-client"):
                with Horizontal(classes="titled"):
                    yield Choice(CLIENTS, value=CLIENTS[0], id="client")
                with VerticalScroll():
                    yield Static(id="snippet", markup=False)

    def on_mount(self) -> None:
        """Find the server and begin to check it."""
        self.replan()
        self._show_view("checks")
        self._load()

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        try:
            run = attach(self.answers.run_id or "latest")
        except M35Error as refusal:
            self.post_message(messages.Refused(refusal, doing="attach"))
            return
        self.post_message(messages.RunKnown(run, plan_of(run), conclude(run)))

    @on(messages.RunKnown)
    def _known(self, message: messages.RunKnown) -> None:
        self._run = message.run
        self._conclusion = message.conclusion
        plan = message.plan
        served = option_value(message.run.argv, "served-model-name")
        self._model = served or (plan.model.name if plan else "")
        expected = Expectations.from_plan(plan) if plan else None
        if expected is not None and served:
            expected = dataclasses.replace(expected, model=served)
        self._expected = expected
        self._plan = plan
        self._draw_measured()
        self._draw_snippet()
        self._draw_server()
        self.action_verify()
        self._look()
        self.set_interval(LOOK_EVERY_S, self._look)

    # Views

    def action_view(self, name: str) -> None:
        """Show one view."""
        self._show_view(name)

    def action_turn(self, by: int) -> None:
        """Show the next or the previous view."""
        self._show_view(VIEWS[(VIEWS.index(self._view) + by) % len(VIEWS)])

    def _show_view(self, name: str) -> None:
        self._view = name
        parts = []
        for number, view in enumerate(VIEWS, 1):
            if view == name:
                parts.append(Content.styled(f"[{view}]", "bold $accent"))
            else:
                parts.append(Content.from_markup(f" [@click=screen.view('{view}')]{number} {view}[/] "))
        self.query_one("#views", Static).update(Content(" ").join(parts))
        self.query_one(ContentSwitcher).current = f"view-{name}"
        focus = {"chat": "#say", "client": "#client"}.get(name, f"#view-{name}")
        self.query_one(focus).focus()
        self.refresh_bindings()
        self.call_after_refresh(self._draw_all)

    def _draw_all(self) -> None:
        self._draw_smoke()
        self._draw_measured()
        self._draw_dashboard()
        self._draw_snippet()

    @property
    def _width(self) -> int:
        return max(40, self.size.width - 4)

    def _draw_server(self) -> None:
        line = self.query_one("#server", Static)
        line.set_class(bool(self._trouble), "refused")
        if self._run is not None:
            line.update(f"✗ {self._trouble}" if self._trouble else f"{self._run.url}   run {self._run.id}")

    # Smoke test

    def action_verify(self) -> None:
        """Run the checks, from the beginning."""
        if self._run is not None and not self._checking:
            self._results = []
            self._report = None
            self._checking = "…"
            self._verify(self._run.url)

    @work(thread=True, exclusive=True, group="verify")
    def _verify(self, url: str) -> None:
        def started(name: str) -> None:
            self.post_message(messages.SmokeStarted(name))

        def done(result: CheckResult) -> None:
            self.post_message(messages.SmokeDone(result))

        try:
            report = self.backend.verify(url, self._expected, started, done)
        except M35Error as refusal:
            self.post_message(messages.Refused(refusal, doing="verify"))
        else:
            self.post_message(messages.Verified(report))

    @on(messages.SmokeStarted)
    def _check_started(self, message: messages.SmokeStarted) -> None:
        self._checking = message.name
        self._draw_smoke()

    @on(messages.SmokeDone)
    def _check_done(self, message: messages.SmokeDone) -> None:
        self._results.append(message.result)
        self._checking = "…"
        self._draw_smoke()

    @on(messages.Verified)
    def _verified(self, message: messages.Verified) -> None:
        self._checking = ""
        self._report = message.report
        self._model = message.report.model or self._model
        self._draw_smoke()
        self._draw_snippet()
        self._reread()

    def _draw_smoke(self) -> None:
        lines = check_lines(self._results, width=min(self._width, 110), running=self._checking)
        if self._report is not None:
            passed = self._report.passed
            words = "✓ the server does what was planned" if passed else "✗ the server does not do what was planned"
            style = "bold $text-success" if passed else "bold $text-error"
            lines += [Content(""), Content.assemble((words, style), f"  {summary(self._results)}")]
        self.query_one("#smoke", Static).update(Content("\n").join(lines))

    # Predicted and measured

    @work(thread=True, exclusive=True, group="load")
    def _reread(self) -> None:
        if self._run is not None:
            self.post_message(messages.Concluded(conclude(self._run)))

    @on(messages.Concluded)
    def _concluded(self, message: messages.Concluded) -> None:
        self._conclusion = message.conclusion
        self._draw_measured()

    def _draw_measured(self) -> None:
        box = self.query_one("#comparison", Static)
        comparison = self._conclusion.comparison if self._conclusion else None
        if self._conclusion is not None and comparison is None:
            box.update("this server was started without a plan: there is nothing to hold it against")
        elif comparison is not None:
            lines = comparison_lines(comparison, width=self._width)
            hint = "k keeps these figures: later plans for these GPUs rest on them"
            box.update(Content("\n").join([*lines, Content(""), Content.styled(hint, "$secondary")]))

    def action_keep(self) -> None:
        """Keep what the engine measured, for later plans."""
        if self._plan is None or self._conclusion is None or self._run is None:
            self.notify("there is no plan or no measurement to keep", severity="warning")
            return
        try:
            record = calibration_of(self._plan, self._conclusion.measured, run=self._run.id)
            self.backend.keep(record)
        except M35Error as refusal:
            self.say_refused(refusal)
            return
        request = self.answers.request
        if request is not None:
            request = dataclasses.replace(request, calibrations=(*request.calibrations, record))
            self.answers = dataclasses.replace(self.answers, request=request)
        self.notify(", ".join(record.terms), title="kept for later plans")

    # Dashboard

    @work(thread=True, exclusive=True, group="look")
    def _look(self) -> None:
        assert self._run is not None
        try:
            page: str | M35Error = self.backend.metrics(self._run.url)
        except M35Error as refusal:
            page = refusal
        alive = self._run.status().alive
        self.post_message(messages.MetricsRead(page, at_s=self.backend.now(), alive=alive))

    @on(messages.MetricsRead)
    def _looked(self, message: messages.MetricsRead) -> None:
        if isinstance(message.page, M35Error):
            self._trouble = str(message.page) if message.alive else "the server has ended"
        else:
            self._trouble = ""
            now = read_counters(message.page, at_s=message.at_s)
            self._history = [*self._history[1 - HISTORY :], gauges(now, self._before)]
            self._before = now
        self._draw_server()
        self._draw_dashboard()

    def _draw_dashboard(self) -> None:
        lines = dashboard_lines(self._history, width=self._width)
        self.query_one("#dashboard", Static).update(Content("\n").join(lines))

    # Chat

    def action_next(self) -> None:
        """In the chat: send what was typed."""
        line = self.query_one("#say", Speech)
        text = line.value.strip()
        if self._view != "chat" or not text or self._talking or self._run is None:
            return
        line.value = ""
        self._turns.append(Turn(role="user", content=text))
        self._answer = ""
        self._talking = True
        self._draw_chat()
        self._talk(self._run.url, tuple(self._turns))

    @work(thread=True, exclusive=True, group="talk")
    def _talk(self, url: str, turns: Sequence[Turn]) -> None:
        try:
            for piece in self.backend.talk(url, self._model, turns):
                self.post_message(messages.Said(piece.text or piece.reasoning))
        except M35Error as refusal:
            self.post_message(messages.Said(f"[{refusal}]"))
        self.post_message(messages.Said("", over=True))

    @on(messages.Said)
    def _said(self, message: messages.Said) -> None:
        self._answer += message.text
        if message.over:
            self._turns.append(Turn(role="assistant", content=self._answer))
            self._answer = ""
            self._talking = False
        self._draw_chat()

    def _draw_chat(self) -> None:
        parts = []
        open_answer = [Turn(role="assistant", content=self._answer + "▌")] if self._talking else []
        for turn in [*self._turns, *open_answer]:
            who = ("you    ", "bold") if turn.role == "user" else ("server ", "bold $accent")
            parts.append(Content.assemble(who, turn.content))
        self.query_one("#turns", Static).update(Content("\n\n").join(parts))
        self.query_one("#conversation").scroll_end(animate=False)

    def action_hush(self) -> None:
        """Leave the line, so that keys mean views again."""
        self.query_one("#conversation").focus()

    def action_move(self, by: int) -> None:
        """Scroll the conversation from the line below it."""
        self.query_one("#conversation").scroll_relative(y=3 * by, animate=False)

    # Client

    @on(Choice.Changed, "#client")
    def _draw_snippet(self) -> None:
        if self._run is not None:
            self.query_one("#snippet", Static).update(self._snippet)

    @property
    def _snippet(self) -> str:
        if self._run is None:
            return ""
        kind = self.query_one("#client", Choice).value
        return client_snippet(kind, base_url=self._run.url, model=self._model or "MODEL")

    def action_copy(self) -> None:
        """Copy the snippet."""
        self.app.copy_to_clipboard(self._snippet)
        self.notify("copied; over SSH this needs a terminal that allows OSC 52", title="copied")

    # The server

    def action_stop(self) -> None:
        """End the server and everything it started."""
        if self._run is not None:
            self.notify("stopping the server; it may take half a minute")
            self._stop(self._run)

    @work(thread=True, group="stop")
    def _stop(self, run: Run) -> None:
        self.post_message(messages.Stopped(run.stop().how))

    @on(messages.Stopped)
    def _stopped(self, message: messages.Stopped) -> None:
        self.notify(f"the server is gone ({message.how})")
        self.answers = dataclasses.replace(self.answers, run_id=None)
        self._trouble = "the server was stopped"
        self._draw_server()

    @on(messages.Refused)
    def _refused(self, message: messages.Refused) -> None:
        self._checking = ""
        self._trouble = str(message.error)
        self.say_refused(message.error)
        self._draw_server()
        self._draw_smoke()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what the view can do stands in the footer."""
        views = {"verify": ("checks",), "keep": ("measured",), "copy": ("client",), "next": ("chat",)}
        if action in views:
            return self._view in views[action]
        return super().check_action(action, parameters)
