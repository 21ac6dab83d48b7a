"""What one session leaves for the next."""

from __future__ import annotations

import dataclasses
import signal
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as slowly
from hypothesis import strategies as st

from planner import plan, serve_command
from planner.rendering.argv import read_command
from planner.settings import Layout
from planner.state import state_dir
from tui.app import M35App
from tui.remembering import Remembered, forget, remember, remembered, wizard_file
from tui.screens.dialogues import Ask
from tui.widgets.fields import Line
from tui.wizard import Answers, Step, effective_request, with_layout

from . import stage
from .test_terminal import Terminal
from .world import app_at, at, backend, request, text_of, typed, until

pytestmark = pytest.mark.slow


def there_and_back(answers: Answers, step: Step = Step.PLAN) -> Remembered:
    remember(Remembered(answers=answers, step=step), plan(effective_request(answers)))
    return remembered()


@slowly(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    st.sampled_from(["8xH200", "2x8xB200", "1xMI300X", "1xH100"]),
    st.sampled_from([(), stage.LOADED]),
    st.sampled_from([None, 16]),
    st.sampled_from([None, 4096]),
)
def test_the_question_is_found_again(
    gpus: str, load: tuple[tuple[str, object], ...], concurrency: int | None, length: int | None
) -> None:
    answers = Answers(request=request(gpus, concurrency=concurrency, max_model_len=length), load=load, port=8001)
    found = there_and_back(answers).answers
    assert found is not None
    assert (found.load, found.port) == (load, 8001)
    assert found.request is not None and found.request.concurrency == concurrency
    before, after = effective_request(answers), effective_request(found)
    assert after == before


def test_layouts_levers_and_edits_are_found_again() -> None:
    two = Layout(tensor_parallel_size=2, pipeline_parallel_size=1, replicas=4)
    answers = with_layout(Answers(request=request()), two)
    found = there_and_back(answers).answers
    assert found is not None and effective_request(found).replicas == 4
    planned = plan(request())
    edited = read_command(serve_command(planned).shell + " --seed 7 --max-num-seqs 64", plan=planned)
    found = there_and_back(Answers(request=request(), edited=edited)).answers
    assert found is not None and found.edited is not None
    assert found.edited.unplanned == edited.unplanned
    assert effective_request(found).max_num_seqs == 64


def test_only_the_owner_can_read_it_and_rubbish_is_nothing() -> None:
    there_and_back(Answers(request=request()))
    assert stat.S_IMODE(wizard_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(state_dir().stat().st_mode) == 0o700
    for rubbish in ("", "{", "[]", "{}", '{"plan": 1, "window_s": 7, "theme": 3}'):
        wizard_file().write_text(rubbish)
        assert dataclasses.replace(remembered(), faults=()) == Remembered()
    forget()
    forget()
    assert remembered() == Remembered()


async def test_a_session_goes_on_where_it_was_and_quitting_asks_nothing() -> None:
    first = app_at(Step.WORKLOAD)
    async with first.run_test(size=(100, 30)) as pilot:
        first.screen.query_one("#max_model_len", Line).focus()
        await typed(pilot, "64K")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not first.is_running or first.return_code == 0)
    kept = remembered()
    second = M35App(backend=backend(), kept=kept)
    async with second.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(second.screen, Ask))
        await until(pilot, lambda: "continue where you were: 8xH200, Workload" in text_of(second))
        await pilot.press("enter")
        await until(pilot, lambda: at(second, Step.WORKLOAD))
        await until(pilot, lambda: "65,536" in text_of(second))


async def test_something_new_begins_without_the_old_answers() -> None:
    kept = there_and_back(Answers(request=request("2xB200")))
    app = M35App(backend=backend(), kept=kept)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(app, Step.GPUS))


async def test_the_palette_that_was_chosen_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = app_at(Step.PLAN)
    async with first.run_test(size=(100, 30)) as pilot:
        first.theme = "m35-light"
        await pilot.press("q")
        await until(pilot, lambda: not first.is_running or first.return_code == 0)
    assert remembered().theme == "m35-light"
    second = app_at(Step.PLAN)
    second.kept = remembered()
    async with second.run_test(size=(100, 30)):
        assert second.theme == "m35-light"
    third = app_at(Step.PLAN)
    third.kept = Remembered(theme="gone")
    async with third.run_test(size=(100, 30)):
        assert third.theme == "m35-dark"


async def test_whoever_only_looks_leaves_nothing() -> None:
    app = app_at(Step.PLAN, doors=backend(readonly=True))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running or app.return_code == 0)
    assert not wizard_file().exists()


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
def test_a_window_that_is_closed_loses_nothing(tmp_path: Path, how: signal.Signals) -> None:
    first = Terminal(sys.executable, "-m", "tui", "--gpus", "1xMI300X", state=tmp_path)
    first.until("draft tokens")
    first.send("\x1b[B65536")
    first.until("65,536")
    first.process.send_signal(how)
    assert first.ended() == 0
    first.close()
    second = Terminal(sys.executable, "-m", "tui", state=tmp_path)
    second.until("continue where you were: 1xMI300X, Workload")
    second.send("\r")
    second.until("65,536")
    second.close()


def test_a_real_terminal_finds_the_last_session_and_fresh_forgets_it(tmp_path: Path) -> None:
    def wizard(*words: str) -> Terminal:
        return Terminal(sys.executable, "-m", "tui", *words, state=tmp_path)

    first = wizard("--gpus", "1xMI300X")
    first.until("draft tokens")
    first.send("\x11")  # Ctrl-Q
    assert first.ended() == 0
    first.close()
    second = wizard()
    second.until("continue where you were: 1xMI300X, Workload")
    second.close()
    third = wizard("--fresh")
    third.until("catalogue")
    third.close()
    assert not (tmp_path / "m35-plan" / "wizard.json").exists()
