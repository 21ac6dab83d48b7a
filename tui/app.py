"""The application: one coroutine walks the steps; it decides nothing about a plan."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen

from hw_specs import GpuSet, M35Error
from planner import PlanRequest
from planner.serve import Run, attach
from tui import news
from tui.backend import Backend
from tui.remembering import Remembered, remember
from tui.screens.command import CommandScreen
from tui.screens.dialogues import Ask, Warnings
from tui.screens.gpus import GpusScreen
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.screens.review import ReviewScreen
from tui.screens.step import StepScreen
from tui.screens.told import Told
from tui.screens.verify import VerifyScreen
from tui.screens.workload import WorkloadScreen
from tui.themes import DARK, LIGHT, theme_for
from tui.watching import answers_of
from tui.wizard import FIRST, Answers, Move, Step, advance, effective_request

SCREENS: dict[Step, Callable[..., StepScreen]] = {
    Step.GPUS: GpusScreen,
    Step.WORKLOAD: WorkloadScreen,
    Step.PLAN: PlanScreen,
    Step.COMMAND: CommandScreen,
    Step.LAUNCH: LaunchScreen,
    Step.VERIFY: VerifyScreen,
}


CONTINUE = "continue"
CUT_OFF = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name))
"""How a terminal that is closed, and a session that ends, end what runs in it."""
DAMAGE_S = 20
"""How long it stands on the screen that records are left out; the palette shows it again."""
MOST_RUNS = 8
"""Running servers that are offered; more are not a machine for one wizard."""


def alive_run(run_id: str | None) -> Run | None:
    """Return the run while it is alive."""
    if run_id is None:
        return None
    try:
        run = attach(run_id)
    except M35Error:
        return None
    return run if run.status().alive else None


class M35App(App[int]):
    """From GPUs to a verified server."""

    TITLE = "m35"
    CSS_PATH = "styles.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        *,
        backend: Backend | None = None,
        answers: Answers | None = None,
        step: Step = FIRST,
        kept: Remembered | None = None,
        review: Path | None = None,
        hosts: tuple[tuple[str, GpuSet], ...] = (),
    ) -> None:
        super().__init__()
        self._backend = backend or Backend()
        self._answers = answers or Answers()
        self._step = step
        self.kept = kept or Remembered()
        """The last session at first, then this one."""
        self._keeping: asyncio.Task[None] | None = None
        """The last session that is being written down."""
        self.damage: tuple[str, ...] = ()
        """What is left out because it is damaged, one sentence each."""
        self._drawn = False
        self._review = review
        self._hosts = hosts

    def on_mount(self) -> None:
        """Choose the palette and begin."""
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        known = self.kept.theme in self.available_themes
        self.theme = self.kept.theme if known else theme_for(os.environ.get("COLORFGBG", ""))
        self._drawn = True
        self.say_damaged(self.kept.faults)
        self._look_for_damage()
        for one in CUT_OFF:
            # Not every system has them, and only the main thread hears them.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(one, self._cut_off)
        self.run_wizard()

    def _cut_off(self) -> None:
        """Keep what was answered so far where the window is closed or the session ends."""
        step = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, StepScreen)), None)
        if step is not None and not self._backend.readonly:
            self.kept = self._session(step.answers, step.STEP)
            self._write_down(self.kept)
        self.exit(0)

    @work(thread=True)
    def _look_for_damage(self) -> None:
        self.call_from_thread(self.say_damaged, self._backend.damaged())

    @on(Told)
    def _told(self, message: Told) -> None:
        if isinstance(message.news, news.DamageFound):
            self.say_damaged(message.news.faults)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,  # noqa: ARG002 - nothing that is told is markup: paths and hints may hold brackets
    ) -> None:
        """Show a message for a while, word for word."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def action_help_quit(self) -> None:
        """Say what ends the wizard: Ctrl+C, which copies where one types, does not."""
        self.notify("^q quits; your answers are kept")

    def say_damaged(self, faults: Sequence[str]) -> None:
        """Say what is left out because it is damaged, each fault once."""
        new = [fault for fault in faults if fault not in self.damage]
        self.damage = (*self.damage, *new)
        if new:
            more = f"\n\nand {len(new) - 1} more: `left out` in the palette (^p) shows all" if len(new) > 1 else ""
            self.notify(new[0] + more, title="left out, nothing else is touched", severity="warning", timeout=DAMAGE_S)

    def watch_theme(self, theme: str) -> None:
        """Keep a palette that was chosen."""
        if self._drawn and theme != self.kept.theme:
            self.kept = dataclasses.replace(self.kept, theme=theme)

    def keep_window(self, window_s: int) -> None:
        """Keep how much of the past the dashboard shows."""
        self.kept = dataclasses.replace(self.kept, window_s=window_s)

    def _keep(self, answers: Answers, step: Step) -> None:
        """Write down where one is, one after the other and while the next step is drawn already."""
        if self._backend.readonly:
            return
        self.kept = self._session(answers, step)
        before, kept = self._keeping, self.kept

        async def write() -> None:
            if before is not None:
                await before
            await asyncio.to_thread(self._write_down, kept)

        self._keeping = asyncio.create_task(write())

    def _session(self, answers: Answers, step: Step) -> Remembered:
        """This session, as the next one finds it."""
        return dataclasses.replace(self.kept, answers=answers, step=step, program=self._backend.program)

    def _write_down(self, kept: Remembered) -> None:
        """A session that cannot be kept goes on."""
        answers = kept.answers
        try:
            plan = self._backend.plan(effective_request(answers)) if answers and answers.request else None
            remember(kept, plan)
        except (M35Error, OSError):
            # What the planner refuses is asked again next time.
            return

    @work
    async def run_wizard(self) -> None:
        """GPUs → workload → plan → command → launch → verify, with Back between any two."""
        step: Step | None = self._step
        answers = self._answers
        if self._review is not None:
            answers, step = await self._begin_with(self._review, answers, self._step)
        elif self._hosts:
            answers, step = await self._choose_host(answers, step)
        elif answers.request is None and answers.run_id is None:
            answers, step = await self._offer(answers, self._step)
        while step is not None:
            here = step
            move = await self.push_screen_wait(SCREENS[here](answers, backend=self._backend))
            answers, step = advance(here, move)
            self._keep(answers, step or here)
        if self._keeping is not None:
            await self._keeping
        self.exit(0)

    async def _begin_with(self, path: Path, answers: Answers, step: Step) -> tuple[Answers, Step]:
        """Judge a file first, and go on with a server of it."""
        gpus = answers.request.gpus if answers.request is not None else None
        found = await self.push_screen_wait(ReviewScreen(backend=self._backend, gpus=gpus, path=path))
        return (answers, step) if found is None else (found, Step.COMMAND)

    async def _choose_host(self, answers: Answers, step: Step | None) -> tuple[Answers, Step | None]:
        """Ask which host of a cluster the plan is for."""
        words = tuple((str(index), f"{name}  {gpus}") for index, (name, gpus) in enumerate(self._hosts))
        choice = await self.push_screen_wait(Ask("Which host is the plan for?", words, title="hosts"))
        if choice is None:
            return answers, step
        gpus = self._hosts[int(choice)][1]
        request = PlanRequest(gpus=gpus, model=answers.model, calibrations=self._backend.calibrations())
        return dataclasses.replace(answers, request=request), Step.WORKLOAD

    async def _offer(self, answers: Answers, step: Step) -> tuple[Answers, Step]:
        """Ask whether to take up a server that is running, or the answers of the last session."""
        runs = await asyncio.to_thread(self._backend.running)
        last = self.kept.answers if answers.model is None else None
        if not runs and (last is None or last.request is None):
            return answers, step
        words = [(run.id, f"watch {run.id} at {run.url}") for run in runs[:MOST_RUNS]]
        if last is not None and last.request is not None:
            words.append((CONTINUE, f"continue where you were: {last.request.gpus}, {self.kept.step.label}"))
        many = "A server is" if len(runs) == 1 else f"{len(runs)} servers are"
        told = f"{many} running on this machine." if runs else "Your last session can be continued."
        choice = await self.push_screen_wait(Ask(told, (*words, ("new", "plan something new")), title="welcome back"))
        if choice == CONTINUE and last is not None:
            return last, self.kept.step
        run = next((run for run in runs if run.id == choice), None)
        if run is None:
            return answers, step
        return await asyncio.to_thread(answers_of, run), Step.LAUNCH

    @on(StepScreen.Leaving)
    def _leaving(self, message: StepScreen.Leaving) -> None:
        self.leave(message.screen)

    @work(exclusive=True, group="leave")
    async def leave(self, screen: StepScreen) -> None:
        """End the wizard with this step, unless its server makes one think again."""
        if await self._may_leave(screen.answers):
            screen.leave_to(Move(to="quit", answers=screen.answers))

    async def _may_leave(self, answers: Answers) -> bool:
        """Ask what becomes of a running server; whether to go on quitting."""
        run = await asyncio.to_thread(alive_run, answers.run_id)
        if run is None:
            return True
        if self._backend.readonly:
            return True
        choice = await self.push_screen_wait(
            Ask(
                f"There is a server at {run.url}; it keeps running without the wizard.",
                (("leave", "leave it running"), ("stop", "stop it"), ("stay", "do not quit")),
                title="quit",
            )
        )
        if choice == "stop":
            self.notify("stopping the server; it may take half a minute")
            await asyncio.to_thread(run.stop)
        return choice in ("leave", "stop")

    async def action_quit(self) -> None:
        """Quit from anywhere; a step asks about its server first."""
        screen = self.screen
        if isinstance(screen, ModalScreen):
            screen.dismiss(None)
        elif isinstance(screen, StepScreen):
            self.leave(screen)
        else:
            self.exit(0)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Steps and palettes beside Textual's own commands."""
        yield from super().get_system_commands(screen)
        if isinstance(screen, StepScreen):
            for step in Step:
                yield SystemCommand(f"Go to {step.label}", "a step of the wizard", lambda to=step: screen.action_go(to))
        if self.damage:
            yield SystemCommand(
                "What was left out", "records that are damaged, with their files",
                lambda: self.push_screen(Warnings(self.damage, title="left out")),
            )  # fmt: skip
        other = LIGHT.name if self.theme == DARK.name else DARK.name
        yield SystemCommand("Switch light and dark", f"use the palette {other}", lambda: setattr(self, "theme", other))
