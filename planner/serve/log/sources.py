"""The cause of a failed start whose logs lie apart: standard output and error, one file per pod, rank or node.

The logs of one server are joined in the order of time, as far as their lines carry one, and read as one. Where several
of them begin a server of their own, each server is judged apart, and the one that tells most is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath

from planner.errors import PlannerError
from planner.planning.answer import Plan
from planner.serve.log.causes import causes
from planner.serve.log.diagnosis import START, diagnose
from planner.serve.log.excerpt import LogExcerpt
from planner.serve.log.verdict import Diagnosis, SourceSaid

_ISO = re.compile(
    rb"(?m)^(?:\[pod/[^\]]+\] ?)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)(?=[ \t]|$)"
)
"""What kubectl, a container runtime or journald put before a line."""
_SYSLOG = re.compile(rb"(?m)^([A-Z][a-z]{2}) ([ \d]\d \d\d:\d\d:\d\d) ")
_ENGINE = re.compile(rb"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+(\d\d-\d\d \d\d:\d\d:\d\d)\s")
_CLOCKS = (_ISO, _SYSLOG, _ENGINE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BEFORE, _FIRST, _LAST = (0, ""), (1, ""), (3, "")
_TIMED = 2
"""Where lines stand to which no time can be given: up to a ready line whose time nothing tells before all others, so
that it excuses nobody; else before those with a time, or behind them."""
_READY = b"Application startup complete."
"""uvicorn says it on standard error, without a time."""
_SERVES = b"Starting vLLM "
"""The engine's logger says it just before that, with one."""
_STREAM = re.compile(r"(?i)(?<![a-z])(?:std)?(?:out|err|error|output|log|txt)(?![a-z])")
_ORDER = ("cause", "general", "consequence")
_SILENT = ("none", "unknown")


def diagnose_together(
    logs: Mapping[str, LogExcerpt], *, plan: Plan | None = None, exit_code: int | None = None
) -> Diagnosis:
    """Return the cause of the failure that `logs` tell of together, by name; each line says which log it is from.

    `plan` and `exit_code` are those of :func:`diagnose`.

    Raises:
        PlannerError: when `exit_code` is given and the logs are of several servers.
    """
    alone = {name: _alone(name, log) for name, log in logs.items()}
    servers = _servers(logs)
    if exit_code is not None and len(servers) > 1:
        raise PlannerError(f"these logs are of {len(servers)} servers", hint="an exit code speaks for one of them")
    answers = []
    for names in servers:
        joined = join_logs({name: logs[name] for name in names})
        stretches = [(line, name) for line, _, name in joined.jumps]
        found = diagnose(joined.text, plan=plan, exit_code=exit_code, stretches=stretches)
        found = joined.renumbered(found)
        if found.code == "none" and found.phase != "ready":
            # One node's error is not taken back by what another one goes on to say.
            found = next((alone[name] for name in names if _accuses(alone[name])), found)
        answers.append(found)
    said = tuple(SourceSaid(source=name, code=answer.code) for name, answer in alone.items())
    return replace(min(answers, key=_rank), sources=said)


def _alone(name: str, log: LogExcerpt) -> Diagnosis:
    named = replace(log, jumps=tuple((line, number, name) for line, number, _ in log.jumps))
    return named.renumbered(diagnose(log.text))


def _accuses(answer: Diagnosis) -> bool:
    return bool(answer.evidence) and answer.code != "none" and causes()[answer.code].weight != "consequence"


def _rank(answer: Diagnosis) -> int:
    if answer.code in _SILENT:
        return len(_ORDER) + (answer.code == "none")
    return _ORDER.index(causes()[answer.code].weight)


def _servers(logs: Mapping[str, LogExcerpt]) -> list[list[str]]:
    """The names of the logs, by server: all are of one unless several begin one; then what is called alike belongs
    together."""
    if sum(START in log.text for log in logs.values()) < 2:
        return [list(logs)]
    found: dict[str, list[str]] = {}
    for name in logs:
        path = PurePath(name)
        found.setdefault(str(path.parent / re.sub(r"\W+", " ", _STREAM.sub("", path.name)).strip()), []).append(name)
    return list(found.values())


def join_logs(logs: Mapping[str, LogExcerpt]) -> LogExcerpt:
    """Return `logs` as one: by time where their lines carry one, else one behind the other as they were given.

    A line without a time stays behind the one before it.
    """
    # Two clocks do not compare: the one that most logs have.
    clock = max(_CLOCKS, key=lambda one: sum(one.search(log.text) is not None for log in logs.values()))
    lines = [log.text.removesuffix(b"\n").split(b"\n") for log in logs.values()]
    times = [_times(one, clock) for one in lines]
    serves = min((time for at, one in zip(times, lines, strict=True) for time, line in zip(at, one, strict=True)
                  if time[0] == _TIMED and _SERVES in line), default=None)  # fmt: skip
    timed = False
    for index, (at, one) in enumerate(zip(times, lines, strict=True)):
        if any(time[0] == _TIMED for time in at):
            timed = True
            continue
        ready = next((number for number, line in enumerate(one, 1) if _READY in line), 0)
        behind = _LAST if timed or (ready and serves) else _FIRST
        times[index] = [serves or _BEFORE] * ready + [behind] * (len(one) - ready)
    order = sorted((time, index, number) for index, at in enumerate(times) for number, time in enumerate(at, 1))
    excerpts = list(logs.items())
    text: list[bytes] = []
    jumps: list[tuple[int, int, str]] = []
    before = (-1, 0, 0)
    for _, index, number in order:
        name, log = excerpts[index]
        place = log.line(number)
        if before != (index, number - 1, place - 1):
            jumps.append((len(text) + 1, place, name))
        before = (index, number, place)
        text.append(lines[index][number - 1])
    joined = b"\n".join(text) + b"\n"
    return LogExcerpt(text=joined, head_bytes=len(joined), jumps=tuple(jumps) or ((1, 1, ""),))


def _times(lines: list[bytes], clock: re.Pattern[bytes]) -> list[tuple[int, str]]:
    """The time of each line of one log, which never goes back; `_FIRST` throughout where no line carries one."""
    found: list[tuple[int, str]] = []
    for line in lines:
        said = clock.search(line)
        time = _clocked(said, clock) if said is not None else ""
        before = found[-1] if found else _FIRST
        found.append(max(before, (_TIMED, time)) if time else before)
    first = next((time for time in found if time != _FIRST), _FIRST)
    return [first if time == _FIRST else time for time in found]


def _clocked(said: re.Match[bytes], clock: re.Pattern[bytes]) -> str:
    """A time as text that sorts; empty where it is not one after all."""
    words = [group.decode() for group in said.groups()]
    if clock is _ENGINE:
        return words[0]
    if clock is _SYSLOG:
        month = _MONTHS.index(words[0]) + 1 if words[0] in _MONTHS else 0
        return f"{month:02} {words[1]}" if month else ""
    try:
        time = datetime.fromisoformat(words[0])
    except ValueError:
        return ""
    return (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)).isoformat(timespec="microseconds")
