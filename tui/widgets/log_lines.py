"""Bytes of a log to clean lines with a level; it keeps every line and draws none."""

from __future__ import annotations

import re
from typing import Literal, get_args

Level = Literal["all", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)

MOST_LINES = 200_000
"""Beyond this the oldest go; a day of a busy server, not a start."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b")
_PREFIX = re.compile(
    r"(?:\((?P<who>[^()]*?)(?: pid=\d+)?\) )?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) "
    r"(?:\d\d-\d\d )?(?P<time>\d\d:\d\d:\d\d)(?:\.\d+)? (?P<place>\[[^\]]*\]) ?"
)
"""What vLLM puts before every message: process, level, date, time, place in its source."""
_SERVER = re.compile(r"(?:\((?P<who>[^()]*?)(?: pid=\d+)?\) )?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL): +")
"""What the web server inside vLLM puts before its own: no time and no place."""
_MARKS = {"INFO": " ", "DEBUG": "d", "WARNING": "W", "ERROR": "E", "CRITICAL": "E"}
_SECONDS = re.compile(r"\d+(?:\.\d+)?(?= ?(?:s|secs?|seconds?)\b)")
"""Figures that differ between workers for no reason that matters; other figures keep their lines apart."""
_NEAR = 400
"""Lines back that what another worker says is looked for."""
_RANKS = {"DEBUG": 0, "INFO": 0, "WARNING": 1, "ERROR": 2, "CRITICAL": 2, "FATAL": 2}
_WANTED = {"all": -1, "info": 0, "warning": 1, "error": 2}


def clean(text: str) -> str:
    """Return one line fit for a screen: no escape sequences, no control characters, tabs as blanks.

    >>> clean("\\x1b[31mred\\x1b[0m\\ttab\\x00")
    'red    tab'
    """
    text = _ESCAPE.sub("", text).replace("\t", "    ")
    return text if text.isprintable() else "".join(one for one in text if one.isprintable())


def _parted(line: str) -> tuple[str, ...]:
    """Return a bar of progress and the message that a worker wrote behind it as two lines.

    >>> _parted("44% | 12/27 [00:12<00:30](Worker_TP3 pid=303) INFO 11-20 09:01:10 [w.py:1] done")
    ('44% | 12/27 [00:12<00:30]', '(Worker_TP3 pid=303) INFO 11-20 09:01:10 [w.py:1] done')
    """
    if "%|" not in line and "% " not in line:
        return (line,)
    found = _PREFIX.search(line)
    return (line,) if found is None or found.start() == 0 else (line[: found.start()], line[found.start() :])


class LogLines:
    """Takes bytes in any chunking; a line that a carriage return rewrites is kept in its last form only."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ranks: list[int] = []
        """Level of each line: 0 info, 1 warning, 2 error; what continues a line has its level."""
        self.folded: list[str] = []
        """Each line with its prefix folded to time and level."""
        self.workers: list[int] = []
        """How many workers said it; 0 where an earlier line stands for this one, too."""
        self.dropped = 0
        """Lines that were too old to keep."""
        self._said: dict[tuple[str, str, str], tuple[int, set[str]]] = {}
        """What a worker said last → its line, counted from the first one ever, and who said the same."""
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take in `data` and return how many lines that made."""
        before = self.dropped + len(self.lines)
        *whole, self._rest = (self._rest + data).split(b"\n")
        rank = self.ranks[-1] if self.ranks else 0
        for raw in whole:
            text = raw.removesuffix(b"\r").decode("utf-8", errors="replace")
            for line in _parted(clean(text.rpartition("\r")[2])):
                match = _LEVEL.search(line, 0, 160)
                if match:
                    rank = _RANKS[match[1]]
                self.lines.append(line)
                self.ranks.append(rank)
                self._fold(line)
        if len(self.lines) > MOST_LINES:
            extra = len(self.lines) - MOST_LINES
            del self.lines[:extra], self.ranks[:extra], self.folded[:extra], self.workers[:extra]
            self.dropped += extra
        return self.dropped + len(self.lines) - before

    def _fold(self, line: str) -> None:
        """Fold the prefix of the newest line, and let one line stand for what every worker says."""
        match = _PREFIX.match(line)
        if match is None:
            said = _SERVER.match(line)
            self.folded.append(f"{'':8} {_MARKS[said['level']]} {line[said.end() :]}" if said else line)
            self.workers.append(1)
            return
        message = line[match.end() :]
        self.folded.append(f"{match['time']} {_MARKS[match['level']]} {message}")
        who = match["who"] or ""
        if not who.startswith("Worker"):
            self.workers.append(1)
            return
        here = self.dropped + len(self.lines) - 1
        key = (match["level"], match["place"], _SECONDS.sub("", message))
        first, others = self._said.get(key, (-1, set()))
        if first >= self.dropped and here - first < _NEAR and who not in others:
            others.add(who)
            self.workers[first - self.dropped] += 1
            self.workers.append(0)
            return
        if len(self._said) > _NEAR:
            self._said.clear()
        self._said[key] = (here, {who})
        self.workers.append(1)

    def wanted(self, *, level: Level, start: int = 0, merged: bool = False) -> list[int]:
        """Return the indices from `start` on of the lines at `level` or above; `merged` leaves repetitions out."""
        least, ranks, workers = _WANTED[level], self.ranks, self.workers
        return [
            index for index in range(start, len(self.lines)) if ranks[index] >= least and (workers[index] or not merged)
        ]

    def shown(self, index: int, *, folded: bool) -> str:
        """Return a line as it is read: whole, or without its prefix and with how many workers said it."""
        if not folded:
            return self.lines[index]
        several = self.workers[index]
        return f"{self.folded[index]}  ×{several}" if several > 1 else self.folded[index]

    def find(self, text: str, *, among: list[int], after: int, back: bool = False) -> int | None:
        """Return the next place in `among` whose line holds `text`, any case, going round; None when none does."""
        key = text.casefold()
        count = len(among)
        for step in range(1, count + 1):
            place = (after - step if back else after + step) % count
            if key in self.lines[among[place]].casefold():
                return place
        return None
