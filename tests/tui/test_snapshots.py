"""Every screen as a picture, at the smallest size and at a comfortable one, and without colour.

After a change that is meant: ``pytest tests/tui/test_snapshots.py --snapshot-update``, once the report was looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from tui.app import M35App
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.screens.verify import VerifyScreen
from tui.wizard import Step

from . import stage
from .world import until

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or not version("textual").startswith("8.2."),
    reason="pictures are compared on one Python and one Textual only",
)

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


SCENES: dict[str, tuple[Step, str, Act]] = {
    "gpus": (Step.GPUS, "8xH200", press("h", "2", "0", "0")),
    "workload": (Step.WORKLOAD, "8xH200", press("down")),
    "plan": (Step.PLAN, "8xH200", press("tab")),
    "plan-loaded": (Step.PLAN, "8xH200", press()),
    "plan-tight": (Step.PLAN, "1xMI300X", press()),
    "plan-nothing-fits": (Step.PLAN, "1xH100", press()),
    "explain": (Step.PLAN, "8xH200", press("e", "up")),
    "curve": (Step.PLAN, "8xH200", press("c")),
    "help": (Step.PLAN, "8xH200", press("question_mark")),
    "command": (Step.COMMAND, "8xH200", press()),
    "command-editing": (Step.COMMAND, "8xH200", press("i", "x")),
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
    run_id = stage.finished_run().id if step is Step.VERIFY else None
    doors = stage.staged(gpus, detect=stage.detected) if name == "gpus" else None
    app = stage.app_at(step, gpus=gpus, run_id=run_id, doors=doors, loaded=name.endswith("-loaded"))
    return app, settled(act)


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


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", SCENES)
def test_screen(name: str, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
    app, act = scene(name)
    assert snap_compare(app, terminal_size=size, run_before=act)


@pytest.mark.parametrize(
    "name", ["gpus", "workload", "plan", "plan-loaded", "plan-nothing-fits", "command", "verify-dashboard"]
)
def test_screen_with_room(name: str, snap_compare: Callable[..., bool]) -> None:
    app, act = scene(name)
    assert snap_compare(app, terminal_size=(200, 60), run_before=act)


@pytest.mark.parametrize("name", ["plan", "launch-starting", "verify-checks"])
def test_screen_without_colour(name: str, snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, act = scene(name)
    assert app.no_color
    assert snap_compare(app, terminal_size=(80, 24), run_before=act)


def test_screen_in_light(snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORFGBG", "0;15")
    app, act = scene("plan")
    assert snap_compare(app, terminal_size=(120, 40), run_before=act)


def test_screen_that_is_too_small(snap_compare: Callable[..., bool]) -> None:
    app, act = scene("plan")
    assert snap_compare(app, terminal_size=(60, 18), run_before=act)
