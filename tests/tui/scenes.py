"""Every state of every screen, by name: an application with recorded answers, and what is pressed in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from tui.app import M35App
from tui.remembering import Remembered
from tui.screens.compare import Compare
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.screens.review import ReviewScreen
from tui.screens.verify import VerifyScreen
from tui.wizard import Answers, Step

from . import stage
from .world import request, until

SIZES = ((80, 24), (120, 40), (200, 60))
"""Columns and rows that every screen is designed for."""
EXAMPLE = Path(__file__).parents[2] / "examples" / "compose.yaml"

Act = Callable[[Pilot[Any]], Awaitable[None]]


def press(*keys: str) -> Act:
    async def act(pilot: Pilot[Any]) -> None:
        await pilot.press(*keys)

    return act


def on_launch(show: Callable[[LaunchScreen], None]) -> Act:
    async def act(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, LaunchScreen)
        show(screen)

    return act


def on_verify(*keys: str) -> Act:
    async def act(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, VerifyScreen)
        await until(pilot, lambda: screen.serving.report is not None and screen.serving.sample is not None)
        await pilot.press(*keys)
        if keys == ("3",):
            for look in stage.looks(40):
                screen.hear(look)
            await until(pilot, lambda: screen.serving.forecast is not None)
        await until(pilot, lambda: not screen.serving.talking)

    return act


async def compared(pilot: Pilot[Any]) -> None:
    await pilot.app.push_screen(Compare(stage.recording("1xMI300X").plan, stage.recording("8xH200").plan))


SCENES: dict[str, tuple[Step, str, Act]] = {
    "gpus": (Step.GPUS, "8xH200", press("h", "2", "0", "0")),
    "gpus-none": (Step.GPUS, "8xH200", press("h", "2", "0", "0")),
    "gpus-unknown": (Step.GPUS, "8xH200", press("z", "z", "z")),
    "gpus-pick": (Step.GPUS, "8xH200", press("h", "2", "0", "0", "ctrl+g", "down", "space")),
    "review": (Step.GPUS, "8xH200", press("down")),
    "welcome-back": (Step.GPUS, "8xH200", press()),
    "workload": (Step.WORKLOAD, "8xH200", press("down")),
    "workload-refused": (Step.WORKLOAD, "8xH200", press("down", "1", "2", "x")),
    "workload-loaded": (Step.WORKLOAD, "8xH200", press(*["down"] * 4)),
    "plan": (Step.PLAN, "8xH200", press("tab")),
    "plan-lever": (Step.PLAN, "8xH200", press("d", "tab", "down", "space")),
    "plan-loaded": (Step.PLAN, "8xH200", press()),
    "plan-tight": (Step.PLAN, "1xMI300X", press()),
    "plan-nothing-fits": (Step.PLAN, "1xH100", press()),
    "plan-asked": (Step.PLAN, "1xH100", press("enter")),
    "compare": (Step.PLAN, "8xH200", compared),
    "explain": (Step.PLAN, "8xH200", press("e", "down")),
    "curve": (Step.PLAN, "8xH200", press("c")),
    "help": (Step.PLAN, "8xH200", press("question_mark")),
    "command": (Step.COMMAND, "8xH200", press()),
    "command-editing": (Step.COMMAND, "8xH200", press("i", "x")),
    "command-saving": (Step.COMMAND, "8xH200", press("s")),
    "launch-checking": (Step.LAUNCH, "8xH200", on_launch(stage.checking)),
    "launch-checked": (Step.LAUNCH, "8xH200", press()),
    "launch-starting": (Step.LAUNCH, "8xH200", on_launch(lambda screen: stage.starting(screen, share=0.45))),
    "launch-ready": (Step.LAUNCH, "8xH200", on_launch(stage.ready)),
    "launch-failed": (Step.LAUNCH, "8xH200", on_launch(stage.failed)),
    "verify-checks": (Step.VERIFY, "8xH200", on_verify()),
    "verify-measured": (Step.VERIFY, "8xH200", on_verify("2")),
    "verify-dashboard": (Step.VERIFY, "8xH200", on_verify("3")),
    "verify-chat": (Step.VERIFY, "8xH200", on_verify("4", "s", "a", "l", "u", "t", "enter")),
    "verify-client": (Step.VERIFY, "8xH200", on_verify("5")),
}


def scene(name: str) -> tuple[M35App, Act]:
    step, gpus, act = SCENES[name]
    if name == "review":
        return M35App(backend=stage.staged(), review=EXAMPLE), settled(after(judged, act))
    if name == "welcome-back":
        kept = Remembered(answers=Answers(request=request(gpus)), step=Step.PLAN)
        return M35App(backend=stage.staged(), kept=kept), settled(act)
    run_id = stage.finished_run().id if step is Step.VERIFY else None
    doors = stage.staged(gpus, detect=stage.detected) if name in ("gpus", "gpus-pick") else None
    app = stage.app_at(step, gpus=gpus, run_id=run_id, doors=doors, loaded=name.endswith("-loaded"))
    return app, settled(act)


async def judged(pilot: Pilot[Any]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, ReviewScreen)
    await until(pilot, lambda: screen.review is not None)


def after(first: Act, then: Act) -> Act:
    async def both(pilot: Pilot[Any]) -> None:
        await first(pilot)
        await then(pilot)

    return both


def settled(act: Act) -> Act:
    """Everything that workers had to say is on the screen before and after."""

    async def whole(pilot: Pilot[Any]) -> None:
        app = pilot.app
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await pilot.pause()
        await until(pilot, lambda: idle(app))
        # What the workers said last is heard before anything is staged.
        await pilot.pause()
        await act(pilot)
        await until(pilot, lambda: forecast(app))
        await pilot.pause()
        await until(pilot, lambda: idle(app))
        await pilot.pause()

    return whole


def forecast(app: App[Any]) -> bool:
    """Whether every speed that is wanted is on the screen."""
    screen = app.screen
    if not isinstance(screen, PlanScreen) or not screen.answers.load:
        return True
    return all(screen.speed_of(plan) is not None for plan in screen.to_forecast())


def idle(app: App[Any]) -> bool:
    """Whether only the wizard's own coroutine still works."""
    return all(worker.is_finished for worker in app.workers if worker.name != "run_wizard")
