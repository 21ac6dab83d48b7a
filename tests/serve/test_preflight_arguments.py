"""The engine's parser is asked first, waited for last, and not asked twice for the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import state
from planner.serve import run_preflight
from planner.serve.helper import Asked
from planner.serve.preflight import CHECKS

from .machine import CLI_ARGS, Machine, one

ASKED = "open({path!r}, 'a').write('x')\n"


@pytest.fixture
def asked(machine: Machine, tmp_path: Path) -> Path:
    """A file that grows by a letter whenever the parser is asked."""
    path = tmp_path / "asked"
    path.touch()
    machine.add_parser(text=ASKED.format(path=str(path)) + CLI_ARGS)
    return path


def test_what_was_taken_is_not_asked_again_until_something_changes(
    machine: Machine, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = machine.start()
    assert one(start, "arguments").seen.endswith("flags")
    again = one(start, "arguments")
    assert again.status == "pass" and "as it said on 2" in again.seen and asked.read_text() == "x"
    text = (state.state_dir() / "taken-flags.json").read_text()
    assert "serve" not in text and "model" not in text.lower()
    machine.install("torch", "2.14.0")
    assert "as it said" not in one(start, "arguments").seen
    machine.add_parser(text=ASKED.format(path=str(asked)) + CLI_ARGS + "\n# changed\n")
    assert "as it said" not in one(start, "arguments").seen
    assert one(machine.start("--enable-mm-embeds"), "arguments").status == "pass"
    assert asked.read_text() == "xxxx"


def test_what_was_refused_is_asked_again(machine: Machine, asked: Path) -> None:
    for _ in range(2):
        assert one(machine.start("--nonsense"), "arguments").status == "fail"
    assert asked.read_text() == "xx"


def test_a_state_that_cannot_be_kept_is_no_fault(
    machine: Machine, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert one(machine.start(), "arguments").status == "pass"
    assert asked.read_text() == "xx"


def test_it_is_waited_for_last_and_ended_where_nobody_waits(machine: Machine) -> None:
    assert CHECKS.names[-1] == "arguments"
    machine.add_parser(text="import time\ntime.sleep(60)\n")
    start = machine.start()
    results = run_preflight(start.order, plan=start.plan, only=["vllm", "arguments"])
    assert next(results).name == "vllm"
    results.close()  # Within a second: the parser's process is ended, not waited for.


def test_a_program_that_is_not_there_answers_nothing() -> None:
    asked = Asked(["/nowhere/program"], stdin="x")
    asked.hand_in()
    assert asked.answer(1.0) is None
    gone = Asked(["true"], stdin="x" * 100_000)
    gone.hand_in()
    found = gone.answer(5.0)
    assert found is not None and found.returncode == 0
    gone.leave()
