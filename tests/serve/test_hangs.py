"""What `launch` says of a start that hangs while it does, and of a log that is no log any more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.cli import main
from planner.serve import list_runs
from planner.serve.process.follower import Follower
from planner.serve.process.history import remember_start
from planner.serve.process.run import Run
from planner.state import read_records
from tests.ports import own_port

from .conftest import Fake

pytestmark = pytest.mark.slow


def words(fake: Fake, fault: str, *more: str) -> list[str]:
    return ["launch", "--no-check", *more, "--", *fake.argv(fault), "--port", str(own_port())]


def test_a_hang_is_told_while_it_happens_with_the_usual_time_of_its_phase(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = words(fake, "hang", "--timeout", "load=2")
    assert main(argv) == 7
    first = capsys.readouterr()
    assert "no earlier start tells how long it takes" in first.err
    assert first.out.startswith("workers-hang: ") and "during: weights" in first.out
    # The same command was quick before.
    [run] = list_runs()
    remember_start(run.record.history_key, {"configure": 3.0, "load": 42.0}, 45.0)
    assert main(argv) == 7
    told = [line for line in capsys.readouterr().err.splitlines() if "waits for" in line]
    assert "waits for 1 min 0 s in weights (it usually takes 42.0 s here); if it goes on, workers-hang:" in told[0]
    assert "waits for 2 min 0 s" in told[1]


def test_a_hang_is_an_event_that_programs_read(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(fake, "hang", "--timeout", "load=1", "--json"))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stalls = [event for event in events if event["kind"] == "stall-seen"]
    assert {(event["code"], event["phase"]) for event in stalls} == {("workers-hang", "load")}
    assert [event["times"] for event in stalls[:3]] == [1, 2, 3]


def test_a_start_that_falls_silent_is_an_event_once_for_its_phase_and_is_kept(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.serve.process.follower.quiet_limit_s", lambda _phase, usual_s: 1.0)
    assert main(words(fake, "never-ready", "--timeout", "3", "--json")) == 7
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [quiet] = [event for event in events if event["kind"] == "quiet-seen"]
    assert 1 < quiet["waited_s"] < 3 and quiet["usual_s"] is None and quiet["last_seen"]
    assert [event["kind"] for event in events].index("quiet-seen") < [event["kind"] for event in events].index(
        "timed-out"
    )
    [run] = list_runs()
    assert [record for record in read_records(run.events_path) if record["kind"] == "quiet-seen"]


@pytest.mark.parametrize("fault", ["pipe", "link"])
def test_a_server_whose_log_was_replaced_is_ready_all_the_same(
    fault: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(fake, fault)) == 0
    said = capsys.readouterr()
    assert "ready    http://127.0.0.1:" in said.out
    assert "the log is not read" in said.err and "Traceback" not in said.err


def test_a_start_that_hangs_without_its_log_is_stopped(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[Path] = []
    poll = Follower.poll

    def replace(follower: Follower) -> object:
        if not replaced and follower.phase != "configure":
            follower.run.log_path.rename(follower.run.log_path.with_suffix(".old"))
            follower.run.log_path.symlink_to("/dev/null")
            replaced.append(follower.run.log_path)
        return poll(follower)

    monkeypatch.setattr(Follower, "poll", replace)
    assert main(words(fake, "never-ready", "--timeout", "capture=0.5")) == 7
    assert replaced and fake.processes() == []
    assert isinstance(list_runs()[0], Run)
    assert "the log is not read" in capsys.readouterr().err
