"""Step 4: the exact command; it can be edited, and is read back before it is believed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static, TextArea

from hw_specs import M35Error
from planner import EMITTERS, Deployment, Plan, emit, serve_command
from planner.planning.request import in_options
from planner.rendering.argv import read_command
from planner.rendering.emitters.shell import command_lines
from planner.rendering.headline import headline
from planner.rendering.sheet.content import sheet
from planner.rendering.sheet.markdown import markdown
from planner.rendering.sheet.page import html
from tui.backend import Backend
from tui.links import step_line
from tui.screens.dialogues import AskText
from tui.screens.step import StepScreen
from tui.widgets.about import flag_lines
from tui.widgets.fields import Choice
from tui.widgets.plan_side import PlanSide
from tui.wizard import Answers, Step

LOCAL = "shell"
PAGES = {"markdown": "the plan as a page for pull requests and tickets", "html": "the plan as one file to share"}
TARGETS = {**EMITTERS, **PAGES}
SUFFIXES = {
    "shell": "sh", "docker": "sh", "env": "env", "argv": "txt", "systemd": "service", "markdown": "md", "html": "html",
}  # fmt: skip
"""File suffix of each target; what is not here is YAML."""
LETTERS = ("edit", "copy", "copy_line", "save", "reset", "turn", "next", "warnings", "leave", "help")
"""What keys do that are text while a command is edited."""


class CommandScreen(StepScreen):
    """The command for one target, editable for the local one."""

    STEP: ClassVar[Step] = Step.COMMAND
    HELP_TEXT: ClassVar[str] = (
        "Exactly what will run. Left and right switch between targets. `i` edits the local command: every change is "
        "parsed and planned again, and refused with a reason where the engine or the planner would not accept it. "
        "Flags that do not affect memory are kept as you typed them."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "target", key_display="←→"),
        Binding("right", "turn(1)", "target", show=False),
        Binding("i", "edit", "edit"),
        Binding("r", "reset", "as planned"),
        Binding("c", "copy", "copy"),
        Binding("s", "save", "save"),
    ]

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self._refusal: M35Error | None = None
        self._editing = False

    def compose_body(self) -> ComposeResult:
        """Target and text at the left, what it amounts to at the right."""
        with Horizontal():
            with Vertical(classes="question wide"):
                with Horizontal(classes="titled"):
                    yield Choice(tuple(TARGETS), value=LOCAL, id="target")
                    yield Static(id="target-help", classes="note", markup=False)
                text = TextArea("", id="command", read_only=True, soft_wrap=True, show_line_numbers=False)
                text.cursor_blink = False
                yield text
                yield Static(id="read-back", markup=False)
                yield Static(id="flags")
            yield PlanSide(classes="answer narrow")

    def on_mount(self) -> None:
        """Write the command."""
        self.replan()
        self.show_answer(self.answer)
        self.query_one("#target").focus()

    def on_resize(self) -> None:
        """Break the lines anew; what is being edited stays as it is typed."""
        self.call_after_refresh(self._redraw if self._editing else self._write)

    def own_line(self) -> str:
        """The command line that prints what is shown."""
        return step_line(self.answers, self.STEP, shown=self.feasible_plan, target=self._target)

    @property
    def _target(self) -> str:
        return self.query_one("#target", Choice).value

    def _write(self) -> None:
        """Render the command of the current target."""
        area = self.query_one("#command", TextArea)
        self.show_line()
        self.query_one("#target-help", Static).update(TARGETS[self._target])
        self.show_answer(self._refusal or self.answer)
        if not isinstance(self.answer, Plan):
            area.text = ""
            return
        with self.prevent(TextArea.Changed):
            edited = self.answers.edited
            planned = serve_command(self.answer, port=self.answers.port)
            argv, env = (edited.argv, dict(edited.env)) if edited else (planned.argv, planned.env)
            if self._target in PAGES:
                area.text = self._page()
            elif self._target == LOCAL:
                area.text = command_lines(argv, env, width=max(40, area.wrap_width or 48))
            else:
                try:
                    area.text = emit(
                        self._target, self.answer, Deployment(port=edited.port if edited else self.answers.port)
                    )
                except M35Error as refusal:
                    area.text = f"{refusal}\n{refusal.hint or ''}"
        self._say()

    def _redraw(self) -> None:
        """Draw what stands around the text."""
        self.show_answer(self._refusal or self.answer)
        self._say()

    def show_answer(self, answer: Plan | M35Error | None) -> None:
        """Draw a plan, and in a large terminal what its sizes mean."""
        super().show_answer(answer)
        flags = self.query_one("#flags", Static)
        if flags.display and isinstance(answer, Plan):
            flags.update(Content("\n").join(flag_lines(answer, width=max(40, flags.content_size.width))))

    def _page(self) -> str:
        """The plan as a page."""
        assert isinstance(self.answer, Plan)
        page = sheet(self.answer)
        return markdown(page) if self._target == "markdown" else html(page)

    def _say(self) -> None:
        """What reading the text back brought."""
        line = self.query_one("#read-back", Static)
        line.set_class(self._refusal is not None, "refused")
        if self._refusal is not None:
            said, hint = in_options(self._refusal)
            line.update(f"✗ {said} ({hint})" if hint else f"✗ {said}")
        elif self.answers.edited is not None and isinstance(self.answer, Plan):
            kept = " ".join(self.answers.edited.unplanned)
            told = f"✓ read back as {self.answer.verdict}: {headline(self.answer)}"
            line.update(f"{told}; kept as typed: {kept}" if kept else told)
        elif self._target in PAGES:
            line.update("✓ `s` saves it, `c` copies it")
        elif self._target == LOCAL:
            line.update("✓ as planned; `i` edits it")
        else:
            line.update("✓ as planned; edit the local command and this one follows")

    @on(Choice.Changed, "#target")
    def _turned(self) -> None:
        self._write()

    def action_turn(self, by: int) -> None:
        """Show the next or the previous target."""
        if not self._editing:
            self.query_one("#target", Choice).action_turn(by)

    def action_edit(self) -> None:
        """Edit the local command."""
        self.query_one("#target", Choice).value = LOCAL
        self._write()
        area = self.query_one("#command", TextArea)
        area.read_only = False
        # Most who edit add a flag.
        area.move_cursor(area.document.end)
        self._editing = True
        self.set_class(True, "-editing")
        area.focus()
        self.refresh_bindings()

    @on(TextArea.Changed, "#command")
    def _edited(self) -> None:
        if self._editing:
            self._read_back(self.query_one("#command", TextArea).text)

    def _read_back(self, text: str) -> None:
        """Plan what was typed, or keep the reason why it cannot be."""
        if not isinstance(self.answer, Plan):
            return
        try:
            edited = read_command(text, plan=self.answer)
            planned = self.backend.plan(edited.request)
        except M35Error as refusal:
            self._refusal = refusal
        else:
            self._refusal = None
            self.answers = dataclasses.replace(self.answers, edited=edited)
            self.answer = planned
        self._redraw()

    def action_back(self) -> None:
        """Leave the editor first, then the step."""
        if not self._editing:
            super().action_back()
            return
        self._editing = False
        self.set_class(False, "-editing")
        self.query_one("#command", TextArea).read_only = True
        self.refresh_bindings()

    def action_next(self) -> None:
        """Go on when the text can be read."""
        if self._refusal is not None:
            self.say_refused(self._refusal)
        elif isinstance(self.answer, M35Error):
            self.say_refused(self.answer)
        else:
            super().action_next()

    def action_reset(self) -> None:
        """Throw the edit away."""
        self._refusal = None
        self.answers = dataclasses.replace(self.answers, edited=None)
        self.replan()
        self._write()

    def action_copy(self) -> None:
        """Put the text into the terminal's clipboard."""
        self.app.copy_to_clipboard(self.query_one("#command", TextArea).text)
        self.notify("over SSH this needs a terminal that allows OSC 52", title="copied")

    def action_save(self) -> None:
        """Ask for a file name and write the text there."""
        suffix = SUFFIXES.get(self._target, "yaml")
        self.app.push_screen(
            AskText("save as", value=f"m35-{self._target}.{suffix}", note="an existing file is replaced"), self._save
        )

    def _save(self, name: str | None) -> None:
        if not name:
            return
        text = self.query_one("#command", TextArea).text
        try:
            path = self.backend.save(Path(name), text)
        except M35Error as failure:
            self.say_refused(failure)
        else:
            self.notify(str(path), title="saved")

    def offers(self, action: str) -> bool:
        """While editing, letters are text."""
        if action == "save" and self.backend.readonly:
            return False
        return not self._editing or action not in LETTERS
