"""Step 6: prove the server, compare it with the plan, watch it and talk to it; it draws a `Serving`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import ContentSwitcher, Static

from hw_specs import M35Error
from planner import Plan, Workload
from planner.memory.rank import Calibration
from planner.serve import Run
from planner.serve.verification.chat import Turn
from tui import news, watching
from tui.backend import Backend
from tui.remembering import WINDOWS_S, Remembered
from tui.screens.step import ServerStep
from tui.serving import Serving, take
from tui.views.chat import ChatView
from tui.views.client import ClientView
from tui.views.texts import BESIDE, Beside, ChecksView, DashboardView, MeasuredView
from tui.wizard import Answers, Step

View = ChecksView | MeasuredView | DashboardView | ChatView | ClientView
VIEWS: dict[str, type[View]] = {
    "checks": ChecksView,
    "measured": MeasuredView,
    "dashboard": DashboardView,
    "chat": ChatView,
    "client": ClientView,
}
FOCUS = {"chat": "#say", "client": "#client"}
"""What gets the keys in a view, where it is not the view itself."""


@runtime_checkable
class KeepsWindow(Protocol):
    """An application that remembers how much of the past is shown."""

    kept: Remembered

    def keep_window(self, window_s: int) -> None:
        """Remember it."""


class VerifyScreen(ServerStep):
    """Checks, predicted against measured, dashboard, chat and client snippets of one running server."""

    STEP: ClassVar[Step] = Step.VERIFY
    HELP_TEXT: ClassVar[str] = (
        "Does the server match the plan? The checks try everything that a client needs and report what they saw. "
        "`measured` compares the engine's figures with the plan, and `k` keeps them: later plans for these GPUs then "
        "use them. The other views watch the server, chat with it, and show how a client connects."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", "view", key_display="←→"),
        Binding("left", "turn(-1)", "view", show=False),
        *(Binding(str(number), f"view('{name}')", name, show=False) for number, name in enumerate(VIEWS, 1)),
        Binding("s", "stop", "stop"),
        Binding("q", "leave", "quit"),
    ]

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self.serving = Serving()

    def compose_body(self) -> ComposeResult:
        """The names of the views above one of them."""
        yield Static(id="views")
        yield Static(id="server", markup=False)
        with Horizontal(id="shown"):
            with ContentSwitcher(initial="view-checks"):
                for name, view in VIEWS.items():
                    yield view(id=f"view-{name}")
            yield Beside()

    def on_mount(self) -> None:
        """Find the server and begin to check it."""
        self.replan()
        if isinstance(self.app, KeepsWindow):
            self.serving = take(self.serving, news.WindowChosen(self.app.kept.window_s))
        self.action_view("dashboard" if self.backend.readonly else "checks")
        self._load()

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        watching.know_run(self.backend, self.answers.run_id or "latest", post=self.tell)

    @property
    def run(self) -> Run | None:
        """The server that is shown."""
        return self.serving.run

    def own_line(self) -> str:
        """The command line that shows this view."""
        watching_it = self.serving.view == "dashboard" and self.answers.run_id is not None
        return f"m35-plan watch {self.answers.run_id}" if watching_it else super().own_line()

    # News

    def hear(self, heard: news.News) -> None:
        """Take in one piece of news and draw it."""
        self.serving = take(self.serving, heard)
        match heard:
            case news.RunKnown():
                if not self.backend.readonly:
                    self.action_verify()
                self.look_every(self.backend.look_every_s, self.look)
            case news.MetricsRead():
                self._forecast_load()
            case news.Forecasted():
                self._forecast_load()
            case news.Verified():
                self._reread()
            case news.Asked():
                self.query_one(ChatView).clear_input()
                if self.serving.run is not None:
                    self._chat(self.serving.run.url, self.serving.model, self.serving.turns)
            case news.Stopped(how=how):
                self.notify(f"server stopped ({how})")
                self.answers = dataclasses.replace(self.answers, run_id=None)
            case news.Refused(error=error):
                self.say_refused(error)
            case _:
                pass
        if isinstance(heard, news.RunKnown | news.StartReported):
            self.refresh_bindings()
        self._draw()

    # Views

    def action_view(self, name: str) -> None:
        """Show one view."""
        self.serving = take(self.serving, news.ViewChosen(name))
        self.set_class(name not in BESIDE, "-alone")
        self.show_line()
        parts = []
        for number, view in enumerate(VIEWS, 1):
            if view == name:
                parts.append(Content.styled(f"[{view}]", "bold $accent"))
            else:
                parts.append(Content.from_markup(f" [@click=screen.view('{view}')]{number} {view}[/] "))
        self.query_one("#views", Static).update(Content(" ").join(parts))
        self.query_one(ContentSwitcher).current = f"view-{name}"
        self.query_one(FOCUS.get(name, f"#view-{name}")).focus()
        self.refresh_bindings()
        self.call_after_refresh(self._draw)

    def action_turn(self, by: int) -> None:
        """Show the next or the previous view."""
        names = list(VIEWS)
        self.action_view(names[(names.index(self.serving.view) + by) % len(names)])

    def on_resize(self) -> None:
        """Lay everything out for the new width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        serving = self.serving
        line = self.query_one("#server", Static)
        line.set_class(bool(serving.trouble), "refused")
        if serving.run is not None:
            told = f"{serving.run.url}   run {serving.run.id}"
            line.update(f"✗ {serving.trouble}" if serving.trouble else told)
        width = max(40, self.query_one(ContentSwitcher).content_size.width - 2)
        view: View = self.query_one(f"#view-{serving.view}", VIEWS[serving.view])
        view.show(serving, width=width)
        self.query_one(Beside).show(serving, width=width)

    # What can be done

    def action_verify(self) -> None:
        """Run the checks, from the beginning."""
        if self.serving.run is not None and not self.serving.checking:
            self.hear(news.VerifyBegun())
            self._verify(self.serving.run.url)

    @work(thread=True, exclusive=True, group="verify")
    def _verify(self, url: str) -> None:
        watching.verify_server(self.backend, url, self.serving.expected, post=self.tell)

    @work(thread=True, exclusive=True, group="load")
    def _reread(self) -> None:
        if self.serving.run is not None:
            self.tell(news.StartReported(self.backend.report_start(self.serving.run, None)))

    def action_keep(self) -> None:
        """Keep what the engine measured, for later plans."""
        record = self.serving.to_keep
        if not isinstance(record, Calibration):
            return
        try:
            self.backend.keep(record)
        except M35Error as refusal:
            self.say_refused(refusal)
            return
        request = self.answers.request
        if request is not None:
            request = dataclasses.replace(request, calibrations=(*request.calibrations, record))
            self.answers = dataclasses.replace(self.answers, request=request)
        self.notify(", ".join(record.terms), title="kept for later plans")

    @work(thread=True, group="look")
    def look(self) -> None:
        """Read the server's figures once."""
        if self.serving.run is not None:
            watching.look_at_server(self.backend, self.serving.run, post=self.tell)

    def _forecast_load(self) -> None:
        """Ask what the plan would show under the load that is there, once a load."""
        wanted = self.serving.to_forecast
        if wanted is not None:
            self.serving = take(self.serving, news.ForecastBegun())
            self._forecast(*wanted)

    @work(thread=True, exclusive=True, group="forecast")
    def _forecast(self, plan: Plan, load: Workload) -> None:
        watching.forecast_for(self.backend, plan, load, post=self.tell)

    def action_window(self) -> None:
        """Show another part of the past: a minute, ten, an hour."""
        following = {one: WINDOWS_S[(index + 1) % len(WINDOWS_S)] for index, one in enumerate(WINDOWS_S)}
        span_s = following.get(self.serving.span_s, WINDOWS_S[0])
        self.hear(news.WindowChosen(span_s))
        if isinstance(self.app, KeepsWindow):
            self.app.keep_window(span_s)

    @on(ChatView.Asked)
    def _asked(self, message: ChatView.Asked) -> None:
        if self.backend.readonly:
            self.notify("the wizard was started with --readonly", severity="warning")
        elif not self.serving.talking and self.serving.run is not None:
            self.hear(news.Asked(message.text))

    @work(thread=True, exclusive=True, group="talk")
    def _chat(self, url: str, model: str, turns: Sequence[Turn]) -> None:
        watching.chat_with_server(self.backend, url, model, turns, post=self.tell)

    def action_next(self) -> None:
        """There is no step after this one."""

    def offers(self, action: str) -> bool:
        """Nothing follows this step; whoever only looks asks nothing and ends nothing."""
        if self.backend.readonly and action in ("verify", "keep", "stop"):
            return False
        if action == "keep":
            # Offered where it can be done; the view says why it cannot.
            return isinstance(self.serving.to_keep, Calibration)
        return action != "next"
