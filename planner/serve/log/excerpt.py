"""Beginning and end of a log that may be gigabytes; it never holds more of it than was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExcerpt:
    """Whole lines from both ends of a log."""

    head: bytes
    tail: bytes
    """Empty where `head` is the whole log."""
    head_lines: int
    skipped_lines: int
    """Lines between the two."""

    def line(self, number: int) -> int:
        """Return the 1-based line of the whole log that is line `number` of head and tail together."""
        return number if number <= self.head_lines else number + self.skipped_lines


def read_excerpt(path: Path, *, head_bytes: int, tail_bytes: int) -> LogExcerpt:
    """Return both ends of the log at `path`, cut at ends of lines; nothing of a file that cannot be read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= head_bytes + tail_bytes:
                return LogExcerpt(head=file.read(size), tail=b"", head_lines=0, skipped_lines=0)
            head = file.read(head_bytes)
            head = head[: head.rfind(b"\n") + 1] or head + b"\n"
            file.seek(size - tail_bytes)
            tail = file.read(tail_bytes)
            tail = tail[tail.find(b"\n") + 1 :]
            file.seek(len(head))
            skipped = _count_lines(file, size - len(tail) - len(head))
            return LogExcerpt(head=head, tail=tail, head_lines=head.count(b"\n"), skipped_lines=skipped)
    except OSError:
        return LogExcerpt(head=b"", tail=b"", head_lines=0, skipped_lines=0)


def _count_lines(file: BinaryIO, count_bytes: int) -> int:
    lines = 0
    while count_bytes > 0 and (data := file.read(min(_CHUNK_BYTES, count_bytes))):
        lines += data.count(b"\n")
        count_bytes -= len(data)
    return lines
