"""Stopping and starting when nothing else works."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.cli import main
from planner.serve import list_runs
from planner.serve.process.ending import find_strays
from planner.serve.process.runs import place_run
from planner.serve.process.sessions import lives
from planner.serve.process.supervisor import Supervisor
from planner.serve.start_report import report_start
from planner.state import read_records
from tests.ports import own_port

from .conftest import Fake
from .runs import ready, record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def wait_for(condition: Callable[[], object], limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_no_server_alive(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ready(fake, workers=1)
    pid = run.status().pid
    assert pid is not None
    monkeypatch.setattr("planner.serve.process.run.write_atomic", no_room)
    monkeypatch.setattr("planner.serve.process.run.write_json", no_room)
    assert main(["stop", "--grace", "1"]) == 0
    said = capsys.readouterr()
    assert fake.processes() == [] and not lives(pid)
    assert f"{run.id}  killed" in said.out and "could not be recorded: no space left on device" in said.err


def test_the_signal_comes_before_the_mark(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ready(fake)
    pid = run.status().pid
    assert pid is not None

    def hang(*_: object) -> None:
        # A file system that does not answer: by then the server must be going.
        wait_for(lambda: not fake.processes())
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("planner.serve.process.run.write_atomic", hang)
    assert run.stop(grace_s=5).how == "terminated"


def test_a_supervisor_that_cannot_write_ends_what_it_started(fake: Fake) -> None:
    run = place_run(record(), {}, directory=None)
    spawn = {"argv": [*fake.argv(workers=1), "--host", "127.0.0.1", "--port", "0"], "cwd": "/", "cleanup": [],
             "scratch": [], "end_with": None}  # fmt: skip
    child = os.fork()
    if child == 0:
        os.setsid()
        supervisor = Supervisor(run.directory, spawn)
        announce = supervisor.announce

        def then_no_room(server: int | None = None) -> None:
            announce(server)
            supervisor._write = no_room  # type: ignore[method-assign]

        supervisor.announce = then_no_room  # type: ignore[method-assign]
        os._exit(supervisor.run())
    wait_for(lambda: len(fake.processes()) == 2)
    assert run.stop(grace_s=5).how == "terminated"
    os.waitpid(child, 0)
    assert fake.processes() == []


def test_a_server_whose_run_directory_was_deleted_is_found_and_stopped(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ready(fake, workers=1)
    shutil.rmtree(run.directory)
    assert [stray.id for stray in find_strays() if stray.is_listed] == [run.id]
    assert main(["runs"]) == 0
    assert f"`m35-plan stop {run.id}`" in capsys.readouterr().err
    assert main(["stop", run.id, "--grace", "1"]) == 0
    assert fake.processes() == [] and not any(stray.is_listed for stray in find_strays())


def test_all_are_stopped_although_nothing_can_be_said(fake: Fake) -> None:
    runs = [ready(fake) for _ in range(2)]
    for redirect, code in ((">/dev/full", 1), (">&- 2>&- <&-", 0)):
        script = f"exec {sys.executable} -m planner stop --all --grace 1 {redirect}"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=60)
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert fake.processes() == [] and not any(run.status().alive for run in runs)
        runs = [ready(fake)]


def test_a_launch_with_closed_streams_starts(fake: Fake) -> None:
    words = f"launch --detach --no-check --port {own_port()} -- {' '.join(fake.argv())} >&- 2>&- <&-"
    script = f"exec {sys.executable} -m planner {words}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    wait_for(lambda: fake.processes())
    [run] = list_runs()
    assert run.stop(grace_s=1).how == "terminated"
    assert fake.processes() == []


def test_a_deleted_working_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Fake) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert main(["launch", "--no-check", "--", *fake.argv()]) == 5
        assert main(["runs"]) == 0
    finally:
        os.chdir("/")
    assert fake.processes() == []


def test_a_start_is_reported_although_the_report_cannot_be_kept(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ready(fake)
    monkeypatch.setattr("planner.serve.start_report.write_json", no_room)
    assert report_start(run).outcome == "open"
    assert read_records(run.events_path)


def test_diagnose_of_a_closed_stdin_is_said() -> None:
    script = f"{sys.executable} -m planner diagnose - <&-"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_damaged_records_of_starts_are_told(fake: Fake, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fake.launch()
    assert main(["attach", run.id]) == 0
    for path in (state / "history.jsonl", run.events_path):
        path.write_text("{no json\n" + path.read_text())
    capsys.readouterr()
    assert main(["attach", run.id]) == 0
    said = capsys.readouterr().err
    assert "line 1 of `history.jsonl`" in said and "line 1 of `events.jsonl`" in said
