"""Python tracebacks in a log, put together by process: the lines of others may lie between theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.serve.log.events import TracebackSeen
from planner.serve.log.frames import is_frame, is_source
from planner.serve.log.lines import Message
from planner.serve.log.reports import is_head

_MAX_TRACEBACK_LINES = 400
_CHILD_HEADER = re.compile(r"^(?:Process \S+:|Exception in thread |Exception ignored in)")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Timeout|Failure)\w*(?:: \S|:?$)")
_WORDLESS = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception):$")
"""An exception whose words begin in the next line."""
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause", "Traceback (most")


_RAISE = re.compile(r"^\s+raise (?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:\((?P<said>.*))?$")
_WORDS = re.compile(r"""[frb]{0,2}(?P<mark>["'])(?P<words>.*?)(?<!\\)(?P=mark)""")


def raised_in_source(lines: Sequence[str]) -> str:
    """Return the exception of a traceback that was cut behind its ``raise``, as the source spells it; empty where
    the last of `lines` are not one.

    >>> raised_in_source(['  File "a.py", line 3, in f', '    raise ValueError(f"{name} is too long")'])
    'ValueError: {name} is too long'
    """
    behind = [text for text in lines if text.strip("^~ \t")]
    begin = max((at for at, text in enumerate(behind) if is_frame(text)), default=len(behind))
    source = behind[begin + 1 :]
    match = _RAISE.match(source[0]) if source else None
    if match is None:
        return ""
    words = "".join(found["words"] for text in (match["said"] or "", *source[1:]) for found in _WORDS.finditer(text))
    return f"{match['name']}: {words}" if words else match["name"]


@dataclass(slots=True)
class _OpenTraceback:
    """A traceback whose end has not been seen."""

    rank: str
    first_line: int
    last_line: int
    stamp: str
    main_process: bool
    text: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    exception: str = ""
    """Of the first traceback of a chain: what happened before the handlers had their say."""
    head: str = ""
    """What stands before its exception and tells where that was raised."""
    ended: bool = False
    """The exception line was read; only continuation lines may follow."""


class Tracebacks:
    """The tracebacks of one log."""

    def __init__(self) -> None:
        self.death: TracebackSeen | None = None
        """The newest one that ended the API server itself."""
        self._open: dict[str, _OpenTraceback] = {}
        self._loose: dict[str, list[tuple[int, str]]] = {}
        """Frames whose head was cut off, by process."""
        self._child_header: set[str] = set()
        self._wordless: dict[str, str] = {}
        """Exceptions whose words have not come yet, by process."""
        self._flat: set[str] = set()
        """Processes whose last line was a frame that had lost its indentation."""

    def close(self) -> list[TracebackSeen]:
        """Return those that are open at the end of the log."""
        seen = [seen for key in list(self._open) for seen in self._close(key)]
        for frames in self._loose.values():
            # The log ends in frames whose head it lacks, too.
            if exception := raised_in_source([text for _, text in frames]):
                line = frames[-1][0]
                seen.append(self._lone_exception("", exception, frames, line, "", said=False))
        return seen

    def whole(self, said: Message, source: str = "") -> str:
        """Return the text of `said`, behind the exception that the line before it named without any words."""
        key, text = f"{source} {said.stream}", said.text
        head = self._wordless.pop(key, "") if self._wordless else ""
        if text.endswith(":") and _WORDLESS.match(text) is not None:
            self._wordless[key] = text
        return f"{head} {text.strip()}" if head and text.strip() and not text.startswith(_CHAINED) else text

    def follow(self, said: Message, *, line: int, stamp: str, source: str = "") -> list[TracebackSeen]:
        """Return the tracebacks that `said`, line `line` of the log called `source`, shows to be whole."""
        events: list[TracebackSeen] = []
        rank, text, key = said.rank, said.text, f"{source} {said.stream}"
        inside = self._is_inside(key, text)
        block = self._open.get(key)
        if block is not None:
            if block.ended and not inside and _WORDLESS.match(block.exception) is not None:
                block.exception += f" {text.strip()}"
                block.text.append(text)
                block.numbers.append(line)
                return events
            if block.ended and not inside:
                events += self._close(key)
                block = None
            else:
                block.last_line = line
                if len(block.text) < _MAX_TRACEBACK_LINES:
                    block.text.append(text)
                    block.numbers.append(line)
                if text.startswith("Traceback (most"):
                    block.ended = False
                elif not inside and is_head(text):
                    block.head = block.head or text.strip()
                elif not inside:
                    block.ended = True
                    block.exception = block.exception or text.strip()
                return events
        if text.startswith("Traceback (most recent call last)"):
            main = rank in ("", "APIServer") and key not in self._child_header
            self._open[key] = _OpenTraceback(
                rank=rank,
                first_line=line,
                last_line=line,
                stamp=stamp,
                main_process=main,
                text=[text],
                numbers=[line],
            )
        elif not said.calm and _EXCEPTION.match(text):
            # An excerpt begins behind the head of its traceback: the exception stands alone, or with its last frames.
            events.append(self._lone_exception(rank, text, self._loose.pop(key, []), line, stamp))
        elif text and inside and not text.startswith(_CHAINED):
            frames = self._loose.setdefault(key, [])
            if len(frames) < _MAX_TRACEBACK_LINES:
                frames.append((line, text))
        elif text:
            self._loose.pop(key, None)
        self._child_header.discard(key)
        if _CHILD_HEADER.match(text):
            self._child_header.add(key)
        return events

    def _is_inside(self, key: str, text: str) -> bool:
        """Whether a line may stand between the head of a traceback and its exception."""
        frame = is_frame(text)
        behind_flat = key in self._flat and _EXCEPTION.match(text) is None and not text.startswith(_CHAINED)
        if frame and text[:1] not in " \t":
            self._flat.add(key)
        else:
            self._flat.discard(key)
        # Another process may have torn a line of carets in two.
        bare = text[:1] in " \t|+" or (text[:1] in "^~" and not text.strip("^~ "))
        return bare or frame or behind_flat or is_source(text) or text.startswith(_CHAINED)

    def _lone_exception(
        self, rank: str, text: str, frames: list[tuple[int, str]], line: int, stamp: str, *, said: bool = True
    ) -> TracebackSeen:
        lines = [*frames, (line, text)] if said else frames
        self.death = TracebackSeen(
            exception=text.strip()[:2000],
            lines=tuple(one for _, one in lines),
            line_numbers=tuple(number for number, _ in lines),
            main_process=rank in ("", "APIServer"),
            line=line,
            last_line=line,
            stamp=stamp,
            rank=rank,
        )
        return self.death

    def _close(self, key: str) -> list[TracebackSeen]:
        block = self._open.pop(key)
        block.exception = block.exception or raised_in_source(block.text) or block.head
        if not block.exception:
            return []
        seen = TracebackSeen(
            exception=block.exception,
            lines=tuple(block.text),
            line_numbers=tuple(block.numbers),
            main_process=block.main_process,
            line=block.first_line,
            last_line=block.last_line,
            stamp=block.stamp,
            rank=block.rank,
        )
        if block.main_process:
            self.death = seen
        return [seen]
