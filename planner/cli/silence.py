"""A word on stderr from a command that has said nothing for a while: no minute is silent. It ends nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

FIRST_S = 20.0
"""How long a command may say nothing."""

MOST_S = 60.0
"""How long it may be silent between two such words, which come ever more rarely until then."""

_heard_s = 0.0


def heard() -> None:
    """Note that the command said something."""
    global _heard_s
    _heard_s = time.monotonic()


class Company:
    """Speaks up beside a command, from a thread of its own, until the command ends or wants quiet."""

    def __init__(self, name: str, *, say: Callable[[str, str], None]) -> None:
        self._name = name
        self._say = say
        self._over = threading.Event()

    def __enter__(self) -> Company:
        heard()
        threading.Thread(target=self._speak, name="company", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Say nothing more: something else has the terminal, or the waiting is what was asked for."""
        self._over.set()

    def _speak(self) -> None:
        begun_s, patience_s = time.monotonic(), FIRST_S
        while not self._over.wait(max(0.01, _heard_s + patience_s - time.monotonic())):
            if time.monotonic() - _heard_s < patience_s:
                continue
            if _takes_words():
                spent_s = time.monotonic() - begun_s
                self._say("note", f"`m35-plan {self._name}` is still at work after {spent_s:.0f} s; Ctrl-C ends it")
            heard()
            patience_s = min(2 * patience_s, MOST_S)


def _takes_words() -> bool:
    """Whether stderr takes a line at once: a thread that waits for a full pipe would outlive its command."""
    if sys.stderr is None:
        return False
    import select

    with contextlib.suppress(OSError, ValueError):
        return bool(select.select([], [sys.stderr.fileno()], [], 0)[1])
    # A stream of a test has no number, and one that is closed fails when it is written to.
    return True
