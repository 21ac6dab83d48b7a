"""Programs that are asked: they answer, end, hang, or cannot be ended."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from planner.serve import helper
from planner.serve.helper import ask_program

ASLEEP = [sys.executable, "-c", "import time; time.sleep(30)"]


def test_an_answer_comes_with_its_end() -> None:
    code = "import os, sys; print(sys.stdin.read() + os.environ['WHO']); print('x', file=sys.stderr); sys.exit(3)"
    answer = ask_program([sys.executable, "-c", code], timeout_s=30, stdin="hello ", env={"WHO": "you"})
    assert answer is not None
    assert (answer.returncode, answer.stdout, answer.stderr) == (3, "hello you\n", "x\n")


@pytest.mark.parametrize("argv", [["/nowhere/program"], ["/etc/hostname"], ["a\0b"], [str(Path(__file__).parent)]])
def test_what_cannot_run_gives_no_answer(argv: list[str]) -> None:
    assert ask_program(argv, timeout_s=30) is None


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    began = time.monotonic()
    assert ask_program(["sh", "-c", f"sleep 30 & echo $! > {note}; wait"], timeout_s=0.5) is None
    assert time.monotonic() - began < 10
    state = Path(f"/proc/{int(note.read_text())}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        pass
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_one_that_holds_the_pipe_open_is_not_waited_for() -> None:
    began = time.monotonic()
    assert ask_program(["sh", "-c", "sleep 30 & exit 0"], timeout_s=0.5) is None
    assert time.monotonic() - began < 10


def test_one_that_cannot_be_ended_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that waits for a dead disk takes no signal."""
    left: list[int] = []
    monkeypatch.setattr(helper.os, "killpg", lambda pid, _signal: left.append(pid))
    began = time.monotonic()
    assert ask_program(ASLEEP, timeout_s=0.2) is None
    assert time.monotonic() - began < 10
    monkeypatch.undo()
    os.kill(left[0], 9)
