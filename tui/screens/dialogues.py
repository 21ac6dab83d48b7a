"""Small screens over a step: help, warnings, questions; each returns a plain value or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from hw_specs import M35Error
from planner import Plan
from planner.rendering import report
from planner.speed.answer import SpeedForecast
from tui.backend import Backend
from tui.forecasting import workload_for
from tui.widgets.about import explained
from tui.widgets.columns import Column, Row, fit
from tui.widgets.curve_plot import curve_lines
from tui.widgets.fields import Line
from tui.widgets.keys import Keys
from tui.widgets.table import Table

Result = TypeVar("Result")

TERRITORIES = {
    "measured": "this very case was measured",
    "near": "measured on such GPUs",
    "far": "measured on other GPUs only",
    "measured here": "corrected by a benchmark on this machine",
}
"""How close a forecast is to something measured, in words."""


class Dialogue(ModalScreen[Result | None]):
    """A box in the middle that Escape closes without a result."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "back")]

    def on_resize(self) -> None:
        """Lay everything out, at first and for another width."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Lay out what depends on the width."""

    def action_close(self) -> None:
        """Close without a result."""
        self.dismiss(None)

    def frame(self, title: str, *, wide: bool = False) -> Vertical:
        """The box; a wide one takes the width that the terminal has."""
        box = Vertical(classes="box wide-box" if wide else "box")
        box.border_title = title
        return box


class Help(Dialogue[None]):
    """What a step is for, and its keys."""

    def __init__(self, title: str, text: str, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._keys = keys

    def compose(self) -> ComposeResult:
        """The text above the keys."""
        with self.frame(self._title), VerticalScroll():
            yield Static(self._text, classes="prose", markup=False)
            lines = [
                Content.assemble((fit(key, 12, right=True), "bold $accent"), "  ", text) for key, text in self._keys
            ]
            everywhere = (("ctrl+p", "command palette: steps, themes, screenshots"), ("alt+1…6", "go to a step"))
            lines += [
                Content.assemble((fit(key, 12, right=True), "bold $accent"), "  ", text) for key, text in everywhere
            ]
            yield Static(Content("\n").join(lines))
        yield Keys()


class Warnings(Dialogue[None]):
    """Sentences in full."""

    def __init__(self, messages: Sequence[str], *, title: str = "warnings") -> None:
        super().__init__()
        self._messages = messages
        self._title = title

    def compose(self) -> ComposeResult:
        """One paragraph each."""
        with self.frame(self._title), VerticalScroll():
            for message in self._messages or ("nothing to warn about",):
                yield Static(message, classes="prose", markup=False)
        yield Keys()


class Choices(OptionList):
    """Answers of a question, with the keys that choose among them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "cursor_down", "choose", key_display="↑↓"),
        Binding("enter", "select", "take"),
    ]


class Ask(Dialogue[str]):
    """A question with a few answers; the first one is the default. Returns the key of the answer."""

    def __init__(self, question: str, answers: Sequence[tuple[str, str]], *, title: str) -> None:
        super().__init__()
        self._question = question
        self._answers = answers
        self._title = title

    def compose(self) -> ComposeResult:
        """The question above its answers."""
        with self.frame(self._title):
            yield Static(self._question, classes="prose", markup=False)
            yield Choices(*(Option(text, id=key) for key, text in self._answers), compact=True, markup=False)
        yield Keys()

    @on(OptionList.OptionSelected)
    def _answered(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)


class AskText(Dialogue[str]):
    """A line to type: a file name, a search."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "next", "take", show=False)]

    def __init__(self, title: str, *, value: str = "", note: str = "") -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._note = note

    def compose(self) -> ComposeResult:
        """The line and what it is for."""
        with self.frame(self._title):
            if self._note:
                yield Static(self._note, classes="prose", markup=False)
            yield Line(self._value)
        yield Keys()

    def action_move(self, by: int) -> None:
        """One line has nowhere to go."""

    def action_next(self) -> None:
        """Take what was typed."""
        self.dismiss(self.query_one(Line).value)


class Explain(Dialogue[None]):
    """The whole ledger, and one line of it with formula, bounds and source."""

    def __init__(self, plan: Plan, *, name: str = "kv_cache") -> None:
        super().__init__()
        self._plan = plan
        self._rows = report.ledger_rows(plan)
        names = [row.name for row in self._rows]
        self._start = names.index(name) if name in names else 0

    def compose(self) -> ComposeResult:
        """Lines above, the explanation of the current one below."""
        with self.frame("one GPU, line by line", wide=True):
            yield Table(
                Column(""),
                Column("GiB", right=True),
                Column("low", right=True),
                Column("high", right=True),
                Column("basis"),
                id="ledger",
            )
            with VerticalScroll(id="explanation"):
                yield Static(id="explained")
        yield Keys()

    def on_mount(self) -> None:
        """Draw the lines."""
        table = self.query_one("#ledger", Table)
        table.show(
            [Row(cells=(row.label, row.gib, row.low, row.high, row.basis)) for row in self._rows], cursor=self._start
        )
        table.rows_widget.focus()

    @on(Table.Moved, "#ledger")
    def draw(self) -> None:
        """Explain the line under the cursor."""
        box, index = self.query_one("#explained", Static), self.query_one("#ledger", Table).cursor or 0
        lines = explained(self._plan, self._rows[index].name, width=box.content_size.width or 70)
        box.update(Content("\n").join(lines))

    def action_next(self) -> None:
        """Enter closes too."""
        self.dismiss(None)


class Curve(Dialogue[None]):
    """How the context falls, and what speed to expect, as more requests are held at once."""

    class Forecast(Message):
        """A forecast for so many requests in flight, or why there is none."""

        def __init__(self, concurrency: int, forecast: SpeedForecast | M35Error) -> None:
            self.concurrency = concurrency
            self.forecast = forecast
            super().__init__()

    def __init__(self, plan: Plan, *, backend: Backend, load: Mapping[str, Any]) -> None:
        super().__init__()
        self._plan = plan
        self._backend = backend
        # Each point is a number of requests in flight; a rate would say it twice.
        self._load = {name: value for name, value in load.items() if name != "request_rate"}
        self._points = backend.curve(plan)
        self._speeds: dict[int, SpeedForecast] = {}
        self._note = "forecasting the speed …"

    def compose(self) -> ComposeResult:
        """The plot."""
        with self.frame("context and speed against concurrency", wide=True):
            yield Static(id="curve")
            yield Static(
                "tokens each: the longest context per request with that many full-length requests in the KV cache, "
                "every uncertain term at its worst",
                classes="prose",
            )
            yield Static(id="speed-note", classes="note", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        """Forecast beside what is drawn."""
        self._forecast()

    @work(thread=True, exclusive=True)
    def _forecast(self) -> None:
        worker = get_current_worker()
        for point in self._points:
            if worker.is_cancelled or not point.max_model_len:
                return
            try:
                load = workload_for(self._load, point.concurrency)
                found: SpeedForecast | M35Error = self._backend.speed(self._plan, load)
            except M35Error as refusal:
                found = refusal
            self.post_message(self.Forecast(point.concurrency, found))

    @on(Forecast)
    def _forecast_seen(self, message: Forecast) -> None:
        if isinstance(message.forecast, M35Error):
            self._note = f"no forecast: {message.forecast}"
        else:
            self._speeds[message.concurrency] = message.forecast
            self._note = (
                f"tokens/s and ms/token: forecast for {message.forecast.workload.lengths_in_words}, low to high; "
                f"{TERRITORIES[message.forecast.territory]}"
            )
        self.draw()

    def draw(self) -> None:
        """One bar per point."""
        plot = self.query_one("#curve", Static)
        lines = curve_lines(self._points, speeds=self._speeds, width=plot.content_size.width)
        plot.update(Content("\n").join(lines))
        self.query_one("#speed-note", Static).update(self._note)
