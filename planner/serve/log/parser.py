"""From the bytes of a vLLM log to events; pure, incremental, and never raises on any input.

Feed it bytes in any chunking: the events are the same. It copes with carriage-return progress bars, colours,
lines glued together by several writers, interleaved ranks, cut and garbled text. Phases never go back, and a
line that it does not know changes nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.serve.log.bystanders import Bystanders
from planner.serve.log.events import (
    ENDINGS,
    PHASES,
    Event,
    FailureSeen,
    Figure,
    PhaseStarted,
    Progress,
    StallSeen,
)
from planner.serve.log.lines import Message, messages, plain_lines
from planner.serve.log.patterns import LinePattern, LogPatterns, log_patterns, minor_release, read_group, read_size
from planner.serve.log.reports import raised_there
from planner.serve.log.tracebacks import Tracebacks

MAX_LINE_BYTES = 65_536
"""Longer lines are cut: no line of interest is longer, and a log may be garbage without line ends."""

_ORDER = {name: index for index, name in enumerate((*PHASES, *ENDINGS))}
_BREAK = re.compile(rb"[\r\n]")
_REQUEST = "Exception in ASGI application"
_UVICORN = re.compile(r"(?:INFO|WARNING|ERROR): +\S")


@dataclass(slots=True)
class _Stall:
    """A wait that is said again and again."""

    first_stamp: str
    times: int = 0
    said_s: float = 0.0


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
        self._source = ""
        self._stamp = ""
        self._phase = ""
        self._last_work = ""
        self._release: tuple[int, int] | None = None
        self._tracebacks = Tracebacks()
        self._last_progress: tuple[str, int, int, str] | None = None
        self._failures_seen: set[tuple[str, str]] = set()
        self._last_text = ""
        self._told = False
        """Whether the engine core was asked to stop."""
        self._bystanders = Bystanders()
        self._failing_request = False
        self._stalls: dict[str, _Stall] = {}

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

    def read(self, log: bytes, stretches: Sequence[tuple[int, str]] = ()) -> tuple[Event, ...]:
        """Return the events of a whole log; of one that was joined from several, `stretches` say at which line a
        stretch of which log begins: what processes of two logs say at once stays apart."""
        if not stretches:
            return self.feed(log) + self.finish()
        lines = log.split(b"\n")
        events: tuple[Event, ...] = ()
        for (begin, source), (end, _) in pairwise([*stretches, (len(lines) + 1, "")]):
            self._source = source
            events += self.feed(b"".join(line + b"\n" for line in lines[begin - 1 : end - 1]))
        return events + self.finish()

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
        for seen in self._tracebacks.close():
            events.append(seen)
            if not {seen.exception, seen.exception.partition(": ")[2]} & set(map(str.strip, seen.lines)):
                # It was cut behind its raise, whose words no line held.
                events += self._failure_events(seen.exception, seen.rank)
        death = self._tracebacks.death
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
        events: list[Event] = []
        for text in plain_lines(bytes(self._pending)):
            self._last_text = text.strip()[-400:] or self._last_text
            events += [event for said in messages(text) for event in self._message(said)]
        self._pending.clear()
        return events

    def _message(self, said: Message) -> list[Event]:
        self._stamp = said.stamp or self._stamp
        rank, text = said.rank, said.text
        whole = self._tracebacks.whole(said, self._source)
        events: list[Event] = [*self._tracebacks.follow(said, line=self._line, stamp=self._stamp, source=self._source)]
        of_a_request = self._is_of_a_request(said)
        mentioned = said.level in ("DEBUG", "INFO")
        if not self._patterns.needles(ready=self._phase == "ready", mentioned=mentioned).in_line(whole):
            return events
        for pattern in self._patterns.lines:
            if pattern.needle in text and pattern.printed_by(self._release):
                match = pattern.regex.search(text)
                if match is not None:
                    events += self._line_events(pattern, match, rank)
        if any(isinstance(event, (PhaseStarted, Progress, Figure)) for event in events):
            self._stalls.clear()
        if self._phase not in ("ready", *ENDINGS):
            events += self._stall_events(text, rank)
        self._told = self._told or any(told in text for told in self._patterns.told)
        calm = mentioned or of_a_request or self._bystanders.include(text) or self._patterns.survives(text)
        if self._phase != "stopped" and not calm:
            # What processes say while they are told to stop is not a cause, nor is what they only mention or survive.
            events += self._failure_events(text, rank, warned=said.calm, whole=whole)
        return events

    def _is_of_a_request(self, said: Message) -> bool:
        """Whether a line belongs to the traceback of one request that a server which is ready could not answer."""
        if _REQUEST in said.text:
            self._failing_request = self._phase == "ready"
        elif self._failing_request and (said.logged or _UVICORN.match(said.text) is not None):
            self._failing_request = False
        return self._failing_request and not any(fatal.needle in said.text for fatal in self._patterns.fatal)

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
            if key == "pod_name":
                self._failures_seen.clear()  # the same words are now about another pod
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

    def _failure_events(self, text: str, rank: str, *, warned: bool = False, whole: str = "") -> list[Event]:
        """What a line names; of one that only warned, what is suspected. `whole` is the line behind its exception."""
        events: list[Event] = []
        own = self._patterns.guesses.split(whole or text, 1)[0]
        raised = raised_there(own)
        for pattern in self._patterns.failures:
            if warned and pattern.weight != "suspicion":
                continue
            # A report of another process is of its own words at most about a death.
            readings = (own,) if pattern.weight in ("consequence", "suspicion") else raised
            match = next((found for said in readings if (found := pattern.search(said))), None)
            if match is None:
                continue
            if self._told and pattern.weight == "consequence":
                break
            message = text.strip()[:2000]
            if (pattern.code, message) not in self._failures_seen and len(self._failures_seen) <= 1000:
                self._failures_seen.add((pattern.code, message))
                events.append(
                    FailureSeen(
                        code=pattern.code,
                        phase=self._last_work,
                        text=message,
                        values=_values(match),
                        weight=pattern.weight,
                        line=self._line,
                        stamp=self._stamp,
                        rank=rank,
                    )
                )
            # The tables are in order of what tells most: what else the line matches is the same failure.
            break
        fatal = () if warned else self._patterns.fatal
        if any(one.needle in text and one.regex.search(text) is not None for one in fatal):
            events += self._advance("failed", rank)
        return events

    def _stall_events(self, text: str, rank: str) -> list[Event]:
        for pattern in self._patterns.stalls:
            if (match := pattern.search(text)) is None:
                continue
            stall = self._stalls.setdefault(f"{self._source} {pattern.code}", _Stall(first_stamp=self._stamp))
            stall.times += 1
            values = dict(_values(match))
            stall.said_s += float(values.get("waited_s", 0.0))
            waited_s = max(
                stall.said_s, float(values.get("total_waited_s", 0.0)), _seconds(stall.first_stamp, self._stamp)
            )
            return [
                StallSeen(
                    code=pattern.code,
                    phase=self._last_work,
                    text=text.strip()[:2000],
                    times=stall.times,
                    waited_s=waited_s,
                    line=self._line,
                    stamp=self._stamp,
                    rank=rank,
                )
            ]
        return []

    def _advance(self, phase: str, rank: str) -> list[Event]:
        if self._phase in ENDINGS or _ORDER[phase] <= _ORDER.get(self._phase, -1):
            return []
        self._phase = phase
        if phase == "ready":
            self._failures_seen.clear()  # the same words are now about a server that runs
        if phase in PHASES:
            self._last_work = phase
        self._last_progress = None
        return [PhaseStarted(phase=phase, line=self._line, stamp=self._stamp, rank=rank)]


def _values(match: re.Match[str]) -> dict[str, int | float | str]:
    read = [read_group(name, found) for name, found in match.groupdict().items() if found is not None]
    return {item[0]: item[1] for item in read if item is not None}


def _seconds(first: str, last: str) -> float:
    """Seconds between two of the engine's stamps, which lack the year; 0 where one is missing."""
    try:
        begin, end = (time.mktime(time.strptime(f"2024-{stamp}", "%Y-%m-%d %H:%M:%S")) for stamp in (first, last))
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, end - begin)


def parse_log(data: bytes) -> tuple[Event, ...]:
    """Return all events of a whole log."""
    return StartupLog().read(data)
