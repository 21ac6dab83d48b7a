"""The wizard in a real terminal, on a machine with stub drivers, against the real engine, to a verified server."""

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

from planner.serve.preflight.installed import InstalledEngine
from planner.serve.rehearsal.twin import CPU_TWIN, make_twin
from tests.ports import own_port

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

    def without(self, text: str, *, limit_s: float = 60) -> None:
        """Wait until `text` is no longer on the screen."""
        end = time.monotonic() + limit_s
        while text in self.screen:
            assert time.monotonic() < end, f"{text!r} stays on the screen:\n{self.screen}"
            time.sleep(0.05)

    def press(self, key: str, *, until: str, limit_s: float = 60) -> None:
        """Press `key` again while it is not heard: a screen may show its end a moment before it takes the key."""
        deadline = time.monotonic() + limit_s
        while until not in self.screen:
            assert time.monotonic() < deadline, self.screen
            self.keys(key)
            time.sleep(2)

    def ended(self, code: int, *, limit_s: float = 60) -> None:
        deadline = time.monotonic() + limit_s
        while f"ended with {code}" not in (screen := self.screen):
            assert time.monotonic() < deadline, screen
            time.sleep(0.2)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        missing("tmux is not installed")
    found = Terminal(tmp_path)
    yield found
    found.run("kill-server")


@pytest.fixture
def env(engine: InstalledEngine, drivers: Path, tmp_path: Path) -> dict[str, str]:
    """A machine with eight H200s, as far as its drivers tell, and the engine on PATH."""
    return {
        "LD_LIBRARY_PATH": str(drivers / "nvidia"),
        "STUB_SCENARIO": str(STUBS / "scenarios" / "8xh200.txt"),
        "PATH": f"{engine.executable.parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "ROCM_PATH": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "PYTHONDONTWRITEBYTECODE": "",
        "TERM": "screen-256color",
    }


def test_from_detected_gpus_to_a_rehearsal_that_passes(env: dict[str, str], terminal: Terminal) -> None:
    terminal.start([sys.executable, "-m", "tui"], env)
    screen = terminal.until("this machine: 8xH200")
    assert "NVIDIA H200" in screen
    terminal.keys("Enter")
    terminal.until("text only")
    terminal.keys("Right", "Down")
    terminal.until("context, tokens")
    terminal.keys("-l", "16384")
    terminal.until("full requests")
    terminal.keys("Enter")
    terminal.until("levers")
    terminal.keys("Enter")
    terminal.until("as planned")
    terminal.keys("Enter")
    terminal.until("h rehearse", limit_s=180)
    terminal.keys("h")
    terminal.until("rehearsal passed", limit_s=600)
    terminal.keys("q")
    terminal.ended(0)


def test_from_a_checkpoint_to_a_launched_and_verified_server(
    env: dict[str, str], terminal: Terminal, tmp_path: Path
) -> None:
    """The engine is the CPU build, which preflight says and which is started all the same."""
    twin = make_twin(tmp_path / "twin", spec=CPU_TWIN)
    terminal.start([sys.executable, "-m", "tui", "--gpus", "1xH200", "--model", str(twin.path)], env)
    terminal.until("text only")
    terminal.keys("Down")
    terminal.until("context, tokens")
    terminal.keys("-l", "4096")
    terminal.until("4,096 of 262,144")
    terminal.keys("Enter")
    terminal.until("levers")
    terminal.keys("Enter")
    terminal.until("as planned")
    terminal.keys("i")
    terminal.without("next esc back")  # the keys of the step; the editor's own are fewer
    flags = f" --port {own_port()} --block-size 128 --kv-cache-memory-bytes 67108864 --enforce-eager"
    terminal.keys("-l", "--", flags)
    terminal.until("read back as fits: 4,096")
    terminal.keys("Escape")
    terminal.until("as planned")
    terminal.keys("Enter")
    terminal.until("1 failed: l asks for confirmation", limit_s=180)
    assert "the CPU build, the plan is for H200" in terminal.screen
    terminal.keys("l")
    terminal.until("start anyway")
    terminal.keys("Down", "Enter")
    terminal.until("✓ ready", limit_s=600)
    terminal.press("Enter", until="[Verify]")
    screen = terminal.until("✓ speculative", limit_s=300)
    assert "✗" not in screen
    terminal.keys("q")
    terminal.until("leave it running")
    terminal.keys("Down", "Enter")
    terminal.ended(0)
