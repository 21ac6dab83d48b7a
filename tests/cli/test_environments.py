"""Any environment: a plan always works, and what needs state says what to set. Real processes, broken one way each."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PLAN = ("--gpus", "8xH200")
KEEPING = ("launch", "--no-check", "--detach", "--", sys.executable, "-c", "pass")
"""Needs a place for its run."""
COMMANDS = {"plan": PLAN, "launch": KEEPING, "runs": ("runs",), "kept": ("calibrate", "--list")}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with where a command runs."""

    env: dict[str, str | None] = field(default_factory=dict)
    python: tuple[str, ...] = ()
    closed: tuple[int, ...] = ()
    limits: dict[int, int] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    folder_is_gone: bool = False
    full: str = ""
    """A stream on a full device: ``stdout`` or ``stderr``."""
    no_state: bool = False
    """Whether nothing can be kept: then what keeps something says what to set."""
    mute: bool = False
    """Whether nobody can read the answer."""
    as_nobody: bool = False


BARE = {"HOME": None, "XDG_STATE_HOME": None}
FAULTS = {
    "whole": Fault(),
    "no-variables": Fault(env={name: None for name in os.environ if name != "XDG_STATE_HOME"}),
    "no-home-no-name": Fault(env=BARE, as_nobody=True, no_state=True),
    "home-is-no-folder": Fault(env={"HOME": "/dev/null", "XDG_STATE_HOME": None}, no_state=True),
    "state-is-no-folder": Fault(env={"XDG_STATE_HOME": "/dev/null"}, no_state=True),
    "state-is-the-kernels": Fault(env={"XDG_STATE_HOME": "/proc"}, no_state=True),
    "state-of-root": Fault(env={"XDG_STATE_HOME": "/root"}, as_nobody=True, no_state=True),
    "no-term": Fault(env={"TERM": None}),
    "strange-term": Fault(env={"TERM": "\x1b[31m", "COLUMNS": "-1", "LINES": "x"}),
    "no-columns": Fault(env={"COLUMNS": "0"}),
    "unknown-locale": Fault(env={"LC_ALL": "xx_YY.FOO", "LANG": "zz"}),
    "ascii": Fault(env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "latin-1": Fault(env={"PYTHONIOENCODING": "latin-1"}),
    "utf-16": Fault(env={"PYTHONIOENCODING": "utf-16"}),
    "no-assertions": Fault(python=("-O",)),
    "no-docstrings": Fault(python=("-OO",)),
    "warnings-are-errors": Fault(python=("-W", "error::SyntaxWarning", "-X", "dev")),
    "no-stdin": Fault(closed=(0,)),
    "no-stdout": Fault(closed=(1,), mute=True),
    "no-stderr": Fault(closed=(2,)),
    "no-streams": Fault(closed=(0, 1, 2), mute=True),
    "stdout-is-full": Fault(full="stdout", mute=True),
    "stderr-is-full": Fault(full="stderr"),
    "folder-is-gone": Fault(folder_is_gone=True),
    "no-temporary-folder": Fault(env={"TMPDIR": "/nonexistent"}),
    "few-files": Fault(limits={resource.RLIMIT_NOFILE: 16}),
    "no-writing": Fault(limits={resource.RLIMIT_FSIZE: 0}, no_state=True),
    "little-memory": Fault(limits={resource.RLIMIT_AS: 256 << 20}),
    "small-stack": Fault(limits={resource.RLIMIT_STACK: 256 << 10}),
    "read-only": Fault(wrapper=("ro",), no_state=True),
    "no-exec": Fault(wrapper=("noexec",)),
}


def _wrapped(fault: Fault, argv: list[str], state: Path) -> list[str]:
    if fault.wrapper:
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("needs root to mount")
        script = f'mount -t tmpfs -o {fault.wrapper[0]},mode=700 none "$0" 2>/dev/null || exit 99; exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, str(state), *argv]
    if fault.as_nobody and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv")
        # The checkout may lie where only root may read.
        argv = ["setpriv", "--reuid", "54321", "--clear-groups", "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search", *argv]  # fmt: skip
    return argv


def _broken(fault: Fault, gone: Path | None) -> Callable[[], None]:
    def prepare() -> None:
        if gone is not None:
            gone.rmdir()
        for limit, most in fault.limits.items():
            resource.setrlimit(limit, (most, most))
        if fault.full:
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1 if fault.full == "stdout" else 2)
        for number in fault.closed:
            os.close(number)

    return prepare


CASES = [(one, name) for one in COMMANDS for name in FAULTS if one in ("plan", "launch") or FAULTS[name].no_state]


@pytest.mark.parametrize(("command", "name"), CASES)
def test_every_command_in_every_environment(command: str, name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    state = tmp_path / "state"
    state.mkdir(0o700)
    gone = tmp_path / "gone" if fault.folder_is_gone else None
    if gone is not None:
        gone.mkdir()
    env = {**os.environ, "XDG_STATE_HOME": str(state), "PYTHONPATH": str(Path(__file__).parents[2])}
    for variable, value in fault.env.items():
        env.pop(variable, None)
        if value is not None:
            env[variable] = value
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    argv = _wrapped(fault, [sys.executable, *fault.python, "-m", "planner", *COMMANDS[command]], state)
    done = subprocess.run(
        argv, capture_output=True, timeout=120, check=False, env=env, cwd=gone or tmp_path,
        stdin=subprocess.DEVNULL, preexec_fn=_broken(fault, gone),
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("this machine mounts nothing")
    said, words = done.stdout.replace(b"\0", b""), done.stderr.decode(errors="replace")
    assert "Traceback" not in words and "Exception ignored" not in words and "Fatal Python" not in words, words
    if command == "plan" and not fault.mute:
        assert done.returncode == 0, words
        assert b"vllm serve" in said
    elif command == "launch" and fault.no_state:
        assert done.returncode in (2, 5), words
        assert "XDG_STATE_HOME" in words or "run directory" in words or "too large" in words, words
    elif command == "launch" and fault.folder_is_gone:
        assert done.returncode == 5 and "folder was deleted" in words
    else:
        assert done.returncode in ((0, 1) if fault.mute else (0, 2, 4)), words
