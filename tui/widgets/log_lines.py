"""Bytes of a log to clean lines with a level; it keeps every line and draws none."""

from __future__ import annotations

import re
from typing import Literal

Level = Literal["all", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("all", "info", "warning", "error")

MOST_LINES = 200_000
"""Beyond this the oldest go; a day of a busy server, not a start."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b")
_RANKS = {"DEBUG": 0, "INFO": 0, "WARNING": 1, "ERROR": 2, "CRITICAL": 2, "FATAL": 2}
_WANTED = {"all": -1, "info": 0, "warning": 1, "error": 2}


def clean(text: str) -> str:
    """Return one line fit for a screen: no escape sequences, no control characters, tabs as blanks.

    >>> clean("\\x1b[31mred\\x1b[0m\\ttab\\x00")
    'red    tab'
    """
    text = _ESCAPE.sub("", text).replace("\t", "    ")
    return text if text.isprintable() else "".join(one for one in text if one.isprintable())


class LogLines:
    """Takes bytes in any chunking; a line that a carriage return rewrites is kept in its last form only."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ranks: list[int] = []
        """Level of each line: 0 info, 1 warning, 2 error; what continues a line has its level."""
        self.dropped = 0
        """Lines that were too old to keep."""
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take in `data` and return how many lines that made."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        rank = self.ranks[-1] if self.ranks else 0
        for raw in whole:
            text = raw.removesuffix(b"\r").decode("utf-8", errors="replace")
            line = clean(text.rpartition("\r")[2])
            match = _LEVEL.search(line, 0, 160)
            if match:
                rank = _RANKS[match[1]]
            self.lines.append(line)
            self.ranks.append(rank)
        if len(self.lines) > MOST_LINES:
            extra = len(self.lines) - MOST_LINES
            del self.lines[:extra], self.ranks[:extra]
            self.dropped += extra
        return len(whole)

    def wanted(self, *, level: Level, start: int = 0) -> list[int]:
        """Return the indices from `start` on of the lines at `level` or above."""
        least = _WANTED[level]
        return [index for index in range(start, len(self.lines)) if self.ranks[index] >= least]

    def find(self, text: str, *, among: list[int], after: int, back: bool = False) -> int | None:
        """Return the next place in `among` whose line holds `text`, any case, going round; None when none does."""
        key = text.casefold()
        count = len(among)
        for step in range(1, count + 1):
            place = (after - step if back else after + step) % count
            if key in self.lines[among[place]].casefold():
                return place
        return None
