"""What is compared, switched and picked in the first steps."""

from __future__ import annotations

import pytest

from planner import Plan, SpeedForecast, Workload, plan
from tui.app import M35App
from tui.screens.compare import Compare
from tui.screens.pick_gpus import PickGpus
from tui.screens.plan import PlanScreen
from tui.screens.step import StepScreen
from tui.widgets.fields import Line
from tui.widgets.table import Table
from tui.wizard import Step

from . import stage
from .standing import answer, step
from .test_load import faster
from .test_steps import TWO_H200
from .world import app_at, backend, text_of, typed, until

pytestmark = pytest.mark.slow


async def test_two_plans_stand_side_by_side() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        await pilot.press("D")
        assert isinstance(app.screen, StepScreen), "nothing is marked yet"
        await pilot.press("d", "tab", "space")
        await until(pilot, lambda: bool(step(app).answers.levers))
        lever = step(app).answers.levers[0]
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Compare) and "KV cache, tokens" in text_of(app))
        text = text_of(app)
        assert "marked  fits" in text and "now     fits" in text
        assert lever.flag.split()[0].removeprefix("--") in text
        await pilot.press("escape", "space", "D")
        await until(pilot, lambda: "nothing changes" in text_of(app))


async def test_marked_plans_are_compared_by_speed_under_a_load() -> None:
    def speed(answer: Plan, load: Workload) -> SpeedForecast:
        return faster(1 if answer.settings.enforce_eager else 2, load)

    app = stage.app_at(Step.PLAN, doors=stage.staged(plan=plan, speed=speed), loaded=True)
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        shown = app.screen
        assert isinstance(shown, PlanScreen)

        def known() -> bool:
            return isinstance(shown.answer, Plan) and shown.speed_of(shown.answer) is not None

        await until(pilot, known)
        await pilot.press("d", "tab", "down", "down", "space")
        await until(pilot, lambda: any(lever.name == "enforce-eager" for lever in shown.answers.levers))
        await until(pilot, known)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Compare) and "TPOT, ms" in text_of(app))
        (told,) = [line for line in text_of(app).splitlines() if "│ TPOT, ms" in line]
        assert "+100%" in told and len(told.split("│")[1].rstrip()) < 95, "no eye loses the line"


async def test_a_lever_that_is_switched_on_stays_under_the_cursor() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        table = app.screen.query_one("#levers", Table)
        await pilot.press("tab", "down", "down")
        name = app.screen._levers[table.cursor or 0].name  # type: ignore[attr-defined]
        await pilot.press("space")
        await until(pilot, lambda: bool(step(app).answers.levers))
        assert table.cursor == 2
        assert app.screen._levers[2].name == name == step(app).answers.levers[0].name  # type: ignore[attr-defined]


async def test_a_refusal_names_the_option_and_the_palette_stands_in_the_footer() -> None:
    app = app_at(Step.WORKLOAD)
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.query_one("#max_model_len", Line).value = "999999"
        await until(pilot, lambda: "✗ --max-model-len 999,999 is" in text_of(app))
        assert "max_model_len" not in text_of(app)
        await until(pilot, lambda: "palette" in text_of(app))


async def test_gpus_are_picked_by_hand_and_the_others_stay_out() -> None:
    app = M35App(backend=backend(detect=lambda: TWO_H200))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "python" in text_of(app) and answer(app).gpus.count == 2)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, PickGpus) and "python (pid 7, 9.0 GiB)" in text_of(app))
        await pilot.press("down", "space", "enter")
        await until(pilot, lambda: isinstance(app.screen, StepScreen) and answer(app).gpus.count == 1)
        gpus = answer(app).gpus
        assert gpus.free_memory_bytes == TWO_H200.gpus[0].free_bytes, "the busy one does not count any more"
        assert dict(gpus.env)["CUDA_VISIBLE_DEVICES"] == "0"
        assert "CUDA_VISIBLE_DEVICES=0 m35-plan --gpus auto" in step(app).own_line()
        await pilot.press("ctrl+g", "space", "enter")
        assert isinstance(app.screen, PickGpus), "none is no choice"


async def test_a_name_whose_memory_is_unknown_is_not_chosen_first() -> None:
    app = app_at(Step.GPUS)
    async with app.run_test(size=(100, 30)) as pilot:
        await typed(pilot, "mi3")
        await until(pilot, lambda: "MI300X, vision" in text_of(app))
