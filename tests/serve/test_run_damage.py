"""Run directories that are damaged: no traceback, and no server is hidden."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys

import pytest

from planner.cli import main
from planner.errors import PlannerError
from planner.serve import launch
from planner.serve.log.events import (
    ServerEnded,
)
from planner.serve.process.runs import remove_run

from .conftest import Fake, order
from .runs import wait_for, watch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("run.json", {"created_at_s": "abc"}),
        ("run.json", {"created_at_s": 1e300}),
        ("run.json", {"launcher_pid": None}),
        ("run.json", {"argv": []}),
        ("run.json", {"port": "12a"}),
        ("run.json", {"host": "a b"}),
        ("process.json", {"pid": None}),
        ("process.json", {"pid": "12a"}),
        ("process.json", None),
        ("exit.json", {"exit_code": "abc"}),
        ("plan.json", {"kv_cache": {}}),
    ],
)
def test_a_damaged_run_directory_gives_no_traceback(
    fake: Fake, capsys: pytest.CaptureFixture[str], file: str, change: dict[str, object] | None
) -> None:
    run = launch(order([sys.executable, "-c", ""]))
    watch(run)
    path = run.directory / file
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text("{" if change is None else json.dumps(document | change))
    (run.directory / "exit.json").unlink() if file == "process.json" else None
    for words in (["runs"], ["runs", "--json"], ["attach", str(run.directory)], ["stop", str(run.directory)]):
        assert main(words) in (0, 2, 5)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert ("is damaged: its run.json has no usable" in said.err) == (file == "run.json")


@pytest.mark.parametrize("text", ["", '{"pid": 12', '{"pid": null}'])
def test_a_damaged_record_hides_no_server(fake: Fake, text: str) -> None:
    run = fake.launch(workers=1)
    watch(run)
    (run.directory / "process.json").write_text(text)
    assert run.status().state == "running" and run.listens()
    with pytest.raises(PlannerError, match="still running"):
        remove_run(run)
    run.stop(grace_s=0.2)
    assert fake.processes() == [] and not run.status().alive


def test_what_a_killed_server_and_supervisor_leave_is_no_running_server(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake.launch("never-ready", workers=2)
    wait_for(run.listens)
    wait_for(lambda: run.log_path.stat().st_size > 0)
    process = json.loads((run.directory / "process.json").read_text())
    os.kill(process["pid"], signal.SIGKILL)
    os.kill(process["server_pid"], signal.SIGKILL)
    wait_for(lambda: run.status().remains == 2)
    assert run.status().state == "lost" and len(fake.processes()) == 2
    assert main(["diagnose", run.id]) == 5  # its log ends in the middle of a start that went well
    assert "its server was killed, and its supervisor as well" in " ".join(capsys.readouterr().out.split())
    assert isinstance(watch(run)[-1], ServerEnded)
    assert main(["attach", run.id]) == 5  # it does not hang, and clears
    assert fake.processes() == []
    assert run.status().state == "failed" and "2 processes are left" in run.status().note


def test_the_records_are_the_owner_s_alone(fake: Fake) -> None:
    old = os.umask(0o022)
    try:
        run = fake.launch()
    finally:
        os.umask(old)
    watch(run)
    run.stop(grace_s=1.0)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run.directory.iterdir() if path.is_file()}
    assert {"process.json", "exit.json"} <= modes.keys()
    assert {name: mode for name, mode in modes.items() if mode != 0o600} == {}
