"""Asks another program for an answer within a time; one that cannot be ended is left behind, not waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

REAP_S = 0.5
"""How long a killed program may take to go; one that waits for a disk or a driver does not go at all."""


class Asked:
    """A program that was asked and whose answer can be waited for later; one that could not be started answers None.

    :func:`subprocess.run` waits for a killed program without limit, and for whatever that has started and holds its
    pipes. This one sends its signal to all of them.
    """

    def __init__(self, argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None) -> None:
        self._argv, self._stdin = list(argv), stdin
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace", env=env, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError):
            self._process = None

    def hand_in(self) -> None:
        """Give it its question before its answer is waited for, so that it works meanwhile."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(self._stdin)
                self._process.stdin.close()
            self._process.stdin = None

    def answer(self, timeout_s: float) -> subprocess.CompletedProcess[str] | None:
        """Return its end and its words; None where it takes longer than `timeout_s` from now."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            out, err = process.communicate(self._stdin if process.stdin is not None else None, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _leave(process)
            return None
        except BaseException:
            _leave(process)
            raise
        return subprocess.CompletedProcess(self._argv, process.returncode, out, err)

    def leave(self) -> None:
        """End it unless it was waited for."""
        if self._process is not None:
            _leave(self._process)
            self._process = None


def ask_program(
    argv: Sequence[str], *, timeout_s: float, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Run `argv` and return its end and its words; None where it cannot run or takes longer than `timeout_s`."""
    return Asked(argv, stdin=stdin, env=env).answer(timeout_s)


def _leave(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REAP_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
