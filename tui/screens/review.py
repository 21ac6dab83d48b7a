"""The other first step, "I have a command": a text, what is found in it beside it, cures one by one, and on."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, Static, TextArea

from hw_specs import GpuSet, M35Error, parse_gpus
from planner.review.findings import Finding, Review
from planner.review.fix import fixable
from tui import news
from tui.backend import Backend
from tui.reviewing import answers_of_server, cure, judge, read_artefact
from tui.screens.dialogues import AskText, Help
from tui.screens.told import HearingScreen
from tui.widgets.columns import Column, Row, wrapped
from tui.widgets.fields import Line
from tui.widgets.keys import Keys
from tui.widgets.table import Table
from tui.wizard import Answers

MARGIN = 16
"""Cells that stay free beside the place of a finding."""
CALM_S = 0.25
"""A text is judged when nothing was typed for so long."""
MARKS = {"error": "✗", "warn": "!", "info": "i"}
STYLES = {"error": "$text-error", "warn": "$text-warning", "info": "$secondary"}
VERDICTS = {
    "fits": ("✓ fits", "bold $text-success"),
    "tight": ("≈ tight", "bold $text-warning"),
    "does-not-fit": ("✗ does not start as it is", "bold $text-error"),
    "unknown": ("? not known", "bold $text-warning"),
}
HELP_TEXT = (
    "What do you have already? Paste it or open it: a `vllm serve` line, docker run, Compose, Kubernetes, Helm "
    "values, a unit, a script. Nothing in it is run. The findings are listed beside it; `f` fixes the one under the "
    "cursor where it is marked f, `a` applies every certain fix, and Enter continues with the server as a plan. "
    "Escape goes from the text to the findings, and from there back to the wizard."
)


class ReviewScreen(HearingScreen[Answers | None]):
    """A text at the left, findings at the right."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("ctrl+o", "open", "open"),
        Binding("f", "fix", "fix this"),
        Binding("a", "fix_all", "fix all"),
        Binding("s", "save", "save"),
        Binding("i", "edit", "edit text"),
        Binding("enter", "next", "continue"),
        Binding("question_mark,f1", "help", "help", key_display="?"),
    ]

    def __init__(self, *, backend: Backend, gpus: GpuSet | None, path: Path | None = None) -> None:
        super().__init__()
        self._backend = backend
        self._gpus = gpus
        """What the text is judged on; None is what it says itself."""
        self._path = path
        self._problem: M35Error | None = None
        """What is wrong with the GPUs that were typed."""
        self._calm: Timer | None = None
        self._findings: tuple[Finding, ...] = ()
        self.review: Review | None = None
        """What was found last."""

    def compose(self) -> ComposeResult:
        """A title, the text beside its findings, the keys."""
        yield Static(" m35   I have a command", id="review-title")
        with Horizontal(id="review-body"):
            with Vertical(classes="question"):
                with Horizontal(classes="titled"):
                    yield Static("text", classes="title")
                    yield Static("GPUs", classes="label")
                    yield Line(str(self._gpus or ""), placeholder="as it says", id="review-gpus")
                text = TextArea("", id="artefact", soft_wrap=False, show_line_numbers=True)
                text.cursor_blink = False
                yield text
            with Vertical(classes="answer"):
                yield Static("paste a command or a file on the left; Ctrl-O opens one", id="verdicts", markup=False)
                yield Table(Column("line", right=True), Column(""), Column("finding", flex=True), id="findings")
                with VerticalScroll(id="finding-scroll", can_focus=False):
                    yield Static(id="finding", markup=False)
        yield Keys(palette=True)

    def on_mount(self) -> None:
        """Read the file there is, and let people paste."""
        self.query_one("#artefact", TextArea).focus()
        if self._path is not None:
            self._load(str(self._path))

    def on_resize(self) -> None:
        """Lay everything out for the new width."""
        self.call_after_refresh(self._draw)
        self.draw_below()

    # News

    def hear(self, heard: news.News) -> None:
        """Take in what was found in a text, or what a fix changed in it."""
        if not isinstance(heard, news.Reviewed):
            return
        area = self.query_one("#artefact", TextArea)
        if heard.cured:
            with self.prevent(TextArea.Changed):
                area.text = heard.review.text
            if heard.cured > 0:
                self.notify(f"{heard.cured} fixed; the text was reviewed again")
            else:
                self.notify("this fix would not resolve the finding: it needs a person", severity="warning")
        elif heard.review.text != area.text:
            return
        self.review = heard.review
        self._draw()

    def _draw(self) -> None:
        review = self.review
        table = self.query_one("#findings", Table)
        box = self.query_one("#verdicts", Static)
        width = max(24, box.content_size.width or 30)
        if self._problem is not None:
            lines = wrapped(f"✗ {self._problem}", width=width, style="bold $text-error", indent="  ")
            box.update(Content("\n").join([*lines, *wrapped(self._problem.hint or "", width=width)]))
            return
        if review is None:
            return
        lines = []
        for server in review.servers:
            words, style = VERDICTS[server.verdict]
            name = " ".join(part for part in (server.kind, server.name, server.gpus or "") if part)
            together = Content.assemble((words, style), f"  {name}")
            lines += [together] if together.cell_length <= width else [Content.styled(words, style), Content(name)]
            lines += wrapped(server.reason, width=width, style="$secondary")[:2]
        box.update(Content("\n").join(lines or [Content.styled("no vLLM server found in this text", "$secondary")]))
        # A command is one line: what is worst in it stands first.
        self._findings = tuple(sorted(review.findings, key=lambda one: (one.line, list(MARKS).index(one.severity))))
        rows = [
            Row(
                cells=(str(one.line), MARKS[one.severity] + ("f" if fixable(one) else " "), one.message),
                style=STYLES[one.severity],
            )
            for one in self._findings
        ]
        cursor = min(table.cursor or 0, len(rows) - 1) if rows else None
        table.show(rows, cursor=cursor)
        self._explain(cursor)
        self.refresh_bindings()

    @on(Table.Moved, "#findings")
    def _moved(self, event: Table.Moved) -> None:
        self._explain(event.index)

    def _explain(self, index: int | None) -> None:
        box = self.query_one("#finding", Static)
        if index is None or index >= len(self._findings):
            box.update("✓ nothing to fix" if self.review is not None and self.review.servers else "")
            return
        one = self._findings[index]
        width = max(24, box.content_size.width or 30)
        lines = wrapped(one.message, width=width, style="bold")
        for label, told in (("fix", one.cure), ("why", one.why), ("source", one.source), ("code", one.code)):
            if told:
                lines += wrapped(
                    f"{label}: {told}", width=width, indent="  ", style="" if label == "fix" else "$secondary"
                )
        box.update(Content("\n").join(lines))
        area = self.query_one("#artefact", TextArea)
        if one.line and not area.has_focus:
            line, column = one.line - 1, max(0, one.column - 1)
            area.move_cursor((line, column))
            # Upright in the middle, and to the side only where the column would not be seen.
            y, x = line - area.size.height // 2, column - area.size.width + MARGIN
            area.scroll_to(max(0, x), max(0, y), animate=False)

    # What was typed

    @on(TextArea.Changed, "#artefact")
    @on(Input.Changed, "#review-gpus")
    def _typed(self) -> None:
        if self._calm is not None:
            self._calm.stop()
        self._calm = self.set_timer(CALM_S, self._judge_text)

    def _judge_text(self) -> None:
        text = self.query_one("#artefact", TextArea).text
        typed = self.query_one("#review-gpus", Line).value.strip()
        try:
            self._gpus = parse_gpus(typed) if typed else None
            self._problem = None
        except M35Error as refusal:
            self._problem = refusal
            self._draw()
            return
        if text.strip():
            self._judge(text, self._path.name if self._path else "", self._gpus)

    @work(thread=True, exclusive=True, group="review")
    def _judge(self, text: str, name: str, gpus: GpuSet | None) -> None:
        judge(self._backend, text, name, gpus, post=self.tell)

    @work(thread=True, exclusive=True, group="review")
    def _cure(self, review: Review, one: Finding | None, gpus: GpuSet | None) -> None:
        cure(self._backend, review, one, gpus, post=self.tell)

    # What can be done

    def action_fix(self) -> None:
        """Cure the finding under the cursor."""
        cursor = self.query_one("#findings", Table).cursor
        if self.review is not None and cursor is not None and cursor < len(self._findings):
            self._cure(self.review, self._findings[cursor], self._gpus)

    def action_fix_all(self) -> None:
        """Cure everything whose cure is sure."""
        if self.review is not None:
            self._cure(self.review, None, self._gpus)

    def action_open(self) -> None:
        """Ask for a file."""
        self.app.push_screen(AskText("open", value=str(self._path or ""), note="nothing in it is run"), self._load)

    def _load(self, name: str | None) -> None:
        if not name:
            return
        try:
            text = read_artefact(Path(name))
        except M35Error as failure:
            self.notify(failure.hint or "", title=str(failure), severity="error")
            return
        self._path = Path(name)
        self.query_one("#artefact", TextArea).text = text
        self.query_one("#findings", Table).rows_widget.focus()

    def action_save(self) -> None:
        """Ask for a name and write the text there."""
        name = str(self._path or "command.sh")
        self.app.push_screen(AskText("save as", value=name, note="an existing file is replaced"), self._save)

    def _save(self, name: str | None) -> None:
        if not name:
            return
        try:
            path = self._backend.save(Path(name), self.query_one("#artefact", TextArea).text)
        except M35Error as failure:
            self.notify(failure.hint or "", title=str(failure), severity="error")
        else:
            self.notify(str(path), title="saved")

    def action_edit(self) -> None:
        """Go to the text."""
        self.query_one("#artefact", TextArea).focus()

    def action_move(self, by: int) -> None:
        """The line of the GPUs has the findings below it."""
        self.query_one("#findings", Table).move(by)

    def action_back(self) -> None:
        """Leave the text for the findings, then the findings for the wizard."""
        rows = self.query_one("#findings", Table).rows_widget
        if isinstance(self.focused, TextArea | Line) and self._findings:
            rows.focus()
        else:
            self.dismiss(None)

    def action_next(self) -> None:
        """Go on with the first server that can be planned, the one under the cursor before others."""
        review = self.review
        if review is None or not review.servers:
            self.notify("there is no server to continue with", severity="warning")
            return
        cursor = self.query_one("#findings", Table).cursor
        named = self._findings[cursor].server if cursor is not None and cursor < len(self._findings) else ""
        servers = sorted(review.servers, key=lambda one: (f"{one.kind} {one.name}".strip() != named, one.plan is None))
        try:
            self.dismiss(answers_of_server(servers[0], review))
        except M35Error as refusal:
            self.notify(refusal.hint or "", title=str(refusal), severity="error")

    def action_help(self) -> None:
        """Say what this is for and which keys it has."""
        self.app.push_screen(Help("I have a command", HELP_TEXT, self.keys_now()))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a text is typed, letters are text."""
        if action in ("fix", "fix_all", "save", "edit", "next") and isinstance(self.focused, TextArea | Line):
            return False
        if action == "save" and self._backend.readonly:
            return False
        return super().check_action(action, parameters)
