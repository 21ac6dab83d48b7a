"""The application: one coroutine walks the steps; it decides nothing about a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.backend import Backend
from tui.screens.command import CommandScreen
from tui.screens.gpus import GpusScreen
from tui.screens.plan import PlanScreen
from tui.screens.step import StepScreen
from tui.screens.workload import WorkloadScreen
from tui.themes import DARK, LIGHT, theme_for
from tui.wizard import FIRST, Answers, Step, advance

SCREENS: dict[Step, Callable[..., StepScreen]] = {
    Step.GPUS: GpusScreen,
    Step.WORKLOAD: WorkloadScreen,
    Step.PLAN: PlanScreen,
    Step.COMMAND: CommandScreen,
}


class M35App(App[int]):
    """From GPUs to a verified server."""

    TITLE = "m35"
    CSS_PATH = "styles.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", show=False, priority=True),
    ]

    def __init__(self, *, backend: Backend | None = None, answers: Answers | None = None, step: Step = FIRST) -> None:
        super().__init__()
        self._backend = backend or Backend()
        self._answers = answers or Answers()
        self._step = step

    def on_mount(self) -> None:
        """Choose the palette and begin."""
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = theme_for(os.environ.get("COLORFGBG", ""))
        self.run_wizard()

    @work
    async def run_wizard(self) -> None:
        """GPUs → workload → plan → command → launch → verify, with Back between any two."""
        step: Step | None = self._step
        answers = self._answers
        while step is not None:
            move = await self.push_screen_wait(SCREENS[step](answers, backend=self._backend))
            answers, step = advance(step, move)
        self.exit(0)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Steps and palettes beside Textual's own commands."""
        yield from super().get_system_commands(screen)
        if isinstance(screen, StepScreen):
            for step in Step:
                yield SystemCommand(f"Go to {step.label}", "a step of the wizard", lambda to=step: screen.action_go(to))
        other = LIGHT.name if self.theme == DARK.name else DARK.name
        yield SystemCommand("Switch light and dark", f"use the palette {other}", lambda: setattr(self, "theme", other))
