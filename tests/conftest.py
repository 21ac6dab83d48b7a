"""What every test may use."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# A shell starts what it puts in the background deaf to Ctrl-C, and every program that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MARK = "M35_TEST_PROCESS"
_REAPER = """\
import os, signal, sys
mark = (sys.argv[1] + "=" + sys.argv[2]).encode()
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdin.buffer.read()
for _ in range(3):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\\0"):
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
"""


def _leave_no_process() -> None:
    """Start a process that outlives this one and ends whatever it started, also where this one is killed."""
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    read_end, write_end = os.pipe()
    environment = {key: value for key, value in os.environ.items() if key != _MARK}
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _REAPER, _MARK, name], stdin=read_end, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(read_end)
    # The write end closes with this process, and no child of it has one.
    _HELD.append(write_end)
    os.environ[_MARK] = name


_HELD: list[int] = []


def pytest_configure() -> None:
    # With it every program that a test starts would compile, and parse, what the one before it had.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    _leave_no_process()


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later round of the garbage collector."""
    gc.collect()
    gc.freeze()
