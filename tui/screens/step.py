"""What the six steps share: frame, keys and how they end; it knows no step in particular."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker

from hw_specs import M35Error
from planner import Plan
from planner.planning.request import in_options
from planner.serve import Run
from tui import watching
from tui.backend import Backend
from tui.links import step_line
from tui.screens.dialogues import Help, Warnings
from tui.screens.told import HearingScreen
from tui.widgets.keys import Keys
from tui.widgets.own_line import OwnLine
from tui.widgets.plan_side import PlanSide
from tui.widgets.step_bar import StepBar
from tui.wizard import Answers, Move, Step, effective_request

MIN_WIDTH, MIN_HEIGHT = 80, 24
QUIET = ("warnings", "leave", "copy_line", "prefix", "copy", "find(1)", "find(-1)")
"""Actions that the footer has no room for and the help names."""
WIDE, VAST, TALL, HIGH = 110, 160, 34, 50
"""Columns and rows from which a screen has room for more: the sizes people have are 80, 120 and 200 columns."""
MAC_KEYS = (
    "inverted_exclamation_mark", "trade_mark_sign", "pound_sign", "cent_sign", "infinity", "section_sign",
)  # fmt: skip
"""What Textual makes of Escape followed by 1 to 6, which is how most terminals send Alt and a digit."""


class StepScreen(HearingScreen[Move]):
    """One step of the wizard."""

    STEP: ClassVar[Step]
    HELP_TEXT: ClassVar[str] = ""
    LINE_KEY: ClassVar[str] = "y"
    """What copies the command line; letters are text where there are lines to type in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", "next"),
        Binding("escape", "back", "back"),
        Binding("question_mark,f1", "help", "help", key_display="?"),
        Binding("w", "warnings", "warnings", show=False),
        # Where letters are text, Ctrl-Y does it.
        Binding("y,ctrl+y", "copy_line", "copy line", show=False),
        Binding("q", "leave", "quit", show=False),
        *(
            Binding(f"alt+{number},{MAC_KEYS[number - 1]}", f"go('{step.value}')", step.label, show=False)
            for number, step in enumerate(Step, 1)
        ),
    ]

    class Leaving(Message):
        """The wizard is to end; the step stays until that is sure."""

        def __init__(self, screen: StepScreen) -> None:
            self.screen = screen
            super().__init__()

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__()
        self.answers = answers
        self.backend = backend
        self.answer: Plan | M35Error | None = None
        """The plan as it stands, or why there is none."""
        self._focus_before: Widget | None = None
        """What had the keys before the terminal became too small."""

    def compose(self) -> ComposeResult:
        """Steps at the top, keys at the bottom, the step itself between them."""
        yield StepBar(self.STEP, answers=self.answers)
        yield OwnLine(self.LINE_KEY)
        with Container(id="body"):
            yield from self.compose_body()
        yield Static(id="too-small")
        yield Keys(palette=True)

    def compose_body(self) -> ComposeResult:
        """Everything between the two bars."""
        yield from ()

    def look_every(self, seconds: float | None, look: Callable[[], Worker[None]]) -> None:
        """Look now and every so many seconds, None is once; one look that takes long is the only one under way."""
        worker = look()

        def again() -> None:
            nonlocal worker
            if worker.is_finished:
                worker = look()

        if seconds:
            self.set_interval(seconds, again)

    def replan(self) -> None:
        """Ask the planner again; a refusal is an answer too."""
        try:
            self.answer = self.backend.plan(effective_request(self.answers)) if self.answers.request else None
        except M35Error as refusal:
            self.answer = refusal
        self.show_line()
        bar = self.query_one(StepBar)
        bar.answers = self.answers
        if isinstance(self.answer, Plan):
            bar.note = "read only" if self.backend.readonly else f"vLLM {self.answer.vllm_version}"

    def own_line(self) -> str:
        """The command line that does what this step shows."""
        return step_line(self.answers, self.STEP, shown=self.feasible_plan)

    def show_line(self) -> None:
        """Draw the command line of this step."""
        self.query_one(OwnLine).line = self.own_line()

    def action_copy_line(self) -> None:
        """Put the command line of this step into the terminal's clipboard, and show it whole."""
        line = self.own_line()
        if line:
            self.app.copy_to_clipboard(line)
            self.notify(f"{line}\n(over SSH this needs a terminal that allows OSC 52)", title="copied", markup=False)

    def show_answer(self, answer: Plan | M35Error | None) -> None:
        """Draw a plan at the side, or why there is none; ledger and curve where there is room for them."""
        self.query_one(PlanSide).show(answer, self.backend.curve, self.backend.levers)

    @property
    def feasible_plan(self) -> Plan | None:
        """The plan, when there is one that fits."""
        return self.answer if isinstance(self.answer, Plan) and self.answer.feasible else None

    def leave_to(self, move: Move) -> None:
        """End this step."""
        self.dismiss(move)

    def action_next(self) -> None:
        """Go on to the following step."""
        self.leave_to(Move(to="next", answers=self.answers))

    def action_back(self) -> None:
        """Go to the step before; the first one asks whether to quit."""
        if self.STEP is Step.GPUS:
            self.action_leave()
        else:
            self.leave_to(Move(to="back", answers=self.answers))

    def action_go(self, step: str) -> None:
        """Go to any step that can be entered."""
        if Step(step) is not self.STEP:
            self.leave_to(Move(to=Step(step), answers=self.answers))

    def action_leave(self) -> None:
        """Quit the wizard; a running server is asked about."""
        self.post_message(self.Leaving(self))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Where nothing of a step can be seen, nothing of it can be done but to quit."""
        return action == "leave" if self.has_class("-too-small") else self.offers(action)

    def offers(self, action: str) -> bool:  # noqa: ARG002 - a step says what of its own makes no sense now
        """Whether `action` makes sense now."""
        return True

    def action_help(self) -> None:
        """Say what this step is for and which keys it has."""
        self.app.push_screen(Help(self.STEP.label, self.HELP_TEXT, self.keys_now(quiet=QUIET)))

    def action_warnings(self) -> None:
        """Show the plan's warnings in full."""
        if isinstance(self.answer, Plan):
            self.app.push_screen(Warnings(tuple(warning.message for warning in self.answer.warnings)))

    def say_refused(self, error: M35Error) -> None:
        """Show an expected failure without leaving the step."""
        said, hint = in_options(error)
        self.notify(hint, title=said, severity="error", timeout=8)

    @on(Resize)
    def _measure(self, event: Resize) -> None:
        small = event.size.width < MIN_WIDTH or event.size.height < MIN_HEIGHT
        if small and not self.has_class("-too-small"):
            self._focus_before = self.focused
        elif not small and self.has_class("-too-small") and self._focus_before is not None:
            # A hidden widget loses the keys; typing must not become commands.
            self.call_after_refresh(self._focus_before.focus)
        if small != self.has_class("-too-small"):
            self.set_class(small, "-too-small")
            self.refresh_bindings()
        self.set_class(event.size.width >= WIDE, "-wide")
        self.set_class(event.size.width >= VAST, "-vast")
        self.set_class(event.size.height >= TALL, "-tall")
        self.set_class(event.size.height >= HIGH, "-high")
        self.draw_below()
        if small:
            self.query_one("#too-small", Static).update(
                f"this terminal is {event.size.width} × {event.size.height}\n\n"
                f"the wizard needs {MIN_WIDTH} × {MIN_HEIGHT}: make the window larger or the font smaller\n\n"
                "your answers are kept; q quits"
            )


class ServerStep(StepScreen):
    """A step about a running server, which it can stop."""

    @property
    def run(self) -> Run | None:
        """The server; None while there is none."""
        raise NotImplementedError

    def action_stop(self) -> None:
        """End the server and everything it started."""
        if self.run is not None:
            self.notify("stopping the server; it may take half a minute")
            self._stop(self.run)

    @work(thread=True, group="stop")
    def _stop(self, run: Run) -> None:
        watching.stop_server(self.backend, run, post=self.tell)
