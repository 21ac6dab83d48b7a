"""One line on stderr while something takes long: what, how far, how many seconds. Never in a pipe or a file."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from planner.cli.silence import heard

PATIENCE_S = 0.5
"""Work that is shorter than this says nothing."""


_CLEAR = "\r\x1b[2K"


def _is_live() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Now:
    """What is done at the moment, where nothing can be counted; the line is gone when something else is said."""

    def __init__(self) -> None:
        self._live = _is_live()
        self._drawn = False

    def __enter__(self) -> Now:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()

    def at(self, title: str) -> None:
        """Show `title` instead of what was shown."""
        if self._live:
            sys.stderr.write(f"{_CLEAR}{title} ...")
            sys.stderr.flush()
            self._drawn = True

    def over(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = False


class Progress:
    """Counts steps; the line is gone when the work is done, interrupted or failed."""

    def __init__(self, title: str, *, total: int, even: bool = True) -> None:
        """Steps that are not `even` tell what is spent; what is left would be a guess."""
        self._title, self._even = title, even
        self._total = total
        self._done = 0
        self._begun_s = time.monotonic()
        self._live = _is_live()
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def at(self, done: int, total: int) -> None:
        """Note that `done` of `total` steps are done."""
        self._done, self._total = done, total
        if done:
            self.step(0)

    def step(self, count: int = 1) -> None:
        """Note that `count` more steps are done."""
        self._done += count
        spent_s = time.monotonic() - self._begun_s
        if not self._live or spent_s < PATIENCE_S:
            return
        heard()
        left_s = spent_s / self._done * (self._total - self._done)
        said = f"about {left_s:.0f} s left" if self._even else f"{spent_s:.0f} s so far"
        sys.stderr.write(f"{_CLEAR}{self._title} {self._done}/{self._total}, {said}")
        sys.stderr.flush()
        self._drawn = True
