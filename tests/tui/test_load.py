"""Load and targets: asked in the form, forecast in threads, shown with bounds."""

from __future__ import annotations

import dataclasses
import re
import threading
from typing import Any

import pytest

from hw_specs import M35Error
from planner import Lever, Plan, PlanRequest, SpeedForecast, Workload, plan, plan_for_workload
from planner.planning.load import targets_of, workload_of
from planner.serve.bench import keep_benchmark
from planner.speed.answer import LayoutSpeed, SpeedCalibration, SpeedSection, Targets
from tui.app import M35App
from tui.backend import Backend
from tui.forecasting import best_for, speed_of
from tui.screens.dialogues import Curve
from tui.screens.plan import PlanScreen
from tui.screens.workload import WorkloadScreen
from tui.widgets.fields import Choice, Line
from tui.widgets.plan_panel import PlanPanel
from tui.widgets.speed_lines import SpeedShown, speed_lines
from tui.wizard import Answers, Step

from . import stage
from .world import app_at, backend, request, text_of, typed, until

pytestmark = pytest.mark.slow


def faster(factor: float, workload: Workload) -> SpeedForecast:
    base = stage.recording("8xH200").speed
    assert base is not None
    tpot = dataclasses.replace(base.tpot_ms, expected=base.tpot_ms.expected / factor)
    return dataclasses.replace(base, workload=workload, tpot_ms=tpot)


def doors(**changes: Any) -> Backend:
    """Small layouts answer fast."""
    return stage.staged(
        plan=plan,
        speed=lambda answer, load: faster(answer.settings.replicas, load),
        **changes,
    )


def panel(app: M35App) -> PlanPanel:
    return app.screen.query_one(PlanPanel)


async def test_a_load_is_asked_forecast_and_said_on_the_command_line() -> None:
    app = app_at(Step.WORKLOAD, doors=doors())
    async with app.run_test(size=(120, 40)) as pilot:
        assert panel(app).speed is None
        app.screen.query_one("#prompt_tokens", Line).focus()
        await typed(pilot, "4K")
        app.screen.query_one("#tpot_ms", Line).focus()
        await typed(pilot, "5")
        app.screen.query_one("#concurrency", Line).value = "16"
        await until(pilot, lambda: "misses TPOT 5 ms by 1.8 x" in text_of(app))
        await until(pilot, lambda: "4,096 tokens in, 1,024 out, 16 at once" in text_of(app))
        assert isinstance(app.screen, WorkloadScreen)
        assert "--concurrency 16 --prompt-tokens 4096 --tpot-ms 5.0" in app.screen.own_line().replace(
            "--max-num-batched-tokens 8192 ", ""
        )
        app.screen.query_one("#price_per_gpu_hour", Line).value = "2.5"
        await until(pilot, lambda: "cost per M" in text_of(app))
        app.screen.query_one("#objective", Choice).action_turn(1)
        await until(pilot, lambda: dict(app.screen.answers.load).get("objective") == "latency")  # type: ignore[attr-defined]
        app.screen.query_one("#request_rate", Line).value = "-1"
        await until(pilot, lambda: "is not a number above 0" in text_of(app))


async def test_requests_without_a_load_are_no_forecast_and_what_was_told_goes_with_the_next_key() -> None:
    app = app_at(Step.WORKLOAD)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        app.screen.query_one("#concurrency", Line).value = "50000"
        await until(pilot, lambda: "does not fit" in text_of(app))
        app.screen.query_one("#max_num_seqs", Line).value = "8"
        app.screen.query_one("#max_num_batched_tokens", Line).value = "4"
        await until(pilot, lambda: "✗ --max-num-batched-tokens (4)" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: len(app._notifications) == 1)
        assert "max_num_seqs" not in text_of(app), "options are named as people type them"
        app.screen.query_one("#max_num_batched_tokens", Line).value = "4096"
        await until(pilot, lambda: not app._notifications)


@pytest.mark.parametrize("factor", [0.001, 1.0, 1e9])
def test_a_speed_is_read_whole_in_the_narrowest_panel(factor: float) -> None:
    base = stage.recording("8xH200").speed
    assert base is not None
    found = dataclasses.replace(base, output_tokens_per_s=base.output_tokens_per_s.scaled(factor))
    load = Workload(prompt_tokens=1000, output_tokens=200, turns=3, concurrency=16)
    shown = SpeedShown(workload=load, forecast=found, misses=("TTFT " * 9,))
    lines = speed_lines(shown, width=34)
    assert max(line.cell_length for line in lines) <= 34
    assert "each 1,000 tokens" in " ".join(line.plain for line in lines)


async def test_layouts_show_their_speed_and_what_misses_is_marked() -> None:
    app = stage.app_at(Step.PLAN, doors=doors(), loaded=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "▸✗TP8" in text_of(app) and "TP4 x 2" in text_of(app))
        screen = app.screen
        assert isinstance(screen, PlanScreen)
        await until(pilot, lambda: all(screen.speed_of(one) is not None for one in screen.to_forecast()))
        lines = text_of(app).splitlines()
        assert any("✗TP4 PP2" in line for line in lines)
        assert any(" TP4 x 2" in line and "✗" not in line.split("▕")[0] for line in lines), "twice as fast is enough"
        assert "82.0 to 149" in text_of(app)


async def test_the_best_way_for_the_load_is_taken_with_one_key() -> None:
    def best(asked: PlanRequest, _load: object, concurrency: int | None) -> Plan:
        assert concurrency == 16 and asked.layout_open
        chosen = plan(dataclasses.replace(asked, replicas=2, tensor_parallel_size=4, max_num_batched_tokens=16384))
        speed = faster(2, Workload(concurrency=16))
        section = SpeedSection(
            objective="balanced", targets=Targets(), meets_targets=True, reasons=("TP4 x 2 has it all",),
            layouts=tuple[LayoutSpeed, ...](), cost=None, forecast=speed,
        )  # fmt: skip
        return dataclasses.replace(chosen, speed=section)

    app = stage.app_at(Step.PLAN, doors=doors(best=best), loaded=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "b takes TP4 x 2: TP4 x 2 has it all" in text_of(app))
        await pilot.press("b")
        screen = app.screen
        assert isinstance(screen, PlanScreen) and isinstance(screen.answer, Plan)
        assert screen.answer.settings.replicas == 2
        assert screen.answer.settings.max_num_batched_tokens == 16384


async def test_missed_targets_are_told_with_what_meets_them() -> None:
    cure = Lever(
        name="concurrency", change={}, load={"concurrency": 5}, gain_bytes=0, gain_tokens=0, fits=True,
        meets_targets=True, cost="context", note="",
    )  # fmt: skip

    def best(asked: PlanRequest, _load: object, _concurrency: int | None) -> Plan:
        section = SpeedSection(
            objective="balanced", targets=Targets(ttft_ms=1.0), meets_targets=False, reasons=("misses",),
            layouts=tuple[LayoutSpeed, ...](), cost=None, forecast=faster(1, Workload(concurrency=16)),
        )  # fmt: skip
        return dataclasses.replace(plan(asked), speed=section, levers=(cure,))

    app = stage.app_at(Step.PLAN, doors=doors(best=best), loaded=True)
    async with app.run_test(size=(160, 45)) as pilot:
        await until(pilot, lambda: re.search(r"\[ \] concurrency 5 +✓ targets", text_of(app)) is not None)
        assert "which misses a target" in text_of(app)


async def test_levers_for_targets_are_those_of_the_command_line_and_work_by_a_key() -> None:
    """Switched on, the plan that is then shown meets the targets by its own forecast."""
    pytest.importorskip("numpy")
    load: tuple[tuple[str, object], ...] = (
        ("prompt_tokens", 2048), ("output_tokens", 64), ("ttft_ms", 400.0), ("tpot_ms", 30.0)
    )  # fmt: skip
    asked = request("4xH100", concurrency=32)
    told = plan_for_workload(
        dataclasses.replace(asked, concurrency=None),
        workload_of(dict(load), concurrency=32),
        targets=targets_of(dict(load)),
    )
    assert told.speed is not None and not told.speed.meets_targets
    wanted = [lever for lever in told.levers if lever.meets_targets]
    assert any("--concurrency" in lever.flag for lever in wanted), wanted
    for place, lever in enumerate(wanted):
        await _meets(Answers(request=asked, load=load), place, lever, most=len(wanted))


async def _meets(answers: Answers, place: int, lever: Lever, *, most: int) -> None:
    app = M35App(backend=backend(), answers=answers, step=Step.PLAN)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ targets" in text_of(app))
        assert text_of(app).count("✓ targets") == most and "misses" in text_of(app)
        await pilot.press("tab", *["down"] * place, "space")

        def met() -> bool:
            speed = panel(app).speed
            return speed is not None and speed.forecast is not None and not speed.misses

        await until(pilot, met, lever.flag)
        screen = app.screen
        assert isinstance(screen, PlanScreen) and lever in screen.answers.levers
        assert lever.flag.split()[-1] in screen.own_line()


async def test_a_benchmark_of_this_machine_corrects_the_wizard_as_the_command_line() -> None:
    pytest.importorskip("numpy")
    answer, load = plan(request("4xH100")), Workload(concurrency=1, output_tokens=16)
    before = speed_of(answer, load)
    keep_benchmark(
        SpeedCalibration(
            gpu=answer.gpus.spec.id, model=answer.model.name, vllm_version=answer.vllm_version, tensor_parallel_size=4,
            pipeline_parallel_size=1, ratios={"output_tokens_per_s": 2.0, "ttft_ms": 0.5, "tpot_ms": 0.5},
        )
    )  # fmt: skip
    after = speed_of(answer, load)
    assert after.ttft_ms.expected == pytest.approx(before.ttft_ms.expected / 2)
    best = best_for(request("4xH100"), {"output_tokens": 16}, 1)
    assert best.speed is not None and best.speed.forecast.territory == "measured here"


async def test_the_curve_follows_the_load() -> None:
    asked: list[Workload] = []

    def speed(_plan: Plan, load: Workload) -> SpeedForecast:
        asked.append(load)
        return faster(1, load)

    app = stage.app_at(Step.PLAN, doors=stage.staged(speed=speed), loaded=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Curve) and "4,096 tokens in, " in text_of(app))
        await until(pilot, lambda: {load.concurrency for load in asked} >= {1, 2, 4, 8, 256})
        assert {load.prompt_tokens for load in asked} == {4096}


async def test_a_forecast_never_stops_the_keys() -> None:
    waiting = threading.Event()

    def speed(_plan: Plan, load: Workload) -> SpeedForecast:
        assert waiting.wait(30)
        return faster(1, load)

    app = stage.app_at(Step.PLAN, doors=stage.staged(plan=plan, speed=speed), loaded=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "forecasting …" in text_of(app))
        await pilot.press("tab", "space")
        await until(pilot, lambda: "[x]" in text_of(app))
        waiting.set()
        await until(pilot, lambda: "misses TPOT" in text_of(app))


async def test_where_nothing_was_measured_it_says_so() -> None:
    def refuse(_plan: Plan, _load: Workload) -> SpeedForecast:
        raise M35Error("nothing was measured for these GPUs")

    app = stage.app_at(Step.WORKLOAD, doors=stage.staged(speed=refuse), loaded=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "no forecast: nothing was measured" in text_of(app))


async def test_a_real_forecast_reaches_the_screen() -> None:
    pytest.importorskip("numpy")
    app = app_at(Step.WORKLOAD, gpus="1xB200", doors=backend())
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.query_one("#concurrency", Line).value = "1"
        app.screen.query_one("#output_tokens", Line).value = "16"
        await until(pilot, lambda: "TPOT, ms" in text_of(app))
        assert panel(app).speed is not None


def test_what_a_load_asks_of_memory_is_what_the_command_line_asks() -> None:
    from tui.wizard import Answers, effective_request, with_load

    answers = with_load(Answers(request=request(concurrency=16)), stage.LOADED)
    assert effective_request(answers).concurrency is None
    assert effective_request(with_load(answers, ())).concurrency == 16
