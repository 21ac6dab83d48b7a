"""Moving about: forth and back, sizes of the terminal, the palette, the cursor."""

from __future__ import annotations

from functools import partial

import pytest

from planner.rendering.report import ledger_rows
from tui.app import M35App
from tui.screens.step import StepScreen
from tui.wizard import Answers, Step

from .standing import answer
from .world import NO_GPU, app_at, at, backend, text_of, typed, until

pytestmark = pytest.mark.slow


async def test_forth_back_and_anywhere() -> None:
    app = app_at(Step.GPUS)
    async with app.run_test() as pilot:
        for there in (Step.WORKLOAD, Step.PLAN, Step.COMMAND, Step.LAUNCH):
            await pilot.press("enter")
            await until(pilot, partial(at, app, there))
        for there in (Step.COMMAND, Step.PLAN, Step.WORKLOAD, Step.GPUS):
            await pilot.press("escape")
            await until(pilot, partial(at, app, there))
        await pilot.press("alt+3")
        await until(pilot, lambda: at(app, Step.PLAN))
        await pilot.press("alt+6")
        await until(pilot, lambda: at(app, Step.LAUNCH))
        await pilot.click("StepBar", offset=(9, 0))
        await until(pilot, lambda: at(app, Step.GPUS))


async def test_a_small_terminal_says_how_large_it_must_be() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: "the wizard needs 80 × 24" in text_of(app).replace("\n", " "))
        before = app.screen
        await pilot.press("enter", "escape", "d", "alt+2", "y")
        assert app.screen is before and not app.clipboard, "nothing is done that cannot be seen"
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: "one GPU of 8" in text_of(app))
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: "q quits" in text_of(app))
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running or app.return_code == 0)


async def test_the_palette_knows_steps_and_light_and_dark() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test() as pilot:
        names = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Go to Command", "Switch light and dark"} <= names
        assert app.theme == "m35-dark"
        await pilot.press("ctrl+p")
        await typed(pilot, "light")
        await until(pilot, lambda: "Switch light and dark" in text_of(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.theme == "m35-light")


async def test_escape_on_the_first_step_quits() -> None:
    app = M35App(backend=backend(detect=lambda: NO_GPU), answers=Answers())
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, StepScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.return_code == 0 or not app.is_running)


async def test_a_window_that_was_too_small_gives_the_keys_back() -> None:
    app = app_at(Step.GPUS)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "catalogue" in text_of(app))
        await pilot.resize_terminal(40, 10)
        await pilot.press("z")
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: app.screen.focused is not None)
        await typed(pilot, "zzz")
        await until(pilot, lambda: "no GPU is called `zzz`" in text_of(app))
        await pilot.press("enter")
        assert at(app, Step.GPUS), "there is no answer to go on with"
        assert "$ m35-plan" not in text_of(app), "no command line says the same"


async def test_a_large_terminal_shows_ledger_curve_warnings_and_layouts_together() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(200, 60)) as pilot:
        told = ("TP4 x 2", "rests of torch's segments", "tokens each", "! pin mistral_common", "levers")
        await until(pilot, lambda: all(words in text_of(app) for words in told))
        before = answer(app).kv_cache.tokens
        await pilot.press("down")
        await until(pilot, lambda: answer(app).kv_cache.tokens != before)
        (kv,) = [row for row in ledger_rows(answer(app)) if row.name == "kv_cache"]
        await until(pilot, lambda: kv.gib in text_of(app), "the ledger follows the layout")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "rests of torch's segments" not in text_of(app))


@pytest.mark.parametrize("gpus", ["8xH200", "1xMI300X", "1xH100"])
async def test_values_of_levers_are_read_whole_in_a_small_terminal(gpus: str) -> None:
    app = app_at(Step.PLAN, gpus=gpus)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "levers" in text_of(app))
        levers = app.screen._levers  # type: ignore[attr-defined]
        shown = [line for line in text_of(app).splitlines() if "[ ]" in line]
        assert len(shown) >= 2
        for line, lever in zip(shown, levers, strict=False):
            value = lever.flag.rpartition(" ")[2] if " " in lever.flag else lever.flag.removeprefix("--")
            assert value in line


async def test_the_terminals_cursor_stands_where_one_is() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(80, 24)) as pilot:

        def line() -> str:
            return text_of(app).splitlines()[app.cursor_position.y]

        await until(pilot, lambda: "▸ TP8" in line())
        await pilot.press("down")
        await until(pilot, lambda: "▸ TP4 x 2" in line())
        await pilot.press("tab")
        await until(pilot, lambda: "[ ] gpu-memory-utiliz" in line())
        await pilot.press("escape")
        await until(pilot, lambda: at(app, Step.WORKLOAD) and "text only" in line())
        await pilot.press("down")
        await until(pilot, lambda: "context, tokens" in line())


async def test_what_can_be_pointed_at_says_what_it_is() -> None:
    app = app_at(Step.GPUS)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: at(app, Step.GPUS))
        for name in ("#search", "#count", "#nodes", "#memory", "#catalogue", "OwnLine"):
            assert app.screen.query_one(name).tooltip, name
