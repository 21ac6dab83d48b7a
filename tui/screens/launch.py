"""Step 5: check, start and watch a server, and cure a start that fails; it never parses a log itself."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from hw_specs import M35Error
from planner import Plan
from planner.serve import CheckResult as SmokeResult
from planner.serve import Conclusion, RehearsalReport, Run, StartProgress, expected_durations
from planner.serve.log.events import ServerEnded, ServerReady, TimedOut
from planner.serve.preflight import CheckResult
from planner.serve.preflight.start_order import LaunchOrder, docker_order, local_order
from planner.serve.process.launcher import new_run_id
from planner.state import history_path, read_records
from tui import messages, watching
from tui.backend import Backend
from tui.screens.cures import Cure, cures
from tui.screens.dialogues import Ask, AskText
from tui.screens.step import StepScreen
from tui.widgets.checks import check_lines, summary, tally
from tui.widgets.columns import Column, Row
from tui.widgets.diagnosis import diagnosis_lines
from tui.widgets.log_view import LogView
from tui.widgets.memory import MemoryFill
from tui.widgets.phases import phase_lines
from tui.widgets.plan_panel import wrapped
from tui.widgets.step_bar import StepBar
from tui.widgets.table import RetryRows, Table
from tui.wizard import Answers, Step

State = Literal["checking", "checked", "starting", "ready", "failed", "stopped", "rehearsing", "rehearsed"]

STAGES = {
    "twin": "making a twin of the model, a few MiB with the same architecture",
    "start": "starting the engine on it",
    "checks": "checking what it answers",
    "stop": "stopping it",
}


class LaunchScreen(StepScreen):
    """Preflight, start-up phases, live log, memory; on failure the diagnosis and its cures."""

    STEP: ClassVar[Step] = Step.LAUNCH
    HELP_TEXT: ClassVar[str] = (
        "First this machine is looked at; nothing is started before you say so. `l` starts the server: it outlives "
        "the wizard and is found again. `h` rehearses instead: the same engine and flags on a tiny twin of the model, "
        "no download, stopped again after its checks. A start that fails is explained, and `r` tries again with the "
        "change under the cursor."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "launch", "launch"),
        Binding("h", "rehearse", "rehearse"),
        Binding("t", "target", "target"),
        Binding("r", "retry", "retry"),
        Binding("s", "stop", "stop"),
        Binding("o", "full_log", "log only"),
        Binding("d", "detach", "detach"),
    ]

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self._state: State = "checking"
        self._docker = False
        self._results: list[CheckResult] = []
        self._smoke: list[SmokeResult] = []
        self._run: Run | None = None
        self._progress = StartProgress()
        self._at_s = 0.0
        self._conclusion: Conclusion | None = None
        self._cures: tuple[Cure, ...] = ()
        self._stage = ""
        self._rehearsal: RehearsalReport | None = None

    def compose_body(self) -> ComposeResult:
        """Start-up at the left, log at the right, memory below; trouble takes the upper part."""
        with Horizontal(id="watching"):
            with VerticalScroll(classes="question", id="startup"):
                yield Static("start-up", classes="title", id="startup-title")
                yield Static(id="checks")
                yield Static(id="phases")
            with Vertical(classes="answer", id="log-side"):
                yield Static(id="log-title", classes="title", markup=False)
                yield LogView(id="log")
        with VerticalScroll(id="trouble", can_focus=False):
            yield Static(id="diagnosis")
        with Vertical(id="cures-side"):
            yield Table(
                Column("try again with", flex=True),
                Column("GiB", right=True),
                Column("tokens", right=True),
                id="cures",
                rows=RetryRows,
            )
        yield MemoryFill()

    def on_mount(self) -> None:
        """Attach to the server there is, or look at the machine."""
        self.replan()
        self.query_one(MemoryFill).plan = self.answer if isinstance(self.answer, Plan) else None
        if self.answers.run_id is not None:
            self._find_run(self.answers.run_id)
        else:
            self._check()
        self._look_at_gpus()
        if self.backend.detect_every_s:
            self.set_interval(self.backend.detect_every_s, self._look_at_gpus)
        self._draw()

    # State and drawing

    def _enter(self, state: State) -> None:
        self._state = state
        for name in ("checking", "checked", "starting", "ready", "failed", "stopped", "rehearsing", "rehearsed"):
            self.set_class(name == state, f"-{name}")
        self.refresh_bindings()
        self._draw()
        # Once more when the new layout has given everything its width.
        self.call_after_refresh(self._draw)
        if state == "failed":
            self.query_one("#cures", Table).rows_widget.focus()
        else:
            self.query_one("#startup" if state in ("checking", "checked") else "#log").focus()
        self.query_one(StepBar).answers = self.answers

    def _draw(self) -> None:
        """Everything that is text; cheap enough for every tick."""
        left = self.query_one("#checks", Static)
        width = max(24, left.content_size.width or 36)
        title = {
            "checking": f"looking at this machine, {self._order_name}",
            "checked": f"this machine, {self._order_name}: {summary(self._results)}",
            "rehearsing": f"rehearsal: {STAGES.get(self._stage, '')}",
            "rehearsed": rehearsal_verdict(self._rehearsal) if self._rehearsal else "rehearsal",
        }.get(self._state, "start-up")
        self.query_one("#startup-title", Static).update(title)
        self._draw_left(left, width)
        phases = self.query_one("#phases", Static)
        if self._state in ("checking", "checked"):
            phases.update("")
        else:
            view = self._progress.view(at_s=self._at_s)
            lines = phase_lines(view, width=width, failed=self._state in ("failed", "stopped"))
            phases.update(Content("\n").join([*lines, *self._smoke_lines(width)]))
        self._draw_log_title()

    def _draw_left(self, left: Static, width: int) -> None:
        if self._state in ("checking", "checked"):
            lines = check_lines(self._results, width=width, running="…" if self._state == "checking" else "")
            if self._state == "checked":
                failed = sum(result.status == "fail" for result in self._results)
                told = "l starts the server, h rehearses first" if not failed else f"{failed} failed: l asks once more"
                lines = [Content.styled(told, "bold $accent"), Content(""), *lines]
            left.update(Content("\n").join(lines))
        elif self._results:
            mark = "✓" if not any(result.status == "fail" for result in self._results) else "!"
            left.update(Content.styled(f"{mark} preflight  {tally(self._results)}", "$text-success"))
        else:
            left.update("")

    def _smoke_lines(self, width: int) -> list[Content]:
        if not self._smoke:
            return []
        lines = [Content(""), *check_lines(self._smoke, width=width)]
        if self._rehearsal is not None:
            lines += [Content(""), Content.styled("what a twin cannot prove", "bold")]
            for text in self._rehearsal.unproved:
                lines += wrapped(f"– {text}", width=width, style="$secondary", indent="  ")
        return lines

    @on(LogView.Changed)
    def _draw_log_title(self) -> None:
        self.query_one("#log-title", Static).update(f"server.log · {self.query_one(LogView).status}")

    # Preflight

    @property
    def _order_name(self) -> str:
        return "docker" if self._docker else "vllm serve"

    def _order(self, run_id: str) -> LaunchOrder | None:
        """What would be started."""
        if not isinstance(self.answer, Plan):
            return None
        if self._docker:
            return docker_order(self.answer, run_id=run_id, port=self.answers.port)
        edited = self.answers.edited
        port = None if edited is not None else self.answers.port
        return local_order(self.answer, edited=edited, program=self.backend.program, port=port)

    def _check(self) -> None:
        self._results = []
        self._enter("checking")
        try:
            order = self._order(new_run_id())
        except M35Error as refusal:
            self.say_refused(refusal)
            return
        if order is not None and isinstance(self.answer, Plan):
            self._preflight(order, self.answer)

    @work(thread=True, exclusive=True, group="preflight")
    def _preflight(self, order: LaunchOrder, plan: Plan) -> None:
        worker = get_current_worker()
        watching.check_machine(self.backend, order, plan, post=self.post_message, cancelled=lambda: worker.is_cancelled)

    @on(messages.Checked)
    def _checked(self, message: messages.Checked) -> None:
        self._results.append(message.result)
        self._draw()

    @on(messages.PreflightDone)
    def _preflight_done(self) -> None:
        if self._state == "checking":
            self._enter("checked")

    # Launch and follow

    def action_launch(self) -> None:
        """Start the server; failed checks are asked about first."""
        failed = [result for result in self._results if result.status == "fail"]
        if self._state == "checking" or failed:
            text = (
                "The checks are not through yet."
                if self._state == "checking"
                else "\n".join(f"✗ {result.name}: {result.seen}" for result in failed)
            )
            self.app.push_screen(
                Ask(text, (("stay", "stay and mend it"), ("go", "start all the same")), title="start now?"),
                self._start_anyway,
            )
        else:
            self._start_anyway("go")

    def _start_anyway(self, choice: str | None) -> None:
        if choice == "go" and isinstance(self.answer, Plan):
            self._start(self.answer, None)

    @work(thread=True, exclusive=True, group="follow")
    def _start(self, plan: Plan, replacing: Run | None) -> None:
        watching.start_server(self.backend, self._order, plan, replacing=replacing, post=self.post_message)

    @work(thread=True, exclusive=True, group="follow")
    def _find_run(self, run_id: str) -> None:
        watching.find_run(run_id, post=self.post_message)

    @on(messages.Launched)
    def _launched(self, message: messages.Launched) -> None:
        self._run = message.run
        self.answers = dataclasses.replace(self.answers, run_id=message.run.id)
        self._begin(expected_key=message.run.history_key)
        self._enter("starting")
        self._follow(message.run)

    def _begin(self, *, expected_key: str) -> None:
        """Forget an earlier start."""
        expected_s, starts = expected_durations(read_records(history_path()), expected_key)
        self._progress = StartProgress(expected_s=expected_s, earlier_starts=starts)
        self._at_s = 0.0
        self._smoke = []
        self._rehearsal = None
        self._conclusion = None
        self.query_one(LogView).clear()

    @work(thread=True, exclusive=True, group="follow")
    def _follow(self, run: Run) -> None:
        worker = get_current_worker()
        watching.watch_server(self.backend, run, post=self.post_message, cancelled=lambda: worker.is_cancelled)

    @on(messages.ServerNews)
    def _news(self, message: messages.ServerNews) -> None:
        self._at_s = message.at_s
        self._progress.add(message.events, at_s=message.at_s)
        if message.log:
            self.query_one(LogView).feed(message.log)
        if any(isinstance(event, ServerReady) for event in message.events):
            self._enter("ready")
        elif any(isinstance(event, (ServerEnded, TimedOut)) for event in message.events) and self._state == "ready":
            self.notify("the server has ended", severity="error")
        self._draw()

    @on(messages.Concluded)
    def _concluded(self, message: messages.Concluded) -> None:
        self._conclusion = message.conclusion
        if message.conclusion.diagnosis is not None:
            self._show_trouble(message.conclusion)
        elif message.conclusion.outcome == "stopped":
            self.answers = dataclasses.replace(self.answers, run_id=None)
            self._enter("stopped")
        else:
            self._draw()

    def _show_trouble(self, conclusion: Conclusion) -> None:
        diagnosis = conclusion.diagnosis
        assert diagnosis is not None
        plan = self.answer if isinstance(self.answer, Plan) else None
        self._cures = cures(diagnosis, plan=plan, answers=self.answers, levers=self.backend.levers)
        self._enter("failed")
        box = self.query_one("#diagnosis", Static)
        width = max(40, self.size.width - 4)
        box.update(Content("\n").join(diagnosis_lines(diagnosis, width=width)))
        rows = [Row(cells=(cure.label, cure.gib, cure.tokens)) for cure in self._cures]
        self.query_one("#cures", Table).show(rows, cursor=0)

    # What can be done

    def action_retry(self) -> None:
        """Apply the change under the cursor, plan again and start again."""
        cursor = self.query_one("#cures", Table).cursor if self._state == "failed" else None
        old = self._run
        self.answers = dataclasses.replace(self.answers, run_id=None)
        if cursor is not None and cursor < len(self._cures):
            self.answers = self._cures[cursor].apply(self.answers)
        self.replan()
        if isinstance(self.answer, M35Error):
            self.say_refused(self.answer)
            return
        self.query_one(MemoryFill).plan = self.answer
        self._start(self.answer, old)

    def action_stop(self) -> None:
        """End the server and everything it started."""
        if self._run is not None:
            self.notify("stopping the server; it may take half a minute")
            self._stop(self._run)

    @work(thread=True, group="stop")
    def _stop(self, run: Run) -> None:
        watching.stop_server(run, post=self.post_message)

    @on(messages.Stopped)
    def _stopped(self, message: messages.Stopped) -> None:
        self.notify(f"the server is gone ({message.how})")

    def action_rehearse(self) -> None:
        """Start the same engine and flags on a tiny twin of the model."""
        if isinstance(self.answer, Plan):
            self._run = None
            self._begin(expected_key="")
            self._enter("rehearsing")
            self._rehearse(self.answer)

    @work(thread=True, exclusive=True, group="follow")
    def _rehearse(self, plan: Plan) -> None:
        watching.rehearse_plan(self.backend, plan, post=self.post_message)

    @on(messages.RehearsalStage)
    def _staged(self, message: messages.RehearsalStage) -> None:
        self._stage = message.stage
        self._draw()

    @on(messages.SmokeDone)
    def _smoked(self, message: messages.SmokeDone) -> None:
        self._smoke.append(message.result)
        self._draw()

    @on(messages.Rehearsed)
    def _rehearsed(self, message: messages.Rehearsed) -> None:
        self._rehearsal = message.report
        self._enter("rehearsed")
        if message.report.diagnosis is not None:
            self._cures = ()
            self._enter("failed")
            width = max(40, self.size.width - 4)
            lines = diagnosis_lines(message.report.diagnosis, width=width)
            self.query_one("#diagnosis", Static).update(Content("\n").join(lines))
            self.query_one("#cures", Table).show([], cursor=None)

    @on(messages.Refused)
    def _refused(self, message: messages.Refused) -> None:
        self.say_refused(message.error)
        if message.doing == "attach":
            self.answers = dataclasses.replace(self.answers, run_id=None)
        if message.doing != "preflight":
            self._enter("checked")

    def action_target(self) -> None:
        """Change between this machine's vllm and its image."""
        self._docker = not self._docker
        self._check()

    def action_full_log(self) -> None:
        """Give the log the whole width, or take it back."""
        self.toggle_class("-log-only")

    def action_detach(self) -> None:
        """Quit and leave the server running."""
        self.app.exit(0)

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
        if self._state == "ready":
            super().action_next()
        elif self._state == "failed":
            self.action_retry()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now stands in the footer."""
        states: dict[str, tuple[State, ...]] = {
            "launch": ("checking", "checked", "stopped", "rehearsed"),
            "rehearse": ("checked", "stopped", "rehearsed"),
            "target": ("checked",),
            "retry": ("failed",),
            "stop": ("starting", "ready"),
            "detach": ("starting", "ready"),
            "full_log": ("starting", "ready", "failed", "stopped", "rehearsing", "rehearsed"),
            "next": ("ready", "failed"),
        }
        if action in states:
            return self._state in states[action]
        return super().check_action(action, parameters)

    # GPU memory

    @work(thread=True, exclusive=True, group="detect")
    def _look_at_gpus(self) -> None:
        self.post_message(messages.GpusSeen(self.backend.detect()))

    @on(messages.GpusSeen)
    def _gpus_seen(self, message: messages.GpusSeen) -> None:
        self.query_one(MemoryFill).seen = message.report


def rehearsal_verdict(report: RehearsalReport) -> str:
    """Return how a rehearsal went, in one line."""
    if report.smoke is None:
        return "rehearsal: the engine did not come up"
    checks = f"{report.smoke.count('pass')} of {len(report.smoke.results)} checks pass"
    return f"rehearsal {'passed' if report.passed else 'failed'}: {checks}"
