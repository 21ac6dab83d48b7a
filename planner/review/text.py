"""Text that knows where each of its characters stands in the file; it never interprets anything.

A word of a command may have come through quotes, variables, a YAML scalar and a shell inside it. Each character
keeps the offset at which it was written, so that a finding names line and column, and an edit touches just that.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

HIDDEN = "\ue000"
"""Stands for each character of a template, so that places stay right."""
TEMPLATE = "a template"
"""The name of what a template leaves unknown."""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters and the offset of each in the file."""

    value: str
    offsets: tuple[int, ...]
    unknown: tuple[str, ...] = ()
    """Variables in it that nothing in the file assigns; their references stand in `value` as they were written."""
    verbatim: bool = True
    """Whether it is written in the file just so, in one piece: only then can it be edited in place."""

    @property
    def start(self) -> int:
        """Offset of the first character."""
        return self.offsets[0] if self.offsets else 0

    @property
    def end(self) -> int:
        """Offset behind the last character."""
        return self.offsets[-1] + 1 if self.offsets else 0

    @property
    def known(self) -> bool:
        """Whether every part of it is known."""
        return not self.unknown

    def cut(self, start: int, end: int | None = None) -> Text:
        """The characters from `start` to `end`."""
        value = self.value[start:end]
        unknown = tuple(name for name in self.unknown if name in value or (name == TEMPLATE and HIDDEN in value))
        return Text(value, self.offsets[start:end], unknown, self.verbatim)

    def within(self, whole: Text) -> Text:
        """The same text, of a document that `whole` is, at its places in the file."""
        last = len(whole.offsets) - 1
        if last < 0:
            return self
        return Text(
            self.value, tuple(whole.offsets[min(one, last)] for one in self.offsets), self.unknown, self.verbatim
        )

    def partition(self, mark: str) -> tuple[Text, Text | None]:
        """What stands before the first `mark`, and behind it; None where there is no mark."""
        at = self.value.find(mark)
        return (self, None) if at < 0 else (self.cut(0, at), self.cut(at + len(mark)))


def plain(value: str, start: int) -> Text:
    """Return text that stands in the file as it is, from `start` on."""
    return Text(value, tuple(range(start, start + len(value))))


def made(value: str, place: int, unknown: tuple[str, ...] = ()) -> Text:
    """Return text that stands in the file just so nowhere: all of it at `place`, none of it to be edited."""
    return Text(value, (place,) * len(value), unknown, False)


def joined(parts: Iterable[Text]) -> Text:
    """Return the parts as one text."""
    pieces = tuple(parts)
    offsets = tuple(offset for piece in pieces for offset in piece.offsets)
    solid = all(after == before + 1 for before, after in pairwise(offsets))
    return Text(
        "".join(piece.value for piece in pieces),
        offsets,
        tuple(dict.fromkeys(name for piece in pieces for name in piece.unknown)),
        solid and all(piece.verbatim for piece in pieces),
    )


def substituted(text: Text, pattern: re.Pattern[str], value: Callable[[re.Match[str], Text], Text]) -> Text:
    """Return `text` with what `value` gives in the place of each match; it gets the match and its text."""
    parts: list[Text] = []
    at = 0
    for match in pattern.finditer(text.value):
        parts += [text.cut(at, match.start()), value(match, text.cut(match.start(), match.end()))]
        at = match.end()
    return joined([*parts, text.cut(at)])


@dataclass(frozen=True)
class Source:
    """One file's text."""

    text: str
    name: str = ""
    starts: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = [0]
        for index, character in enumerate(self.text):
            if character == "\n":
                starts.append(index + 1)
        object.__setattr__(self, "starts", starts)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of `offset`.

        >>> Source("ab\\ncd").place(4)
        (2, 2)
        """
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line `number`, counted from 1, without its end."""
        start = self.starts[number - 1]
        end = self.starts[number] - 1 if number < len(self.starts) else len(self.text)
        return self.text[start:end]
