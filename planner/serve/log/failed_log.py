"""Reads a log for the diagnosis in bounded memory: what cannot matter becomes empty lines. It interprets nothing.

The start of a log and its end are kept whole. Between them, where a server may have talked for weeks, only stretches
behind a line that the log table or a traceback's head knows are kept; line numbers stay those of the file.
"""

from __future__ import annotations

import re
from functools import cache
from typing import BinaryIO

from planner.serve.log.patterns import log_patterns

HEAD_BYTES = 4 << 20
"""More than any start prints."""

CHUNK_BYTES = 1 << 20
"""What is looked at in one piece; the last one is kept whole."""

_BEHIND_BYTES = 32 << 10
"""Kept from a telling line on: a traceback and what it led to."""

_MOST_KEPT_BYTES = 8 << 20
"""A log that fails over and over says nothing new after that."""


@cache
def _telling() -> re.Pattern[bytes]:
    """One expression for every text that a telling line of a running server holds."""
    needles = (*log_patterns().needles_once_ready, "Traceback (most recent call last)")
    return re.compile(b"|".join(re.escape(needle.encode()) for needle in needles))


def read_thinned(file: BinaryIO) -> bytes:
    """Return the log in `file`; of a long one the start, the end and the telling stretches between them.

    Raises:
        OSError: when it cannot be read.
    """
    kept = bytearray(_read(file, HEAD_BYTES))
    room = _MOST_KEPT_BYTES
    last = b""
    while chunk := _read(file, CHUNK_BYTES):
        # A piece ends with a line where it has one, so that no telling text is cut in two.
        end = last.rfind(b"\n") + 1 or len(last)
        thinned = _thin(last[:end], room)
        room -= len(thinned) - thinned.count(b"\n")
        kept += thinned
        last = last[end:] + chunk
    return bytes(kept + last)


def _read(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer at the end only: a pipe gives what it has."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _thin(text: bytes, room: int) -> bytes:
    """Return `text` with its line ends, and at most `room` bytes beside them."""
    kept = bytearray()
    at = 0
    while room > 0 and (found := _telling().search(text, at)) is not None:
        begin = max(at, text.rfind(b"\n", at, found.start()) + 1)
        end = text.find(b"\n", min(len(text), found.start() + min(room, _BEHIND_BYTES)))
        end = end + 1 if end >= 0 else len(text)
        kept += b"\n" * text.count(b"\n", at, begin) + text[begin:end]
        room -= end - begin
        at = end
    return bytes(kept + b"\n" * text.count(b"\n", at))
