"""The wizard through a real pseudo-terminal: keys as terminals send them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE_S = 60.0


class Terminal:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, *argv: str, state: Path, columns: int = 100, lines: int = 30) -> None:
        self.seen = b""
        self._main, side = pty.openpty()
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(state), "COLUMNS": "", "LINES": ""}
        self.process = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
        os.close(side)

    def send(self, keys: str) -> None:
        self.seen = b""
        os.write(self._main, keys.encode())

    def until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text.encode() not in _plain(self.seen):
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {text!r}; the end of what came: {self.seen[-600:]!r}"
            if select.select([self._main], [], [], min(left, 1.0))[0]:
                self.seen += os.read(self._main, 1 << 16)

    def ended(self) -> int:
        """Read until the program ends, and return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, "it does not end"
            if select.select([self._main], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    os.read(self._main, 1 << 16)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)


def _plain(seen: bytes) -> bytes:
    """What came without escape sequences."""
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    wizard = Terminal(sys.executable, "-m", "tui", "--gpus", "1xMI300X", state=tmp_path)
    yield wizard
    wizard.close()


@pytest.mark.parametrize("alt", ["\x1b3", "\x1b[51;3u"], ids=["escape and digit", "kitty protocol"])
def test_jump_keys_work_as_terminals_send_them(terminal: Terminal, alt: str) -> None:
    terminal.until("draft tokens")
    terminal.send(alt)
    terminal.until("levers")
