"""From the bytes of a vLLM log to events; pure, incremental, and never raises on any input.

Feed it bytes in any chunking: the events are the same. It copes with carriage-return progress bars, colours,
lines glued together by several writers, interleaved ranks, cut and garbled text. Phases never go back, and a
line that it does not know changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from planner.serve.log.events import (
    ENDINGS,
    PHASES,
    Event,
    FailureSeen,
    Figure,
    PhaseStarted,
    Progress,
    TracebackSeen,
)
from planner.serve.log.patterns import LinePattern, LogPatterns, log_patterns, minor_release, read_group, read_size

MAX_LINE_BYTES = 65_536
"""Longer lines are cut: no line of interest is longer, and a log may be garbage without line ends."""

_MAX_TRACEBACK_LINES = 400
_ORDER = {name: index for index, name in enumerate((*PHASES, *ENDINGS))}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_BREAK = re.compile(rb"[\r\n]")
_PROCESS = re.compile(r"\((?P<rank>[A-Za-z][\w-]*(?: [\w-]+)*) pid=(?P<pid>\d+)\)[ \t]?")
_HEAD = re.compile(
    r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+(?P<stamp>\d\d-\d\d \d\d:\d\d:\d\d)\s+\[[^\]\n]*:\d+\] ?"
)
_CHILD_HEADER = re.compile(r"^(?:Process \S+:|Exception in thread |Exception ignored in)")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause", "Traceback (most")


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
    ended: bool = False
    """The exception line was read; only continuation lines may follow."""


class StartupLog:
    """An incremental parser of one server's log.

    >>> log = StartupLog()
    >>> [event.phase for event in log.feed(b"INFO:     Application startup complete.\\n")]
    ['ready']
    """

    def __init__(self) -> None:
        self._patterns: LogPatterns = log_patterns()
        self._pending = bytearray()
        self._line = 1
        self._stamp = ""
        self._phase = ""
        self._last_work = PHASES[0]
        self._release: tuple[int, int] | None = None
        self._tracebacks: dict[str, _OpenTraceback] = {}
        self._child_header: set[str] = set()
        self._main_traceback: TracebackSeen | None = None
        self._last_progress: tuple[str, int, int, str] | None = None
        self._failures_seen: set[tuple[str, str]] = set()
        self._last_text = ""

    @property
    def phase(self) -> str:
        """The phase reached so far; empty before the first line that proves one."""
        return self._phase

    @property
    def last_text(self) -> str:
        """The last line that held anything, without colours."""
        return self._last_text

    @property
    def stamp(self) -> str:
        """The newest time that the engine printed."""
        return self._stamp

    def feed(self, data: bytes) -> tuple[Event, ...]:
        """Return the events that the complete lines of `data` bring."""
        events: list[Event] = []
        start = 0
        for stop in _BREAK.finditer(data):
            self._keep(data[start : stop.start()])
            events += self._segment()
            start = stop.end()
            if stop.group() == b"\n":
                self._line += 1
        self._keep(data[start:])
        return tuple(events)

    def finish(self) -> tuple[Event, ...]:
        """Return the events of what was still open at the end of the log."""
        events = self._segment()
        for key in list(self._tracebacks):
            events += self._close_traceback(key)
        death = self._main_traceback
        if death is not None and self._phase not in ("ready", *ENDINGS):
            self._phase = "failed"
            events.append(PhaseStarted(phase="failed", line=death.last_line, stamp=self._stamp, rank=death.rank))
        return tuple(events)

    def _keep(self, piece: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._pending)
        if room > 0:
            self._pending += piece[:room]

    def _segment(self) -> list[Event]:
        if not self._pending:
            return []
        text = _ANSI.sub("", self._pending.decode("utf-8", "replace")).rstrip()
        self._pending.clear()
        if not text:
            return []
        self._last_text = text.strip()[-400:]
        # Several processes share one file: a progress bar without a line end glues the next message to itself.
        heads = list(_PROCESS.finditer(text))
        events: list[Event] = []
        first = heads[0].start() if heads else len(text)
        if text[:first].strip():
            events += self._message("", "", text[:first])
        for index, head in enumerate(heads):
            end = heads[index + 1].start() if index + 1 < len(heads) else len(text)
            events += self._message(head["rank"], head["pid"], text[head.end() : end])
        return events

    def _message(self, rank: str, pid: str, text: str) -> list[Event]:
        head = _HEAD.match(text)
        if head is not None:
            self._stamp = head["stamp"]
            text = text[head.end() :]
        events = self._follow_traceback(rank, f"{rank} {pid}", text)
        needles = self._patterns.needles_once_ready if self._phase == "ready" else self._patterns.needles
        if not any(needle in text for needle in needles):
            return events
        for pattern in self._patterns.lines:
            if pattern.needle in text and pattern.printed_by(self._release):
                match = pattern.regex.search(text)
                if match is not None:
                    events += self._line_events(pattern, match, rank)
        if self._phase != "stopped":
            # What processes say while they are told to stop is no cause of anything.
            events += self._failure_events(text, rank)
        return events

    def _line_events(self, pattern: LinePattern, match: re.Match[str], rank: str) -> list[Event]:
        events: list[Event] = []
        phase = pattern.phase
        if pattern.early and _ORDER.get(self._phase, -1) < _ORDER["kv"]:
            phase = pattern.early
        if phase:
            events += self._advance(phase, rank)
        groups = {name: text for name, text in match.groupdict().items() if text is not None}
        if "done" in groups or "done_size" in groups:
            events += self._progress(phase, groups, rank)
            return events
        for name, text in groups.items():
            read = read_group(name, text)
            if read is None:
                continue
            key, value, tolerance_bytes = read
            if key == "vllm_version":
                self._release = minor_release(str(value))
            events.append(
                Figure(
                    name=key,
                    value=value,
                    tolerance_bytes=tolerance_bytes,
                    line=self._line,
                    stamp=self._stamp,
                    rank=rank,
                )
            )
        return events

    def _progress(self, phase: str, groups: dict[str, str], rank: str) -> list[Event]:
        try:
            if "done_size" in groups:
                done, total = read_size(groups["done_size"]), read_size(groups["total_size"])
            else:
                done, total = int(groups["done"]), int(groups["total"])
        except ValueError:
            return []
        label = groups.get("file_text", groups.get("capture_mode_text", ""))
        state = (phase, done, total, label)
        if state == self._last_progress or phase != self._phase:
            return []
        self._last_progress = state
        return [
            Progress(phase=phase, done=done, total=total, label=label, line=self._line, stamp=self._stamp, rank=rank)
        ]

    def _failure_events(self, text: str, rank: str) -> list[Event]:
        events: list[Event] = []
        for pattern in self._patterns.failures:
            if pattern.needle not in text or (match := pattern.regex.search(text)) is None:
                continue
            message = text.strip()[:2000]
            if (pattern.code, message) in self._failures_seen or len(self._failures_seen) > 1000:
                continue
            self._failures_seen.add((pattern.code, message))
            read = [read_group(name, found) for name, found in match.groupdict().items() if found is not None]
            values = tuple((item[0], item[1]) for item in read if item is not None)
            events.append(
                FailureSeen(
                    code=pattern.code,
                    phase=self._last_work,
                    text=message,
                    values=values,
                    line=self._line,
                    stamp=self._stamp,
                    rank=rank,
                )
            )
        for pattern in self._patterns.fatal:
            if pattern.needle in text and pattern.regex.search(text) is not None:
                events += self._advance("failed", rank)
                break
        return events

    def _advance(self, phase: str, rank: str) -> list[Event]:
        if self._phase in ENDINGS or _ORDER[phase] <= _ORDER.get(self._phase, -1):
            return []
        self._phase = phase
        if phase in PHASES:
            self._last_work = phase
        self._last_progress = None
        return [PhaseStarted(phase=phase, line=self._line, stamp=self._stamp, rank=rank)]

    def _follow_traceback(self, rank: str, key: str, text: str) -> list[Event]:
        events: list[Event] = []
        block = self._tracebacks.get(key)
        if block is not None:
            inside = not text or text[:1] in " \t|+" or text.startswith(_CHAINED)
            if block.ended and not inside:
                events += self._close_traceback(key)
                block = None
            else:
                block.last_line = self._line
                if len(block.text) < _MAX_TRACEBACK_LINES:
                    block.text.append(text)
                    block.numbers.append(self._line)
                if text.startswith("Traceback (most"):
                    block.ended = False
                elif not inside:
                    block.ended = True
                    block.exception = block.exception or text.strip()
                return events
        if text.startswith("Traceback (most recent call last)"):
            main = rank in ("", "APIServer") and key not in self._child_header
            self._tracebacks[key] = _OpenTraceback(
                rank=rank,
                first_line=self._line,
                last_line=self._line,
                stamp=self._stamp,
                main_process=main,
                text=[text],
                numbers=[self._line],
            )
        self._child_header.discard(key)
        if _CHILD_HEADER.match(text):
            self._child_header.add(key)
        return events

    def _close_traceback(self, key: str) -> list[Event]:
        block = self._tracebacks.pop(key)
        if not block.exception:
            return []
        seen = TracebackSeen(
            exception=block.exception,
            text=tuple(block.text),
            numbers=tuple(block.numbers),
            main_process=block.main_process,
            line=block.first_line,
            last_line=block.last_line,
            stamp=block.stamp,
            rank=block.rank,
        )
        if block.main_process:
            self._main_traceback = seen
        return [seen]


def parse_log(data: bytes) -> tuple[Event, ...]:
    """Return all events of a whole log."""
    log = StartupLog()
    return log.feed(data) + log.finish()
