"""GPUs, workload, plan and command, by keyboard and mouse, forth and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from hw_specs import DetectionReport, list_gpus
from hw_specs.detect.devices import DetectedGpu, GpuProcess
from planner import Plan
from tui.app import M35App
from tui.screens.dialogues import Ask, Curve, Explain, Help, Warnings
from tui.screens.step import StepScreen
from tui.widgets.fields import Choice, Line
from tui.widgets.plan_panel import PlanPanel
from tui.widgets.table import Table
from tui.wizard import Step

from .standing import answer, step
from .world import app_at, at, backend, text_of, typed, until

pytestmark = pytest.mark.slow

GIB = 2**30


TWO_H200 = DetectionReport(
    hostname="node",
    taken_at="2026-01-01T00:00:00+00:00",
    environment={},
    gpus=tuple(
        DetectedGpu(
            vendor="nvidia",
            index=index,
            name="NVIDIA H200",
            uuid=f"GPU-{index}",
            pci_bus_id=f"00000000:0{index}:00.0",
            architecture="9.0",
            driver_total_bytes=150_754_820_096,
            engine_total_bytes=150_110_011_392,
            free_bytes=150_000_000_000 - index * 9 * GIB,
            used_bytes=index * 9 * GIB,
            processes=(GpuProcess(pid=7, name="python", used_bytes=9 * GIB),) if index else (),
            engine_index=index,
            catalogue_id="h200-sxm",
        )
        for index in range(2)
    ),
)


def problem(app: M35App) -> str:
    return str(app.screen.query_one(PlanPanel).problem or "")


async def test_without_a_gpu_it_says_why_and_offers_the_catalogue() -> None:
    app = M35App(backend=backend())
    async with app.run_test() as pilot:
        await until(pilot, lambda: "no NVIDIA driver" in text_of(app))
        assert answer(app).gpus.spec.name == "H200"
        await typed(pilot, "2xmi325")
        await until(pilot, lambda: str(answer(app).gpus) == "2xMI325X")
        await pilot.press("enter")
        await until(pilot, lambda: at(app, Step.WORKLOAD))


async def test_detected_gpus_are_shown_with_what_holds_them_and_planned_for() -> None:
    app = M35App(backend=backend(detect=lambda: TWO_H200))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "python" in text_of(app))
        gpus = answer(app).gpus
        assert (gpus.origin, gpus.count) == ("detected", 2)
        assert gpus.free_memory_bytes is not None


async def test_counts_and_memory_beside_the_catalogue() -> None:
    app = M35App(backend=backend())
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        await typed(pilot, "mi300a")
        await until(pilot, lambda: "no publicly known memory" in problem(app))
        await pilot.press("enter")
        assert at(app, Step.GPUS)
        app.screen.query_one("#memory", Line).focus()
        await typed(pilot, "120GiB")
        await until(pilot, lambda: not problem(app) and answer(app).gpus.memory_bytes == 120 * GIB)
        assert answer(app).gpus.count == 4  # one node holds no more
        app.screen.query_one("#count", Choice).focus()
        await pilot.press("left")
        await until(pilot, lambda: answer(app).gpus.count == 2)
        app.screen.query_one("#search", Line).value = "8xmi300a"
        await until(pilot, lambda: "8 GPUs in one node" in problem(app))


async def test_what_was_measured_here_enters_the_first_plan() -> None:
    from planner.memory.rank import Calibration

    kept = Calibration(
        model="mistralai/Mistral-Medium-3.5-128B",
        gpu="h200-sxm",
        vllm_version="0.33.0",
        tensor_parallel_size=8,
        pipeline_parallel_size=1,
        max_num_seqs=1024,
        max_num_batched_tokens=8192,
        language_model_only=False,
        enforce_eager=False,
        num_speculative_tokens=0,
        terms={"graphs": 3 * GIB},
        run="r",
        measured_on="2026-01-01",
    )
    app = M35App(backend=backend(calibrations=lambda: (kept,)))
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, StepScreen) and isinstance(step(app).answer, Plan))
        assert answer(app).ledger.line("graphs").basis == "measured"


async def test_arrow_keys_choose_and_the_plan_follows() -> None:
    app = M35App(backend=backend())
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        before = answer(app).gpus.spec.id
        await pilot.press("down")
        await until(pilot, lambda: answer(app).gpus.spec.id != before)
        app.screen.query_one("#catalogue", Table).rows_widget.scroll_home(animate=False)
        await pilot.pause()
        await pilot.click("#catalogue Rows", offset=(3, 0))
        await until(pilot, lambda: answer(app).gpus.spec.id == list_gpus()[0].id)


async def test_the_form_replans_on_every_key_and_shows_refusals() -> None:
    app = app_at(Step.WORKLOAD)
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        await pilot.press("right")
        assert answer(app).settings.language_model_only
        await pilot.press("down")
        await typed(pilot, "64K")
        await until(pilot, lambda: answer(app).settings.max_model_len == 65536)
        await pilot.press("down")
        await typed(pilot, "12")
        await until(pilot, lambda: answer(app).request.concurrency == 12)
        await typed(pilot, "x")
        await until(pilot, lambda: "is not a count" in problem(app))
        await pilot.press("enter")
        assert at(app, Step.WORKLOAD)
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: at(app, Step.PLAN))


async def test_what_the_engine_would_refuse_is_refused_with_its_rule() -> None:
    app = app_at(Step.WORKLOAD)
    async with app.run_test() as pilot:
        app.screen.query_one("#gpu_memory_utilization", Line).focus()
        await typed(pilot, "1.5")
        await until(pilot, lambda: "above 0 and at most 1" in problem(app))
        app.screen.query_one("#gpu_memory_utilization", Line).value = "0.9"
        app.screen.query_one("#kv_cache_dtype", Choice).value = "fp8_e5m2"
        app.screen.query_one("#kv_cache_dtype", Choice).action_turn(0)
        await until(pilot, lambda: "is not supported with" in problem(app))
        await pilot.press("enter")
        assert at(app, Step.WORKLOAD)


async def test_layouts_and_levers_work_with_keys() -> None:
    app = app_at(Step.PLAN, gpus="8xH200")
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        tokens = answer(app).kv_cache.tokens
        await pilot.press("down")
        await until(pilot, lambda: answer(app).settings.tensor_parallel_size == 4)
        assert answer(app).settings.replicas == 2
        await pilot.press("up", "tab", "space")
        await until(pilot, lambda: bool(step(app).answers.levers))
        assert answer(app).kv_cache.tokens > tokens
        assert "[x]" in text_of(app)
        await pilot.press("space")
        await until(pilot, lambda: not step(app).answers.levers)
        assert answer(app).kv_cache.tokens == tokens


async def test_a_layout_that_cannot_run_says_why_and_changes_nothing() -> None:
    app = app_at(Step.PLAN, gpus="6xH200")
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(step(app).answer, Plan))
        rows = len(app.screen._layouts)  # type: ignore[attr-defined]
        for _ in range(rows):
            await pilot.press("down")
        await until(pilot, lambda: isinstance(step(app).answer, Plan))


async def test_every_line_is_explained_with_formula_and_source() -> None:
    app = app_at(Step.PLAN)
    async with app.run_test(size=(100, 34)) as pilot:
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Explain))
        await until(pilot, lambda: "vllm-project" in text_of(app))
        await pilot.press("home")
        await until(pilot, lambda: "weights, text" in text_of(app) and "formula" in text_of(app))
        await pilot.press("escape", "c")
        await until(pilot, lambda: isinstance(app.screen, Curve) and "tokens each" in text_of(app))
        await pilot.press("escape", "w")
        await until(pilot, lambda: isinstance(app.screen, Warnings))
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help) and "command palette" in text_of(app))
        await pilot.press("escape")
        assert at(app, Step.PLAN)


async def test_nothing_fits_is_drawn_and_asked_about() -> None:
    app = app_at(Step.PLAN, gpus="1xH100")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "does not fit" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, StepScreen))
        assert at(app, Step.PLAN)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(app, Step.COMMAND))


async def test_a_lever_makes_it_fit() -> None:
    app = app_at(Step.PLAN, gpus="1xH100")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "does not fit" in text_of(app))
        levers = app.screen.query_one("#levers", Table)
        names = [lever.name for lever in app.screen._levers]  # type: ignore[attr-defined]
        levers.rows_widget.focus()
        for _ in range(names.index("gpus")):
            await pilot.press("down")
        await pilot.press("space")
        await until(pilot, lambda: answer(app).feasible)


async def test_the_command_is_edited_read_back_and_refused() -> None:
    app = app_at(Step.COMMAND)
    async with app.run_test() as pilot:
        area = app.screen.query_one("#command", TextArea)
        await until(pilot, lambda: "--max-num-seqs 1024" in area.text)
        await pilot.press("i")
        area.text = area.text.replace("--max-num-seqs 1024", "--max-num-seqs 64") + " --seed 7"
        await until(pilot, lambda: answer(app).settings.max_num_seqs == 64)
        await until(pilot, lambda: "kept as typed" in text_of(app) and "--seed 7" in text_of(app))
        area.text += " --cpu-offload-gb 9"
        await until(pilot, lambda: "does to memory" in problem(app))
        await pilot.press("escape", "enter")
        assert at(app, Step.COMMAND)
        await pilot.press("r")
        await until(pilot, lambda: "--max-num-seqs 1024" in area.text)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, Step.LAUNCH))


async def test_an_edit_survives_the_way_back_and_forth() -> None:
    app = app_at(Step.COMMAND)
    async with app.run_test() as pilot:
        area = app.screen.query_one("#command", TextArea)
        await until(pilot, lambda: bool(area.text))
        await pilot.press("i")
        area.text = area.text.replace("--max-num-seqs 1024", "--max-num-seqs 64")
        await until(pilot, lambda: step(app).answers.edited is not None)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: at(app, Step.PLAN))
        assert answer(app).settings.max_num_seqs == 64
        await pilot.press("enter")
        await until(pilot, lambda: at(app, Step.COMMAND) and "--max-num-seqs 64" in text_of(app))


@pytest.mark.parametrize("target", ["docker", "compose", "kubernetes"])
async def test_every_target_is_shown_copied_and_saved(target: str, tmp_path: Path) -> None:
    app = app_at(Step.COMMAND)
    async with app.run_test() as pilot:
        choice = app.screen.query_one("#target", Choice)
        await until(pilot, lambda: bool(app.screen.query_one("#command", TextArea).text))
        while choice.value != target:
            await pilot.press("right")
        await until(pilot, lambda: "vllm" in app.screen.query_one("#command", TextArea).text)
        await pilot.press("c")
        assert app.clipboard == app.screen.query_one("#command", TextArea).text
        await pilot.press("s")
        line = app.screen.query_one(Line)
        line.value = str(tmp_path / "out.txt")
        await pilot.press("enter")
        await until(pilot, (tmp_path / "out.txt").exists)
        assert (tmp_path / "out.txt").read_text().strip() == app.clipboard.strip()


async def test_a_file_that_cannot_be_written_is_an_answer(tmp_path: Path) -> None:
    app = app_at(Step.COMMAND)
    async with app.run_test(notifications=True) as pilot:
        await pilot.press("s")
        app.screen.query_one(Line).value = str(tmp_path / "no" / "such" / "folder")
        await pilot.press("enter")
        await until(pilot, lambda: "cannot write" in text_of(app))
