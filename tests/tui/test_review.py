"""The door for what people already have: judged beside the text, cured one by one, and on to a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from hw_specs import M35Error
from planner import Plan
from tui.app import M35App
from tui.reviewing import read_artefact
from tui.screens.review import ReviewScreen
from tui.screens.step import StepScreen
from tui.widgets.fields import Line
from tui.wizard import Step

from .world import app_at, at, backend, text_of, until

pytestmark = pytest.mark.slow

LINE = "vllm serve mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8 --enable-mm --seed 7"
COMPOSE = """\
services:
  llm:
    # keep this comment
    image: vllm/vllm-openai:v0.33.0
    command: >-
      mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8
      --max-model-len 65536 --tokenizer-mode mistral
    ports: ["8000:8000"]
"""


def review(app: M35App) -> ReviewScreen:
    assert isinstance(app.screen, ReviewScreen)
    return app.screen


def text(app: M35App) -> TextArea:
    return app.screen.query_one("#artefact", TextArea)


def codes(app: M35App) -> list[str]:
    found = review(app).review
    return [one.code for one in found.findings] if found else []


async def test_a_pasted_command_is_judged_cured_and_planned_with_its_own_flags() -> None:
    app = app_at(Step.GPUS, doors=backend())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))
        app.screen.query_one("#review-gpus", Line).value = "8xH200"
        text(app).text = LINE
        await until(pilot, lambda: "flag-abbreviated" in codes(app) or "flag-unknown" in codes(app))
        before = len(codes(app))
        await pilot.press("escape")
        screen = review(app)
        await until(pilot, lambda: not isinstance(screen.focused, TextArea))
        await pilot.press("a")
        await until(pilot, lambda: len(codes(app)) < before)
        assert "--enable-mm " not in text(app).text, "the flag that does not exist went"
        assert "--seed 7" in text(app).text
        await pilot.press("enter")
        await until(pilot, lambda: at(app, Step.COMMAND))
        step = app.screen
        assert isinstance(step, StepScreen)
        await until(pilot, lambda: isinstance(step.answer, Plan))
        assert isinstance(step.answer, Plan) and step.answer.settings.tensor_parallel_size == 8
        await until(pilot, lambda: "--seed 7" in text_of(app))


async def test_fixes_are_applied_one_by_one_and_keep_the_rest_of_the_file(tmp_path: Path) -> None:
    home = tmp_path / "compose.yaml"
    home.write_text(COMPOSE)
    app = M35App(backend=backend(), review=home)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(codes(app)))
        screen = review(app)
        fixes = [index for index, one in enumerate(screen._findings) if one.edits]
        assert fixes, "something in it can be mended"
        await pilot.press(*["down"] * fixes[0])
        kept, before = codes(app), text(app).text
        await pilot.press("f")
        await until(pilot, lambda: text(app).text != before)
        assert len(codes(app)) < len(kept)
        assert "# keep this comment" in text(app).text
        await pilot.press("s")
        await until(pilot, lambda: not isinstance(app.screen, ReviewScreen))
        await pilot.press("enter")
        await until(pilot, lambda: home.read_text() != COMPOSE)


async def test_findings_stand_beside_their_line() -> None:
    app = M35App(backend=backend(), review=Path("/no/such/file"))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "cannot read" in text_of(app))
        text(app).text = COMPOSE
        await until(pilot, lambda: bool(codes(app)))
        review(app).query_one("#findings Rows").focus()
        found = review(app)._findings
        await pilot.press(*["down"] * (len(found) - 1))
        await until(pilot, lambda: text(app).cursor_location[0] == found[-1].line - 1)
        await until(pilot, lambda: found[-1].message[:20] in text_of(app))


async def test_what_cannot_be_planned_says_why_and_a_text_without_a_server_says_so() -> None:
    app = app_at(Step.GPUS, doors=backend())
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))
        app.screen.query_one("#review-gpus", Line).value = "8xH2000"
        await until(pilot, lambda: "✗ no GPU is called `H2000`" in text_of(app))
        app.screen.query_one("#review-gpus", Line).value = ""
        text(app).text = "hello"
        await until(pilot, lambda: "no vLLM server found in this text" in text_of(app))
        text(app).text = LINE
        await until(pilot, lambda: "its GPUs are not known" in text_of(app))
        await pilot.press("escape", "enter")
        await until(pilot, lambda: "cannot be planned" in text_of(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "What do you have already?" in text_of(app))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: at(app, Step.GPUS))


def test_what_is_no_file_of_a_deployment_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a" * ((1 << 20) + 1))
    for path in (large, tmp_path, tmp_path / "absent"):
        with pytest.raises(M35Error):
            read_artefact(path)
