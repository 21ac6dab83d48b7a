"""Step 1: which GPUs; those of this machine, or any of the catalogue."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from hw_specs import DetectionReport, GpuSet, M35Error, get_gpu, parse_gpus
from hw_specs.catalog import find_gpus
from hw_specs.gpu_set import split_counts
from hw_specs.units import format_gib, parse_memory
from planner import Plan, PlanRequest
from tui.backend import Backend
from tui.news import CountsPlanned, GpusSeen, News
from tui.screens.pick_gpus import PickGpus
from tui.screens.review import ReviewScreen
from tui.screens.step import StepScreen
from tui.widgets.about import count_lines, gpu_lines
from tui.widgets.catalogue import CATALOGUE, gpu_row, nearest
from tui.widgets.columns import Row
from tui.widgets.detected import detected_lines
from tui.widgets.fields import Choice, Line
from tui.widgets.plan_side import PlanSide
from tui.widgets.table import Table
from tui.wizard import Answers, Move, Step, effective_request, with_request

COUNTS = tuple(str(number) for number in (1, 2, 4, 8, 16))
NODES = tuple(str(number) for number in range(1, 17))
HERE = "this machine"
NOT_LISTED = "plan a card that is not listed as the closest one that is: choose that and enter the card's memory"
TIPS = {
    "#search": "a part of a GPU's name, or nodes x GPUs x name, such as 2x8xB200",
    "#count": "GPUs of one node",
    "#nodes": "nodes with as many GPUs each",
    "#memory": "memory of one GPU as the engine sees it, such as 130GiB, where it differs from the catalogue",
    "#catalogue": "memory of one GPU as the engine sees it, and what links the GPUs of a node",
}
"""What stands beside the pointer."""


class GpusScreen(StepScreen):
    """What was detected, live, and a searchable catalogue."""

    STEP: ClassVar[Step] = Step.GPUS
    LINE_KEY: ClassVar[str] = "^y"
    HELP_TEXT: ClassVar[str] = (
        "Which GPUs is the plan for? The first row is this machine as its driver reports it, refreshed every few "
        "seconds. The catalogue is below: type part of a name, or a whole set such as 8xH200 or 2x8xB200 (nodes × "
        "GPUs × name). The plan on the right updates with every key. Ctrl-O starts from a command or a file that you "
        "already have."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "choose", key_display="↑↓"),
        Binding("up", "move(-1)", "choose", show=False),
        Binding("tab", "app.focus_next", "fields"),
        Binding("ctrl+g,f3", "pick", "pick GPUs", key_display="^g"),
        Binding("ctrl+o,f2", "review", "I have a command", key_display="^o"),
    ]

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self._here: GpuSet | None = None
        self._report: DetectionReport | None = None
        """What was seen of this machine last."""
        self._picked: tuple[str, ...] = ()
        """Labels of the GPUs that were picked by hand; empty is every usable one."""
        self._found: list[str] = []
        """What each row stands for: HERE or a catalogue id."""
        self._problem: M35Error | None = None
        self._wanted = answers.request.gpus.count if answers.request else 8
        """GPUs of a node as a person said; a product whose nodes hold fewer shows fewer."""
        self._chosen = answers.request is not None
        """Whether a person chose; until then the GPUs of this machine are."""

    def compose_body(self) -> ComposeResult:
        """Machine, search, list and counts at the left, the plan at the right."""
        gpus = self.answers.request.gpus if self.answers.request else None
        with Horizontal():
            with Vertical(classes="question"):
                yield Static("this machine", classes="title")
                yield Static("looking for GPUs …", id="detected")
                with Horizontal(classes="titled"):
                    yield Static("catalogue", classes="title")
                    yield Static("GPUs", classes="label")
                    yield Choice(COUNTS, value=str(self._wanted), id="count")
                    yield Static("nodes", classes="label")
                    yield Choice(NODES, value=str(gpus.nodes if gpus else 1), id="nodes")
                with Horizontal(classes="titled"):
                    yield Line(placeholder="a name, or 8xH200", id="search")
                    yield Static("memory", classes="label")
                    yield Line(placeholder="as listed", id="memory")
                yield Static(id="nothing-found", classes="note", markup=False)
                yield Table(*CATALOGUE, id="catalogue")
                yield Static(id="gpu-counts")
                yield Static(id="gpu-about")
            yield PlanSide(classes="answer")

    def on_mount(self) -> None:
        """Fill the list and start looking."""
        for name, tip in TIPS.items():
            self.query_one(name).tooltip = tip
        self._fill()
        self._choose_current()
        self.query_one("#search").focus()
        self.look_every(self.backend.detect_every_s, self._look)

    @work(thread=True, group="detect")
    def _look(self) -> None:
        self.tell(GpusSeen(self.backend.detect()))

    def hear(self, news: News) -> None:
        """Show what the probe saw; the first GPUs of this machine are chosen by themselves."""
        if isinstance(news, CountsPlanned):
            counts = self.query_one("#gpu-counts", Static)
            lines = count_lines(news.plans, width=max(40, counts.content_size.width))
            counts.update(Content("\n").join(lines))
        if not isinstance(news, GpusSeen):
            return
        self._report = news.report
        report = news.report.only(self._picked) if self._picked else news.report
        self._here = report.gpu_set
        self._draw_detected()
        self._fill()
        if self._here is not None and not self._chosen:
            self._chosen = True
            self._pick(HERE)
        self.refresh_bindings()

    def _draw_detected(self) -> None:
        """The GPUs of this machine, as many as a third of the screen has room for."""
        detected = self.query_one("#detected", Static)
        if self._report is not None:
            width, height = max(20, detected.content_size.width or 40), max(8, self.size.height // 3)
            detected.update(Content("\n").join(detected_lines(self._report, width=width, height=height)))

    def show_answer(self, answer: Plan | M35Error | None) -> None:
        """Draw a plan; in a large terminal also its GPU, and other numbers of it."""
        super().show_answer(answer)
        self.call_after_refresh(self._show_about)

    def on_resize(self) -> None:
        """There may be room for more now."""
        self.call_after_refresh(self._draw_detected)
        self.call_after_refresh(self._show_about)

    def _show_about(self) -> None:
        about = self.query_one("#gpu-about", Static)
        if not about.display or self.answers.request is None:
            return
        width = max(40, about.content_size.width)
        about.update(Content("\n").join(gpu_lines(self.answers.request.gpus.spec, width=width)))
        self._plan_counts(effective_request(self.answers))

    @work(thread=True, exclusive=True, group="counts")
    def _plan_counts(self, request: PlanRequest) -> None:
        """Plan as many and as few of the same GPUs as nodes hold."""
        worker, gpus, plans = get_current_worker(), request.gpus, []
        counts = sorted({gpus.count, *(int(word) for word in COUNTS if int(word) <= gpus.spec.max_gpus_per_node)})
        for count in counts:
            # No probe saw other numbers of these GPUs, and another layout is open to them.
            other = gpus if count == gpus.count else GpuSet(
                spec=gpus.spec, count=count, nodes=gpus.nodes, memory_override_bytes=gpus.memory_override_bytes
            )  # fmt: skip
            try:
                plans.append(self.backend.plan(dataclasses.replace(request, gpus=other).with_layout(None)))
            except M35Error:
                continue
            if worker.is_cancelled:
                return
        self.tell(CountsPlanned(tuple(plans)))

    @on(Input.Changed, "#search")
    def _searched(self, event: Input.Changed) -> None:
        nodes, count, _ = split_counts(event.value)
        for field, number in (("#nodes", nodes), ("#count", count)):
            choice = self.query_one(field, Choice)
            if number is not None and number > 0:
                if str(number) not in choice.words:
                    choice.words = (*choice.words, str(number))
                choice.value = str(number)
        self._wanted = count or self._wanted
        # A refusal that was told is answered, and stands over the list.
        self.app.clear_notifications()
        self._fill()
        if not event.value.strip():
            return
        self._chosen = True
        names = [row for row in self._found if row != HERE]
        if names:
            self._pick(nearest(split_counts(event.value)[2], names))
        else:
            self._refuse(event.value)

    def _refuse(self, typed: str) -> None:
        """Say that nothing is called so; what was chosen before does not answer it."""
        try:
            parse_gpus(typed)
        except M35Error as refusal:
            near = [part for part in (refusal.hint or "").split("; ") if part.startswith("the nearest")]
            self._problem = M35Error(str(refusal), hint="; ".join([*near, NOT_LISTED]))
            self.show_line()
            self.show_answer(self._problem)

    @on(Input.Changed, "#memory")
    def _sized(self) -> None:
        self._counted()

    @on(Table.Moved, "#catalogue")
    def _moved(self, event: Table.Moved) -> None:
        self._chosen = True
        self._pick(self._found[event.index])

    @on(Choice.Changed, "#count")
    def _turned(self) -> None:
        self._wanted = int(self.query_one("#count", Choice).value)

    @on(Choice.Changed)
    def _counted(self) -> None:
        cursor = self.query_one("#catalogue", Table).cursor
        if cursor is not None and self._found[cursor] == HERE and len(self._found) > 1:
            cursor = 1
        if cursor is not None:
            self._pick(self._found[cursor])

    def action_pick(self) -> None:
        """Choose among the GPUs of this machine."""
        if self._report is not None and self._report.gpus:
            chosen = self._picked or tuple(gpu.label for gpu in self._report.selection.chosen)
            self.app.push_screen(PickGpus(self._report, chosen), self._picked_by_hand)

    def _picked_by_hand(self, labels: tuple[str, ...] | None) -> None:
        if labels is None or self._report is None:
            return
        self._picked = labels
        gpus = self._report.only(labels).gpu_set
        # Those are planned on that were picked, whoever holds them.
        self._here = gpus and dataclasses.replace(gpus, unheld=None)
        if self._here is None:
            self._picked = ()
            self.notify("none of them can be used", severity="error")
            return
        self._chosen = True
        self._fill()
        self._pick(HERE)

    def offers(self, action: str) -> bool:
        """There is something to pick once GPUs are seen."""
        return action != "pick" or (self._report is not None and bool(self._report.gpus))

    def own_line(self) -> str:
        """The command line that says the same; none where nothing can be planned for what stands here."""
        return "" if self._problem is not None else super().own_line()

    def action_review(self) -> None:
        """Begin with a command or a file that exists already."""
        request = self.answers.request
        gpus = request.gpus if request is not None and self._chosen else None
        self.app.push_screen(ReviewScreen(backend=self.backend, gpus=gpus), self._reviewed)

    def _reviewed(self, answers: Answers | None) -> None:
        if answers is not None:
            self.leave_to(Move(to=Step.COMMAND, answers=answers))

    def action_move(self, by: int) -> None:
        """Move through the list from anywhere on the screen."""
        self.query_one("#catalogue", Table).move(by)

    def action_next(self) -> None:
        """Go on once there are GPUs."""
        if self.answers.request is None or self._problem is not None:
            self.say_refused(self._problem or M35Error("no GPUs are chosen", hint="choose a row of the catalogue"))
        else:
            super().action_next()

    def _limit_count(self, most: int) -> None:
        """A count that was not typed gives way to what a node of this product holds."""
        choice = self.query_one("#count", Choice)
        if split_counts(self.query_one("#search", Line).value)[1] is None:
            choice.value = max((word for word in choice.words if int(word) <= min(most, self._wanted)), key=int)

    def _fill(self) -> None:
        """List what the search leaves, this machine first."""
        text = split_counts(self.query_one("#search", Line).value)[2]
        table = self.query_one("#catalogue", Table)
        current = self._current()
        rows, self._found = [], []
        if self._here is not None and not text:
            memory = format_gib(self._here.memory_bytes, decimals=1)
            rows.append(Row(cells=(f"{HERE}: {self._here}", memory, "detected"), style="bold"))
            self._found.append(HERE)
        for spec in find_gpus(text):
            rows.append(gpu_row(spec))
            self._found.append(spec.id)
        table.show(rows, cursor=self._found.index(current) if current in self._found else None)
        nothing = self.query_one("#nothing-found", Static)
        nothing.display = not rows
        nothing.update(f"no GPU of the catalogue is called `{text}`")

    def _current(self) -> str | None:
        """The row that the answers stand for."""
        if self.answers.request is None:
            return None
        gpus = self.answers.request.gpus
        return HERE if gpus.origin == "detected" else gpus.spec.id

    def _choose_current(self) -> None:
        if self.answers.request is None:
            self._pick("h200-sxm" if "h200-sxm" in self._found else self._found[0])
        self.replan()
        self.show_answer(self._problem or self.answer)

    def _pick(self, row: str) -> None:
        """Plan for a row with the counts beside it."""
        self._problem = None
        try:
            gpus = self._here if row == HERE and self._here is not None else self._named(row)
            old = self.answers.request
            request = dataclasses.replace(old, gpus=gpus) if old else self._first_request(gpus)
            self.answers = with_request(self.answers, request)
        except M35Error as refusal:
            self._problem = refusal
        self.replan()
        self.show_answer(self._problem or self.answer)
        table = self.query_one("#catalogue", Table)
        if row in self._found and table.cursor != self._found.index(row):
            with self.prevent(Table.Moved):
                table.rows_widget.highlighted = self._found.index(row)

    def _first_request(self, gpus: GpuSet) -> PlanRequest:
        """What starts on this machine measured replaces our own terms from the beginning."""
        return PlanRequest(gpus=gpus, model=self.answers.model, calibrations=self.backend.calibrations())

    def _named(self, row: str) -> GpuSet:
        self._limit_count(get_gpu(row).max_gpus_per_node)
        count = self.query_one("#count", Choice).value
        nodes = self.query_one("#nodes", Choice).value
        memory = self.query_one("#memory", Line).value.strip()
        return parse_gpus(f"{nodes}x{count}x{row}", parse_memory(memory) if memory else None)
