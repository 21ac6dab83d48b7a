"""A bounded look at a log that may be gigabytes: its start, its end, and between them what can tell of a failure.

The start of a log and its end are kept whole. Between them, where a server may have talked for weeks, only stretches
behind a line that the log table or a traceback's head knows are kept. It interprets nothing.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from planner.serve.log.patterns import any_of, log_patterns
from planner.serve.log.verdict import Diagnosis, LogLine

HEAD_BYTES = 4 << 20
"""More than any start prints."""

CHUNK_BYTES = 1 << 20
"""What is looked at in one piece; the last one is kept whole."""

_BEHIND_BYTES = 32 << 10
"""Kept from a telling line on: a traceback and what it led to."""

_MOST_KEPT_BYTES = 8 << 20
"""A log that fails over and over says nothing new after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExcerpt:
    """What was kept of a log."""

    text: bytes
    head_bytes: int
    """How much of `text` is the unbroken start of the log."""
    jumps: tuple[tuple[int, int, str], ...] = ((1, 1, ""),)
    """(line of `text`, line of the log, its name where `text` was joined from several) where a stretch begins, in
    order."""

    @property
    def head(self) -> bytes:
        """The start of the log."""
        return self.text[: self.head_bytes]

    def place(self, number: int) -> tuple[int, str]:
        """Return the 1-based line of the whole log that is line `number` of `text`, and the name of that log."""
        if number < 1:
            return number, ""
        first, line, name = self.jumps[bisect_right(self.jumps, number, key=lambda jump: jump[0]) - 1]
        return line + number - first, name

    def line(self, number: int) -> int:
        """Return the 1-based line of the whole log that is line `number` of `text`."""
        return self.place(number)[0]

    def renumbered(self, diagnosis: Diagnosis) -> Diagnosis:
        """Return a diagnosis of `text` with the numbers that its lines have in the whole log."""

        def moved(lines: tuple[LogLine, ...]) -> tuple[LogLine, ...]:
            places = (self.place(line.number) for line in lines)
            return tuple(
                dataclasses.replace(line, number=number, source=name)
                for line, (number, name) in zip(lines, places, strict=True)
            )

        return dataclasses.replace(diagnosis, evidence=moved(diagnosis.evidence), traceback=moved(diagnosis.traceback))


NOTHING = LogExcerpt(text=b"", head_bytes=0)
"""Of a log that is not there."""


def read_excerpt(file: BinaryIO) -> LogExcerpt:
    """Return what matters of the log in `file`, read once from here to its end.

    Raises:
        OSError: when it cannot be read.
    """
    found = _Kept()
    found.keep(_read(file, HEAD_BYTES))
    head_bytes = len(found.text)
    last = b""
    while chunk := _read(file, CHUNK_BYTES):
        # A piece ends with a line where it has one, so that no telling text is cut in two.
        end = last.rfind(b"\n") + 1 or len(last)
        found.keep_telling(last[:end])
        last = last[end:] + chunk
    found.keep(last)
    return LogExcerpt(text=bytes(found.text), head_bytes=head_bytes, jumps=tuple(found.jumps))


@cache
def _telling() -> re.Pattern[bytes]:
    """One expression for every text that a telling line of a running server holds."""
    needles = (*log_patterns().failing_once_ready.texts, "Traceback (most recent call last)")
    return re.compile(any_of(needles).encode())


class _Kept:
    """Stretches of a log that are added in order."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.jumps = [(1, 1, "")]
        self._text_lines = 0
        self._log_lines = 0
        self._gap = False
        self._room = _MOST_KEPT_BYTES

    def keep(self, data: bytes) -> None:
        if not data:
            return
        if self._gap:
            # Ends a line that was cut, or stands as an empty one: no traceback runs over a gap.
            self.text += b"\n"
            self._text_lines += 1
            self.jumps.append((self._text_lines + 1, self._log_lines + 1, ""))
            self._gap = False
        self.text += data
        lines = data.count(b"\n")
        self._text_lines += lines
        self._log_lines += lines

    def skip(self, data: bytes) -> None:
        if data:
            self._log_lines += data.count(b"\n")
            self._gap = True

    def keep_telling(self, data: bytes) -> None:
        """Keep the stretches of `data` behind telling lines, while there is room."""
        at = 0
        while self._room > 0 and (found := _telling().search(data, at)) is not None:
            begin = max(at, data.rfind(b"\n", at, found.start()) + 1)
            end = data.find(b"\n", min(len(data), found.start() + min(self._room, _BEHIND_BYTES)))
            end = end + 1 if end >= 0 else len(data)
            self.skip(data[at:begin])
            self.keep(data[begin:end])
            self._room -= end - begin
            at = end
        self.skip(data[at:])


def _read(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer at the end only: a pipe gives what it has."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
