from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from planner.cli import main
from planner.serve import Run, StartOrder, launch, list_runs
from tests.ports import own_port

from .logs import LOGS
from .machine import Machine
from .said import Said

SERVER = Path(__file__).parent / "fakes" / "replay_server.py"
READY_LOG = LOGS / "0.32.0-cpu" / "text-only.log"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test has its own state directory and leaves no process behind."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    yield tmp_path / "state" / "m35-plan"
    for run in list_runs():
        run.stop(grace_s=0.2)


def order(argv: Sequence[str], *, env: Mapping[str, str] | None = None, port: int | None = None) -> StartOrder:
    """A start of `argv` on this machine, at a free port unless `port` names one."""
    return StartOrder.of_command(argv, env=env, port=port or own_port())


class Fake:
    """Launches the replaying server and knows its processes by a token on their command lines."""

    def __init__(self) -> None:
        self.token = f"replay-{secrets.token_hex(6)}"

    def argv(self, fault: str = "", *, log: Path = READY_LOG, workers: int = 0, stubborn: bool = False) -> list[str]:
        argv = [sys.executable, str(SERVER), "--log", str(log), "--mark", self.token, "--workers", str(workers)]
        if fault:
            argv += ["--fault", fault]
        return argv + (["--stubborn"] if stubborn else [])

    def launch(self, fault: str = "", *, log: Path = READY_LOG, workers: int = 0, stubborn: bool = False) -> Run:
        return launch(order(self.argv(fault, log=log, workers=workers, stubborn=stubborn)), history_key="t")

    def processes(self) -> list[int]:
        """Living processes of this server, its workers included."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if self.token.encode() in words and state not in "ZX":
                found.append(int(entry.name))
        return found


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    made.install("vllm", "0.33.0")
    made.install("mistral_common", "1.12.0")
    made.install("transformers", "5.19.0")
    return made


@pytest.fixture
def m35(capsys: pytest.CaptureFixture[str]) -> object:
    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        assert "Traceback (most recent call last):\n  File" not in captured.err
        return Said(code, captured.out, captured.err)

    return call
