"""Looking at the machine and at a server again and again: one look at a time, and no key waits for it."""

from __future__ import annotations

from threading import Event

import pytest

from hw_specs import DetectionReport
from hw_specs.detect.activity import GpuActivity
from tui.app import M35App
from tui.screens.verify import VerifyScreen
from tui.wizard import Answers, Step

from . import stage
from .world import NO_GPU, WAIT_S, app_at, at, backend, text_of, until

pytestmark = pytest.mark.slow


async def test_a_look_that_hangs_is_the_only_one_under_way() -> None:
    begun: list[int] = []
    ended = Event()

    def hangs() -> DetectionReport:
        begun.append(1)
        ended.wait(WAIT_S)
        return NO_GPU

    app = M35App(backend=backend(detect=hangs, detect_every_s=0.01), answers=Answers())
    async with app.run_test() as pilot:
        await until(pilot, lambda: at(app, Step.GPUS) and bool(begun))
        ticks: list[int] = []
        app.screen.set_interval(0.01, lambda: ticks.append(1))
        await until(pilot, lambda: len(ticks) > 10)
        assert len(begun) == 1
        ended.set()
        await until(pilot, lambda: len(begun) > 1, "it looks again")


async def test_no_key_waits_for_a_driver_that_hangs_under_the_dashboard() -> None:
    ended = Event()

    def hangs() -> tuple[GpuActivity, ...]:
        ended.wait(WAIT_S)
        return stage.busy_gpus()

    doors = stage.staged(activity=hangs, look_every_s=0.01)
    app = stage.app_at(Step.VERIFY, run_id=stage.finished_run().id, doors=doors)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, VerifyScreen) and app.screen.serving.report is not None)
        for key, told in (("3", "asking /metrics"), ("4", "say something"), ("2", "one GPU, GiB"), ("3", "asking")):
            await pilot.press(key)
            await until(pilot, lambda told=told: told in text_of(app))  # type: ignore[misc]
            if key == "4":
                await pilot.press("escape")
        ended.set()
        await until(pilot, lambda: "KV cache, %" in text_of(app))


async def test_whoever_only_looks_is_told_so() -> None:
    app = app_at(Step.PLAN, doors=backend(readonly=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: text_of(app).splitlines()[0].endswith("read only"))
