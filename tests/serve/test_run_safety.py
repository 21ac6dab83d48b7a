"""Run directories are data, and stopping works when nothing else does: real processes, real faults."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.cli import main
from planner.errors import PlannerError, UnsafePath
from planner.serve import Run, attach, launch, list_runs
from planner.serve.process.follower import follow
from planner.serve.process.record import RunRecord
from planner.serve.process.runs import place_run
from planner.state import append_records, make_private, runs_dir, state_dir, write_json

from .conftest import Fake, order
from .runs import ready, record

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def ended() -> Run:
    run = launch(order([sys.executable, "-c", ""]))
    for _ in follow(run, poll_s=0.03):
        pass
    return run


def test_an_end_with_code_0_before_it_was_ready_is_a_failure_and_its_log_is_read_once(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = ended().status()
    assert (status.state, status.exit_code) == ("failed", 0) and "never ready" in status.note
    run = Run(ended().directory)
    opened: list[int] = []
    real = Run.open_log
    monkeypatch.setattr(Run, "open_log", lambda self: opened.append(1) or real(self))
    assert {run.status().state for _ in range(3)} == {"failed"}
    assert len(opened) == 1


def change(run: Run, **entries: object) -> None:
    path = run.directory / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("target", ["local", "cuda"])
def test_no_word_of_a_run_directory_is_ever_run(fake: Fake, tmp_path: Path, target: str) -> None:
    run = ready(fake)
    spy = ["touch", str(tmp_path / "ran")]
    change(run, stop_argv=spy, remove_argv=spy, container=str(tmp_path / "x"), target=target, argv=spy, url="http://x/")
    (run.directory / "spawn.json").write_text(json.dumps({"argv": spy, "cleanup": [spy], "scratch": [str(tmp_path)]}))
    assert main(["attach", str(run.directory)]) == 0
    assert main(["stop", str(run.directory), "--grace", "1"]) == 0
    assert main(["runs", "--remove", str(run.directory)]) == 0
    assert not (tmp_path / "ran").exists() and fake.processes() == []


def test_what_is_started_reaches_the_supervisor_without_a_file(fake: Fake) -> None:
    run = ready(fake)
    names = {path.name for path in run.directory.iterdir()}
    assert "spawn.json" not in names and "command" in names


def test_a_container_is_named_by_its_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    run = place_run(record(target="cuda"), {}, directory=None)
    monkeypatch.setattr("planner.serve.process.run.ask_program", lambda argv, **_: asked.append(argv))
    change(run, container="somebody-elses-database")
    Run(run.directory)._docker("stop", wait_s=1)
    assert asked == [["docker", "stop", "m35-2026-1"]]


@pytest.mark.parametrize(
    "entries",
    [
        {"id": "../x"}, {"id": ""}, {"id": "a/b"}, {"id": 7}, {"target": "sh"}, {"target": ["local"]}, {"port": True},
        {"host": "a b"}, {"host": None}, {"argv": "rm"}, {"created_at_s": float("inf")}, {"history_key": []},
    ],
)  # fmt: skip
def test_an_entry_that_no_launch_writes_is_named(
    entries: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = place_run(record(), {}, directory=None)
    change(run, **entries)
    for words in (["stop"], ["attach"], ["diagnose"], ["runs", "--remove"]):
        assert main([*words, str(run.directory)]) == 2
        assert f"has no usable `{next(iter(entries))}`" in capsys.readouterr().err
    assert run.directory.is_dir()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.dictionaries(
        st.sampled_from(["id", "target", "port", "host", "argv", "launcher_pid", "created_at_s"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one)),
    )
)
def test_no_record_gives_a_traceback(state: Path, entries: dict[str, object]) -> None:
    folder = state / "made"
    make_private(folder)
    record().write(folder)
    document = json.loads((folder / "run.json").read_text()) | entries
    write_json(folder / "run.json", document)
    try:
        Run(folder).status()
    except PlannerError as error:
        assert "run.json" in str(error)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make_private(folder)
    made = record(history_key="k", target="rocm")
    made.write(folder)
    assert RunRecord.read(folder) == made


def test_a_directory_that_others_may_write_is_refused(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    run = ready(fake)
    run.directory.chmod(0o770)
    for words in (["stop"], ["attach"], ["diagnose"], ["runs", "--remove"], ["verify", "--run"]):
        assert main([*words, str(run.directory)]) == 2
        assert "can be written by other users" in capsys.readouterr().err
    assert main(["runs"]) == 0
    said = capsys.readouterr()
    assert run.id not in said.out and "can be written by other users" in said.err
    assert fake.processes(), "nobody stopped it by accident"
    run.directory.chmod(0o700)
    assert main(["stop", run.id]) == 0


@as_root
@pytest.mark.parametrize("which", ["directory", "run.json"])
def test_what_another_user_owns_is_refused(which: str) -> None:
    run = place_run(record(), {}, directory=None)
    os.chown(run.directory if which == "directory" else run.directory / which, 12345, 12345)
    with pytest.raises(UnsafePath, match="belongs to another user"):
        attach(run.directory)


def test_an_open_state_folder_is_refused_but_a_plan_works(capsys: pytest.CaptureFixture[str]) -> None:
    make_private(runs_dir())
    append_records(state_dir() / "calibration.jsonl", [{"x": 1}])
    runs_dir().chmod(0o777)
    (state_dir() / "calibration.jsonl").chmod(0o666)
    with pytest.raises(UnsafePath):
        list_runs()
    assert main(["launch", "--no-check", "--", "true"]) == 2
    assert main(["--gpus", "8xH200"]) == 0
    runs_dir().chmod(0o700)
    assert "calibration.jsonl` can be written by other users" in capsys.readouterr().err


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077, 0o177])
def test_the_state_is_private_whatever_the_umask(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new" / "state"))
    old = os.umask(umask)
    try:
        run = place_run(record(), {"note": "x"}, directory=None)
        append_records(state_dir() / "history.jsonl", [{"x": 1}])
    finally:
        os.umask(old)
    inside = [state_dir(), *state_dir().rglob("*")]
    assert run.directory in inside
    open_to_others = [str(path) for path in inside if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []


def test_an_older_folder_that_others_may_read_is_closed() -> None:
    state_dir().mkdir(parents=True, mode=0o755)
    state_dir().chmod(0o755)
    make_private(runs_dir())
    assert stat.S_IMODE(state_dir().stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["run.json", "process.json", "exit.json", "server.log", "events.jsonl", "plan.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "depth"])
def test_a_file_that_is_no_plain_file_is_never_followed(
    tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ended()
    secret = tmp_path / "secret"
    secret.write_text('{"pid": 1, "note": "not-to-be-seen"}\n')
    path = run.directory / name
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("[" * 200_000)
    for words in (
        ["runs"],
        ["attach", str(run.directory)],
        ["diagnose", str(run.directory)],
        ["stop", str(run.directory)],
    ):
        assert main(words) in (0, 2, 5), words
        said = capsys.readouterr()
        assert "Traceback (most" not in said.err and "not-to-be-seen" not in said.out + said.err
    assert secret.read_text().count("\n") == 1


def test_a_folder_here_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = place_run(record(), {}, directory=None)
    for name in ("latest", run.id):
        shutil.copytree(run.directory, tmp_path / "here" / name)
    monkeypatch.chdir(tmp_path / "here")
    assert attach("latest").directory == attach(run.id).directory == run.directory
    assert attach("./latest").directory == tmp_path / "here" / "latest"


def test_removing_a_copy_leaves_the_original_s_link(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    run = place_run(record(), {}, directory=home)
    (home / "stop").write_text("now")
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    assert main(["runs", "--remove", str(copy)]) == 0
    assert not copy.exists() and [one.directory for one in list_runs()] == [home] == [run.directory]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "/" + "x" * 300, "…" * 200])
def test_names_that_no_file_can_have(name: str) -> None:
    for words in (["stop"], ["attach"], ["diagnose"], ["runs", "--remove"], ["verify", "--run"]):
        assert main([*words, name]) == 2
