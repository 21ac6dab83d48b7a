from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InvalidRequest, PlannerError
from planner.serve.log.events import PHASES, Figure, PhaseStarted, Progress
from planner.serve.process.follower import stall_limits
from planner.serve.process.progress import StartProgress, expected_durations, seconds_after
from planner.serve.process.tail import LogTail
from planner.state import append_records, make_private, read_json, read_records, state_dir, write_json

HISTORY = [
    {"key": "a", "phases_s": {"configure": 20, "load": 60, "profile": 30, "capture": 10}},
    {"key": "b", "phases_s": {"load": 999}},
    {"key": "a", "phases_s": {"configure": 22, "load": 80, "profile": 30, "capture": 14}},
    {"key": "a", "phases_s": "broken"},
]


def test_time_left_comes_from_earlier_starts_with_the_same_key() -> None:
    expected, starts = expected_durations(HISTORY, "a")
    assert expected == {"configure": 21, "load": 70, "profile": 30, "capture": 12} and starts == 3
    progress = StartProgress(expected_s=expected, earlier_starts=starts)
    assert progress.view(at_s=1.0).remaining_s == pytest.approx(132.0)
    progress = progress.after([PhaseStarted(phase="load")], at_s=25.0)
    assert progress.view(at_s=35.0).remaining_s == pytest.approx(102.0)
    progress = progress.after([Progress(phase="load", done=1, total=4)], at_s=45.0)
    assert progress.view(at_s=45.0).remaining_s == pytest.approx(60.0 + 42.0)


def test_without_an_earlier_start_nothing_is_made_up() -> None:
    expected, starts = expected_durations(HISTORY, "unknown")
    view = StartProgress(expected_s=expected, earlier_starts=starts).view(at_s=5.0)
    assert view.remaining_s is None and view.earlier_starts == 0
    assert expected_durations(HISTORY, "") == ({}, 0)


def test_phases_that_were_jumped_over_are_skipped() -> None:
    progress = StartProgress()
    progress = progress.after([PhaseStarted(phase="load"), PhaseStarted(phase="ready")], at_s=9.0)
    states = {row.phase: row.state for row in progress.view(at_s=12.0).phases}
    assert states["download"] == "skipped" and states["load"] == "done" and states["ready"] == "done"
    assert progress.view(at_s=99.0).elapsed_s == 9.0 and progress.view(at_s=99.0).remaining_s == 0.0


@given(st.lists(st.tuples(st.sampled_from(PHASES), st.floats(0, 1000)), max_size=20))
def test_no_order_of_events_breaks_the_display(steps: list[tuple[str, float]]) -> None:
    progress = StartProgress(expected_s={"load": 5.0})
    for phase, at_s in sorted(steps, key=lambda step: step[1]):
        progress = progress.after([PhaseStarted(phase=phase)], at_s=at_s)
        view = progress.view(at_s=at_s)
        assert len(view.phases) == len(PHASES)
        assert sum(row.state == "now" for row in view.phases) <= 1
        assert all(row.elapsed_s is None or row.elapsed_s >= 0 for row in view.phases)


@pytest.mark.parametrize(
    ("figure", "title"),
    [(("enforce_eager", "True"), "warm-up"), (("device", "cpu"), "warm-up"), (("device", "cuda"), "graphs")],
)
def test_a_start_without_graphs_captures_none(figure: tuple[str, str], title: str) -> None:
    progress = StartProgress()
    progress = progress.after([Figure(name=figure[0], value=figure[1]), PhaseStarted(phase="capture")], at_s=1.0)
    assert [row.title for row in progress.view(at_s=2.0).phases if row.state == "now"] == [title]


def test_events_that_are_read_late_get_the_engine_s_time() -> None:
    launch_s = time.mktime(time.strptime("2026-12-31 23:59:50", "%Y-%m-%d %H:%M:%S"))
    assert seconds_after("12-31 23:59:55", launch_s=launch_s, at_most_s=100.0) == 5.0
    assert seconds_after("01-01 00:00:10", launch_s=launch_s, at_most_s=100.0) == 20.0
    assert seconds_after("12-31 22:59:55", launch_s=launch_s, at_most_s=100.0) == 100.0
    assert seconds_after("02-30 25:61:61", launch_s=launch_s, at_most_s=100.0) == 100.0


def test_limits_of_phases_are_checked() -> None:
    assert stall_limits({"load": 5})["load"] == 5
    with pytest.raises(InvalidRequest, match="there is no phase `boot`"):
        stall_limits({"boot": 5})
    with pytest.raises(InvalidRequest, match="must be positive"):
        stall_limits({"load": float("nan")})


# ---------------------------------------------------------------- tail and store


def test_a_tail_sees_growth_truncation_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.read() == b""
    path.write_bytes(b"one")
    assert tail.read() == b"one" and tail.read() == b""
    with path.open("ab") as file:
        file.write(b"two")
    assert tail.read() == b"two"
    path.write_bytes(b"x")
    assert tail.read() == b"x"
    with path.open("ab") as file:
        file.write(b"last")
        path.rename(tmp_path / "log.1")
    path.write_bytes(b"new")
    assert tail.read() == b"last"
    assert tail.read() == b"new"
    tail.close()


def test_records_survive_torn_lines_and_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    append_records(path, [{"n": 0}])
    with path.open("ab") as file:
        file.write(b'{"n": 1, "torn')
    threads = [threading.Thread(target=append_records, args=(path, [{"n": n}] * 20)) for n in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = read_records(path)
    assert len(records) == 1 + 6 * 20 and records[0] == {"n": 0}
    assert path.stat().st_mode & 0o077 == 0


def test_documents_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1} and [p.name for p in tmp_path.iterdir() if p.name == "a.json"]
    assert read_json(tmp_path / "none.json") is None
    path.write_text(json.dumps([1]))
    assert read_json(path) is None


def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dir() == tmp_path / "m35-plan"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local" / "state" / "m35-plan"
    (tmp_path / "file").write_text("")
    with pytest.raises(PlannerError, match="cannot create"):
        make_private(tmp_path / "file" / "below")
    assert (tmp_path / "file").exists()
