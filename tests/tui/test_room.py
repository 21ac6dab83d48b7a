"""What a large terminal has room for is used; it follows the plan."""

from __future__ import annotations

import re

import pytest

from tui.app import M35App
from tui.wizard import Step

from . import stage
from .scenes import scene
from .world import app_at, backend, text_of, until

pytestmark = pytest.mark.slow

LARGE = (200, 60)


def rows_of(app: M35App) -> list[str]:
    """Everything between the bars, without frames."""
    return [re.sub(r"[▕ ]", "", line) for line in text_of(app).splitlines()[2:-1]]


@pytest.mark.parametrize("step", [Step.GPUS, Step.WORKLOAD, Step.PLAN, Step.COMMAND])
async def test_no_third_of_a_large_terminal_is_empty(step: Step) -> None:
    app = stage.app_at(step)
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "where from: KV cache" in text_of(app))
        await until(pilot, lambda: len(rows_of(app)) == 57 and all(any(rows_of(app)[at : at + 8]) for at in range(49)))
        together = text_of(app)
        for part in ("requests  tokens each", "basis", "! pin", "why", "TP4 PP2"):
            assert part in together, part


async def test_checks_measured_and_dashboard_of_a_server_stand_together() -> None:
    app, act = scene("verify-checks")
    async with app.run_test(size=LARGE) as pilot:
        await act(pilot)
        for part in ("✓ health", "memory outside torch", "k` keeps these figures", "GPU, use in %", "KV cache, %"):
            await until(pilot, lambda part=part: part in text_of(app), part)  # type: ignore[misc]
        await pilot.press("4")
        await until(pilot, lambda: "say something" in text_of(app) and "KV cache, %" in text_of(app))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "KV cache, %" not in text_of(app))


async def test_the_first_step_answers_how_many() -> None:
    app = app_at(Step.GPUS, gpus="2xH200", doors=backend())
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "number of GPUs" in text_of(app))
        for line in (r"✗ 1xH200 +does not fit", r"✓ 2xH200, TP2 +262,144", r"✓ 8xH200, TP8 +262,144 +9\.8"):
            await until(pilot, lambda line=line: re.search(line, text_of(app)) is not None, line)  # type: ignore[misc]
        assert "about H200" in text_of(app) and "4.80 TB/s" in text_of(app)


async def test_every_field_says_what_it_is_where_there_is_room() -> None:
    app = stage.app_at(Step.WORKLOAD)
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "serve text only: no vision weights" in text_of(app))
        await until(pilot, lambda: "tokens of one request, prompt and answer" in text_of(app))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "serve text only" not in text_of(app) or app.focused is not None)
        assert text_of(app).count("no vision weights, no") <= 1
