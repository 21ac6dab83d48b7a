"""Asks another program for an answer within a time; one that cannot be ended is left behind, not waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

REAP_S = 0.5
"""How long a killed program may take to go; one that waits for a disk or a driver does not go at all."""


def ask_program(
    argv: Sequence[str], *, timeout_s: float, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Run `argv` and return its end and its words; None where it cannot run or takes longer than `timeout_s`.

    :func:`subprocess.run` waits for a killed program without limit, and for whatever that has started and holds its
    pipes. This one sends its signal to all of them.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env=env, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError):
        return None
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _leave(process)
        return None
    except BaseException:
        _leave(process)
        raise
    return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


def _leave(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REAP_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
