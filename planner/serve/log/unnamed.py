"""What can be said of a log in which no known cause is named: whether it failed at all, and what was raised where."""

from __future__ import annotations

import re
from collections.abc import Sequence

from planner.serve.log.causes import causes
from planner.serve.log.choice import (
    CALM_EXITS,
    has_failed,
    installed_line,
    own_frame,
    pod_steps,
    proved_phase,
    raised_at,
    ready_line,
    root_block,
    working_phase,
)
from planner.serve.log.events import Event, Figure, PhaseStarted, Progress, StallSeen, TracebackSeen
from planner.serve.log.lines import Message, messages, plain_lines
from planner.serve.log.measured import Measured
from planner.serve.log.patterns import log_patterns
from planner.serve.log.places import is_defect
from planner.serve.log.reports import raised_there
from planner.serve.log.verdict import Diagnosis, LogLine, plain

_END_BYTES = 16_384
"""The last words of a log."""
_ERROR = re.compile(r"\b(?:ERROR|CRITICAL|FATAL|[Ee]rror:|[Ff]atal:)")


def unnamed(log: bytes, events: Sequence[Event], measured: Measured, exit_code: int | None) -> Diagnosis:
    """Return what is left to say: that nothing failed, that something died, or what was raised and where."""
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    failed = exit_code not in (None, *CALM_EXITS) or has_failed(events) or _ends_in_an_error(log, events)
    failed = failed or _raised_since_it_worked(log, events)
    reached = working_phase(events)
    if not failed and (phases or exit_code == 0 or pod_steps(events) or installed_line(events)):
        errors = _errors_since_ready(log, events)
        title = "the log shows no failure" + ("; the server was ready" if "ready" in phases else "")
        if reached and "ready" not in phases and "stopped" not in phases and exit_code is None:
            return _cut_off(log, events, reached, measured)
        if errors:
            many = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            title = f"the start did not fail; the server was ready, and reported {many} since"
        return Diagnosis(code="none", title=title, phase=reached, term="", evidence=errors[:1], cures=(),
                         measured=measured)  # fmt: skip
    root = _root_traceback(log, events)
    words = _last_words(root, events)
    if _only_reports(events):
        died = causes()["died"]
        return Diagnosis(
            code="died",
            title=died.title,
            phase=proved_phase(events),
            term="",
            evidence=words,
            cures=died.cures,
            measured=measured,
        )
    defect = bool(words) and is_defect(words[0].text)
    unknown = causes()["engine-defect" if defect else "unknown"]
    raised = raised_words(events)
    return Diagnosis(
        code="engine-defect" if defect else "unknown",
        title=unknown.title,
        phase=proved_phase(events),
        term="",
        evidence=words,
        cures=unknown.cures if defect or any(_has_frames(event) for event in events) else unknown.silent_cures,
        note=f"it was {raised}" if raised else "",
        traceback=root if [line.number for line in root] != [line.number for line in words] else (),
        measured=measured,
    )


def _cut_off(log: bytes, events: Sequence[Event], reached: str, measured: Measured) -> Diagnosis:
    """Return that the log ends while the server starts, its last wait or line, and what tells how it went on."""
    waits = [event for event in events if isinstance(event, StallSeen)]
    worked = max((e.line for e in events if isinstance(e, (PhaseStarted, Progress, Figure))), default=0)
    unfinished = causes()["unfinished"]
    return Diagnosis(
        code="none",
        title=unfinished.title.format(phase=reached),
        phase=reached,
        term="",
        evidence=tuple(LogLine(number=wait.line, text=plain(wait.text)) for wait in waits[-1:] if wait.line > worked)
        or _last_line(log),
        cures=unfinished.cures,
        unfinished=True,
        measured=measured,
    )


def _last_line(log: bytes) -> tuple[LogLine, ...]:
    """What was said last, without what carried it."""
    lines = log.split(b"\n")
    for number in range(len(lines), 0, -1):
        for said in reversed(_messages(lines[number - 1])):
            if said.text.strip():
                return (LogLine(number=number, text=plain(said.text[:400])),)
    return ()


def _has_frames(event: Event) -> bool:
    """Whether it is more of a traceback than its exception alone."""
    return isinstance(event, TracebackSeen) and len(event.lines) > 1


def _ends_in_an_error(log: bytes, events: Sequence[Event]) -> bool:
    """Whether a start that was never ready, and not told to stop, said nothing more after an error."""
    if ready_line(events):
        return False
    said = [message for line in log[-_END_BYTES:].split(b"\n") for message in _messages(line)]
    # What native code or another logger adds calmly does not take the engine's last word back.
    last = next((message for message in reversed(said) if message.level and (message.logged or not message.calm)), None)
    if any(told in message.text for message in said for told in log_patterns().told):
        return False
    return last is not None and not last.calm and not log_patterns().survives(last.text)


def _messages(line: bytes) -> list[Message]:
    return [message for text in plain_lines(line) for message in messages(text)]


def _raised_since_it_worked(log: bytes, events: Sequence[Event]) -> bool:
    """Whether a start that was never ready shows a traceback, in whatever form it was carried, after its last work."""
    worked = max((e.line for e in events if isinstance(e, (PhaseStarted, Progress, Figure))), default=0)
    return not ready_line(events) and any(b"Traceback (most recent" in line for line in log.split(b"\n")[worked:])


def _errors_since_ready(log: bytes, events: Sequence[Event]) -> tuple[LogLine, ...]:
    """What a server that came up said of requests until it was stopped: one line for each moment with an error."""
    ready = ready_line(events)
    if not ready:
        return ()
    stopped = (event.line for event in events if isinstance(event, PhaseStarted) and event.phase == "stopped")
    found: dict[str, LogLine] = {}
    for number, line in enumerate(log.split(b"\n")[: next(stopped, None)], 1):
        if number > ready and b"ERROR" in line:
            for said in _messages(line):
                if said.level in ("ERROR", "CRITICAL"):
                    found.setdefault(f"{said.rank} {said.stamp}", LogLine(number=number, text=plain(said.text[:400])))
    return tuple(found.values())


def _only_reports(events: Sequence[Event]) -> bool:
    """Whether there are tracebacks, and all of them only say that another process ended."""
    blocks = [event for event in events if isinstance(event, TracebackSeen)]
    return bool(blocks) and all(not raised_there(block.exception) for block in blocks)


def raised_words(events: Sequence[Event]) -> str:
    """Where the root of the failure was raised, in words; empty where the log does not say."""
    block = root_block(events)
    frame = raised_at(block) if block is not None else None
    if block is None or frame is None:
        return ""
    own = own_frame(block)
    words = f"raised in `{frame.function}`, {plain(frame.path)} line {frame.line}"
    return words if own in (None, frame) else f"{words}, for {plain(own.path)} line {own.line}"


def _last_words(root: Sequence[LogLine], events: Sequence[Event]) -> tuple[LogLine, ...]:
    """The exception of a traceback, and what belongs to it; without one the first line that is called an error."""
    if not any(isinstance(event, TracebackSeen) for event in events):
        return tuple(line for line in root if _ERROR.search(line.text))[:1]
    block = root_block(events)
    exception = plain(block.exception) if block is not None else ""
    begin = next((i for i, line in enumerate(root) if line.text.strip() == exception), None)
    return tuple(line for line in root[begin : begin + 3] if line.text.strip()) if begin is not None else ()


def _root_traceback(log: bytes, events: Sequence[Event]) -> tuple[LogLine, ...]:
    """The first traceback that is not a report of another one, else the log's last lines."""
    root = root_block(events)
    if root is not None:
        return tuple(LogLine(number=n, text=plain(text)) for n, text in zip(root.line_numbers, root.lines, strict=True))
    lines = log.decode("utf-8", "replace").split("\n")
    kept = [(number, text) for number, text in enumerate(lines, 1) if text.strip()][-20:]
    return tuple(LogLine(number=number, text=plain(text.rstrip()[:400])) for number, text in kept)


def not_an_engine_log(log: bytes, measured: Measured) -> Diagnosis:
    """Return that `log` is not one of an engine."""
    unknown = causes()["unknown"]
    return Diagnosis(
        code="unknown",
        title=unknown.not_engine_title if log.strip() else unknown.empty_title,
        phase="",
        term="",
        evidence=(),
        cures=unknown.not_engine_cures,
        measured=measured,
    )
