"""What is damaged is left out, and the wizard says so, word for word."""

from __future__ import annotations

import pytest

from planner.serve.bench import benchmarks_path
from planner.state import calibrations_path, history_path, make_private, runs_dir, state_dir
from tui.damage import damage_of, damaged_records
from tui.remembering import Remembered, remembered, wizard_file
from tui.screens.dialogues import Ask, Warnings
from tui.wizard import Step

from . import stage
from .world import app_at, at, text_of, typed, until

pytestmark = pytest.mark.slow


def test_every_record_that_is_left_out_is_told_with_its_file() -> None:
    assert damaged_records() == ()
    make_private(runs_dir() / "20260101-000000-dead")
    (runs_dir() / "20260101-000000-dead" / "run.json").write_text("{")
    calibrations_path().write_text('{"schema": 2, "gpu"\n{"schema": 2}\n')
    history_path().write_text('[1]\n{"key": "k", "phases_s": {}, "total_s": 1.0}\n')
    benchmarks_path().write_text('{"schema": 1')
    told = damaged_records()
    for file, what in (
        ("20260101-000000-dead", "damaged"), ("calibration.jsonl", "line 1"), ("calibration.jsonl", "it has no"),
        ("history.jsonl", "is not a JSON object"), ("benchmarks.jsonl", "line 1"),
    ):  # fmt: skip
        assert [fault for fault in told if file in fault and what in fault], (file, what, told)


def test_a_run_tells_what_of_its_own_is_left_out() -> None:
    run = stage.finished_run()
    assert damage_of(run) == ()
    run.events_path.write_text("{\n")
    (run.directory / "plan.json").write_text("{}")
    seen, planned = damage_of(run)
    assert "events.jsonl" in seen and "line 1" in seen
    assert "plan.json" in planned
    (run.directory / "plan.json").unlink()
    assert len(damage_of(run)) == 1, "a command without a plan is no damage"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"plan": 1, "step": "plan"}', "cannot be used"),
        ('{"plan": {}, "concurrency": null}', "cannot be used"),
    ],
)
def test_a_damaged_session_is_told_and_kept_aside(text: str, what: str) -> None:
    make_private(state_dir())
    wizard_file().write_text(text)
    (fault,) = remembered(touch=False).faults
    assert what in fault and wizard_file().exists()
    (fault,) = remembered().faults
    assert what in fault and str(wizard_file()) in fault and "wizard.json.damaged" in fault
    assert not wizard_file().exists()
    assert wizard_file().with_name("wizard.json.damaged").read_text() == text
    assert remembered() == Remembered()


async def test_the_wizard_says_it_and_shows_it_again() -> None:
    doors = stage.staged(damaged=lambda: ("/one is not JSON", "/two is not JSON"))
    app = stage.app_at(Step.PLAN, doors=doors)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "/one is not JSON" in text_of(app))
        assert "and 1 more" in text_of(app)
        await pilot.press("ctrl+p")
        await typed(pilot, "left out")
        await until(pilot, lambda: "What was left out" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Warnings))
        await until(pilot, lambda: "/two" in text_of(app))


async def test_a_run_that_is_taken_up_tells_its_damage() -> None:
    run = stage.finished_run()
    (run.directory / "plan.json").write_text("{")
    app = app_at(Step.VERIFY, doors=stage.staged(), run_id=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: at(app, Step.VERIFY))
        await until(pilot, lambda: any("plan.json" in fault for fault in app.damage))


async def test_what_is_told_is_told_word_for_word() -> None:
    """Brackets are markup to Textual: they were swallowed, and a closing one ended the wizard."""
    app = app_at(Step.PLAN)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: at(app, Step.PLAN))
        app.screen.notify("pip install 'x[image]' [/y]")
        await until(pilot, lambda: "'x[image]' [/y]" in text_of(app))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "^q quits" in text_of(app))
        assert "[b]" not in text_of(app)
        app.push_screen(Ask("which?", (("0", "host [/rack 1]"),), title="hosts"))
        await until(pilot, lambda: "host [/rack 1]" in text_of(app))
