"""What killed commands leave, the next command clears; what somebody still uses, nobody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOLDER = """\
import sys, time
from pathlib import Path
from planner.serve.process.scratch import hold, scratch_folder
if sys.argv[1] == "scratch":
    with scratch_folder(sys.argv[2]) as folder:
        (folder / "file").write_text("x")
        print(folder, flush=True)
        time.sleep(600)
folder = Path(sys.argv[2])
folder.mkdir(0o700)
held = hold(folder)
print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "m35-plan" / "runs").mkdir(parents=True, mode=0o700)
    (tmp_path / "m35-plan").chmod(0o700)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def runs() -> None:
    done = subprocess.run([sys.executable, "-m", "planner", "runs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["m35-twin-", "m35-bench-", "draft", "removed"])
def test_the_next_command_clears_what_a_killed_one_left(kind: str, place: Path) -> None:
    if kind in ("draft", "removed"):
        argv = ["folder", str(place / "m35-plan" / "runs" / f".20261123-155214-9f3a.{kind}")]
    else:
        argv = ["scratch", kind]
    with subprocess.Popen([sys.executable, "-c", HOLDER, *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert folder.is_dir()
        runs()
        assert folder.is_dir(), "a command that runs keeps its folder"
        holder.send_signal(signal.SIGKILL)
    runs()
    assert not folder.exists()


def test_an_interrupted_command_clears_its_own(place: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, "scratch", "m35-twin-"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        holder.send_signal(signal.SIGINT)
    assert not folder.exists()


def test_half_written_files_of_a_run_go_when_their_writer_is_gone(place: Path) -> None:
    run = place / "m35-plan" / "runs" / "20261123-155214-9f3a"
    run.mkdir(0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [run / ".run.json.abcd_123", run / f".process.json.{gone.pid}"]
    kept = [run / "server.log", run / f".exit.json.{os.getpid()}", run / ".hidden"]
    for path in (*left, *kept):
        path.touch(0o600)
    runs()
    assert [path for path in left if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_nothing_of_somebody_else_is_touched(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    kept = [place / "m35-plan" / "runs" / ".notes.draft", place / "tmp" / "m35-notes", elsewhere / "file"]
    kept[0].mkdir()
    kept[1].mkdir()
    (place / "tmp" / "m35-twin-link").symlink_to(elsewhere)
    (place / "m35-plan" / "runs" / ".20261123-155214-9f3a.draft").symlink_to(elsewhere)
    runs()
    assert all(path.exists() for path in kept)


SUITE = """\
import subprocess, sys, pathlib
def test_it(tmp_path):
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    server = subprocess.Popen(argv, start_new_session=True)
    pathlib.Path({mark!r}).write_text(str(server.pid))
    import time
    time.sleep(600)
"""


def test_a_killed_test_suite_leaves_no_server(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    os.mkfifo(mark)
    (tmp_path / "test_one.py").write_text(SUITE.format(mark=str(mark)))
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_one.py")]
    with subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as suite:
        with mark.open() as file:
            server = int(file.read())
        suite.send_signal(signal.SIGKILL)
    # Ends with the process, whoever its parent is.
    watched = os.pidfd_open(server)
    import select

    assert select.select([watched], [], [], 30)[0], "the server outlived the suite"
    os.close(watched)
