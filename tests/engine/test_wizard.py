"""The wizard in a real terminal, on a machine with stub drivers, against the real engine: detect, plan, rehearse."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.serve.engine import InstalledEngine

STUBS = Path(__file__).parents[1] / "hw_specs" / "stubs"
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def missing(reason: str) -> None:
    """Skip on a user's machine, fail where the tests are the gate."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stub drivers."""
    if shutil.which("gcc") is None:
        missing("no gcc: the stub drivers cannot be compiled")
    spec = importlib.util.spec_from_file_location("build_stubs", STUBS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("drivers")
    module.build(folder)
    return folder


class Terminal:
    """One tmux server of our own with one window."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words], capture_output=True, text=True, check=False
        )
        return done.stdout

    def start(self, argv: list[str], env: dict[str, str]) -> None:
        words = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
        command = " ".join(["env", *words, shlex.join(argv)])
        self.run("new-session", "-d", "-x", "110", "-y", "34", f"{command}; echo ended with $?; sleep 600")

    def keys(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    @property
    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def until(self, text: str, *, limit_s: float = 60) -> str:
        deadline = time.monotonic() + limit_s
        while text not in (screen := self.screen):
            if time.monotonic() > deadline or "ended with" in screen:
                raise AssertionError(f"waited for {text!r}; the screen says:\n{screen}")
            time.sleep(0.2)
        return screen


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        missing("tmux is not installed")
    found = Terminal(tmp_path)
    yield found
    found.run("kill-server")


def test_from_detected_gpus_to_a_rehearsal_that_passes(
    engine: InstalledEngine, drivers: Path, terminal: Terminal, tmp_path: Path
) -> None:
    env = {
        "LD_LIBRARY_PATH": str(drivers / "nvidia"),
        "STUB_SCENARIO": str(STUBS / "scenarios" / "8xh200.txt"),
        "PATH": f"{engine.executable.parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "ROCM_PATH": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TERM": "screen-256color",
    }
    terminal.start([sys.executable, "-m", "tui"], env)
    screen = terminal.until("this machine: 8xH200")
    assert "NVIDIA H200" in screen
    terminal.keys("Enter")
    terminal.until("text only")
    terminal.keys("Right", "Down")
    terminal.until("tokens of prompt and answer")
    terminal.keys("-l", "16384")
    terminal.until("requests of 16,384")
    terminal.keys("Enter")
    terminal.until("levers")
    terminal.keys("Enter")
    terminal.until("as planned")
    terminal.keys("Enter")
    terminal.until("h rehearse", limit_s=180)
    terminal.keys("h")
    terminal.until("rehearsal passed", limit_s=600)
    terminal.keys("q")
    deadline = time.monotonic() + 30
    while "ended with 0" not in terminal.screen:
        assert time.monotonic() < deadline, terminal.screen
        time.sleep(0.2)
