"""A launched server is stopped, started again as it was, and proved."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.cli import main
from planner.errors import LaunchFailed
from planner.serve import Run, launch, list_runs
from planner.serve.process.again import start_again
from planner.serve.process.follower import follow
from planner.serve.verification.restart import Restart
from planner.serve.verification.verifier import selected_checks, verify

from .conftest import READY_LOG, order

pytestmark = pytest.mark.slow

SERVER = Path(__file__).parent / "fakes" / "restarted_server.py"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A server that is up, started in a folder and with variables that are gone since."""
    folder = tmp_path / "there"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VLLM_API_KEY", "k-secret-key")
    argv = [sys.executable, str(SERVER), "serve", "m", "--log", str(READY_LOG)]
    run = launch(order(argv, env={"M35_MARK": "mine"}), history_key="t")
    list(follow(run))
    monkeypatch.chdir(tmp_path)
    return run


def test_it_comes_up_as_it_was_started_and_is_proved(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--run", run.id, "--restart", "--only", "chat", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    names = [check["name"] for check in report["checks"]]
    assert names == ["health", "model", "restart", "chat"] and report["passed"]
    restarted = next(one for one in list_runs() if one.id != run.id)
    assert restarted.id in report["checks"][2]["seen"] and "the same words" in report["checks"][2]["seen"]
    assert not run.status().alive and restarted.status().alive and restarted.url == run.url
    # In its folder, with its variables and its key, which no file holds.
    assert (tmp_path / "there" / "starts").read_text() == "mine k-secret-key\n" * 2
    assert restarted.record.argv == run.record.argv and restarted.record.history_key == "t"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [("crash", "did not come up again"), ("salad", "the answer is not text"), ("template", "<|im_end|>")],
)
def test_what_the_restart_broke_is_said_of_it_and_nothing_else_is_blamed(
    fault: str, seen: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "there" / "fault").write_text(fault)
    again = Restart(run=run)
    report = verify(run.url, checks=selected_checks(only=["chat"], restart=again), timeout_s=20.0)
    results = {check.name: check for check in report.checks}
    assert results["restart"].status == "fail" and seen in results["restart"].seen
    assert results["chat"].status == "skip" and "the restart failed" in results["chat"].seen


def test_only_what_was_launched_here_and_lives_is_started_again(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", run.url, "--restart"]) == 2
    assert "docker restart" in capsys.readouterr().err
    copied = tmp_path / "copied"
    copied.mkdir(mode=0o700)
    for file in run.directory.iterdir():
        if file.is_file():
            (copied / file.name).write_bytes(file.read_bytes())
            (copied / file.name).chmod(0o600)
    with pytest.raises(LaunchFailed, match="not the one that its directory tells of"):
        start_again(Run(copied))
    assert run.status().alive
    run.stop()
    with pytest.raises(LaunchFailed, match="does not run"):
        start_again(run)
