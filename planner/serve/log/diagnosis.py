"""The cause of a failed start, with the lines that show it and how to fix it; it never guesses.

The first cause that the log names is the one: what follows it is mostly its consequences. When nothing is named,
it says so and shows the first traceback that does not merely report another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from planner.planning.answer import Plan
from planner.serve.free_port import free_port_beside
from planner.serve.log.causes import causes, signal_of
from planner.serve.log.choice import (
    CALM_EXITS,
    find_cause,
    has_failed,
    own_frame,
    pod_steps,
    precise_failures,
    proved_phase,
    raised_at,
    ready_line,
    root_block,
    working_phase,
)
from planner.serve.log.events import (
    Event,
    FailureSeen,
    Figure,
    PhaseStarted,
    Progress,
    StallSeen,
    TimedOut,
    TracebackSeen,
)
from planner.serve.log.held import HeldMemory, held_words
from planner.serve.log.lines import messages, plain_line
from planner.serve.log.measured import Measured, read_measured
from planner.serve.log.parser import StartupLog, parse_log
from planner.serve.log.patterns import log_patterns
from planner.serve.log.places import is_defect, raiser_of
from planner.serve.log.remedy import (
    cure_values,
    describe_lever,
    peak_cures,
    replan,
    utilization_note,
    weight_cures,
)
from planner.settings import DEFAULT_PORT

_MAX_LEVERS = 5
START = b"non-default args:"
"""What every server says once, among the first."""
_FEW_STARTS = 2
_END_BYTES = 16_384
"""The last words of a log."""
_AGAIN = (
    "the log holds {starts} starts: something starts the server again each time it ends; stop that until the cause is "
    "fixed (`docker update --restart=no`, `systemctl stop`, `kubectl scale --replicas=0`)"
)
_PYTHON_WORDS = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception): |^(?:[a-z_]\w*\.)+[A-Z]\w+: |(?i:hugging ?face|gated repo)|"
    r"error while attempting to bind on address|Error response from daemon"
)
"""An exception, the hub, docker: what says that a program for models was to start."""
_UNSURE = "what was raised is not known here: only the part of the software that raised it speaks for this answer"
_RAISED_IN = "this text is raised in `{path}`: that part of the software speaks for this answer"
_KIND_ONLY = "the message says only of what kind the failure is: what stands before it in the log may say more"
_ERROR = re.compile(r"\b(?:ERROR|CRITICAL|FATAL|[Ee]rror:|[Ff]atal:)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of the log, by number."""

    number: int
    text: str
    source: str = ""
    """Which log, where several were read together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSaid:
    """What one of several logs says where it is read alone."""

    source: str
    code: str
    """As `Diagnosis.code`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a start failed."""

    code: str
    """Stable key; ``unknown`` when no known cause was found, ``none`` when nothing failed."""
    title: str
    phase: str
    """What the start was doing; empty where the log does not say."""
    term: str
    """Ledger line that it concerns; empty where memory is not the matter."""
    evidence: tuple[LogLine, ...]
    cures: tuple[str, ...]
    note: str = ""
    """How numbers in the cures came about."""
    traceback: tuple[LogLine, ...] = ()
    """Where it began, for unknown causes."""
    also: tuple[str, ...] = ()
    """Other causes that the log names, in order."""
    measured: Measured = field(default_factory=Measured)
    sources: tuple[SourceSaid, ...] = ()
    """Each log where several were read together, in the order given; else empty."""

    @property
    def known(self) -> bool:
        """Whether a cause was named."""
        return self.code not in ("unknown", "none")


def diagnose(
    log: bytes,
    *,
    plan: Plan | None = None,
    exit_code: int | None = None,
    timed_out: TimedOut | None = None,
    kernel: bytes = b"",
    port: int | None = None,
    held: Sequence[HeldMemory] = (),
    stretches: Sequence[tuple[int, str]] = (),
) -> Diagnosis:
    """Return the cause of the failure that `log` tells of; never raises.

    `plan` lets the cures be planned again from what the engine measured. `exit_code` is the server's, as a shell
    gives it, and `timed_out` what a follower saw, for causes that leave no line. `kernel` is what the kernel said
    meanwhile, which counts behind the log's own causes. `port` is the one that was asked for, `held` what was on the
    GPUs after the server's end. `stretches` say of a log that was joined from several where a stretch of one begins,
    and which.
    """
    reader = StartupLog()
    events = reader.read(log, stretches)
    measured = read_measured(events)
    if exit_code is None or signal_of(exit_code) or any(_is_death(event) for event in events):
        # A start that ended by itself is not explained by what happened beside it.
        events += tuple(replace(event, line=0) for event in parse_log(kernel) if isinstance(event, FailureSeen))
    if exit_code is None and timed_out is None and not _is_engine_log(log, events, reader):
        events = tuple(event for event in events if not isinstance(event, FailureSeen) or not _anyones(event))
        if not any(isinstance(event, FailureSeen) for event in events):
            return _not_an_engine_log(log, measured)
    # Of a server that ended the last line is not a wait.
    last_text = reader.last_text if exit_code is None else ""
    cause = find_cause(events, exit_code=exit_code, timed_out=timed_out, last_text=last_text)
    if cause is None:
        return _unknown(log, events, measured, exit_code)
    known = causes()[cause.code]
    failures = precise_failures(events)
    values = cure_values(cause, plan=plan, measured=measured)
    if cause.code == "port-in-use" and (free := free_port_beside(port or DEFAULT_PORT)) is not None:
        values["free_port"] = str(free)
    cures = [text for cure in known.cures if (text := _fill(cure, values)) is not None]
    note = ""
    again = (_AGAIN.format(starts=starts),) if (starts := log.count(START)) > _FEW_STARTS else ()
    if known.beside and (beside := held_words(held)):
        cures.insert(0, beside)
    if cause.weight == "place":
        raiser = raiser_of(cause.text)
        note = _RAISED_IN.format(path=raiser.path) if raiser is not None else f"{_UNSURE}; it was {_raised(events)}"
    elif cause.weight == "general":
        note = _KIND_ONLY + (f"; it was {raised}" if (raised := _raised(events)) else "")
    if plan is not None:
        cures += _planned_cures(cause.code, plan, values)
    elif known.replan and known.general_cure:
        cures.append(known.general_cure)
    if known.replan and plan is not None:
        cures, note = _with_levers(cures, plan, replace(measured, **_from_failure(cause, measured)))
    return Diagnosis(
        code=cause.code,
        title=known.title,
        phase=cause.phase,
        term=known.term,
        evidence=_evidence(cause, failures),
        cures=(*(cures or [known.general_cure]), *again),
        note=note,
        also=tuple(dict.fromkeys(f.code for f in failures if f.code != cause.code and f.weight == "cause")),
        measured=measured,
    )


def _from_failure(cause: FailureSeen, measured: Measured) -> dict[str, Any]:
    """What the failure's own line measured, where the log has no better line."""
    seen = dict(cause.values)
    if measured.kv_available_bytes is None and "kv_available_bytes" in seen:
        return {"kv_available_bytes": seen["kv_available_bytes"]}
    return {}


def _with_levers(cures: list[str], plan: Plan, measured: Measured) -> tuple[list[str], str]:
    again = replan(plan, measured)
    levers = again.levers if again is not None else plan.levers
    if again is not None and again.plan.feasible:
        largest = again.plan.kv_cache.largest_max_model_len_low
        cures.append(f"`--max-model-len {largest}` fits at the low bound")
    chosen = [lever for lever in levers if lever.fits] or list(levers)
    cures += [describe_lever(lever) for lever in chosen[:_MAX_LEVERS]]
    return cures, again.note if again is not None else ""


def _planned_cures(code: str, plan: Plan, values: dict[str, str]) -> list[str]:
    """Cures with numbers of the plan, for causes that the KV cache does not decide."""
    if code == "oom-profile":
        return peak_cures(plan)
    if code == "oom-load":
        return weight_cures(plan)
    lower = values.get("utilization") or values.get("utilization_less_tried")
    if code in ("free-memory", "oom-capture", "oom-serve") and lower is not None:
        left = utilization_note(plan, float(lower))
        return [f"planned again with `--gpu-memory-utilization {lower}`: {left}"] if left else []
    return []


def _is_death(event: Event) -> bool:
    return isinstance(event, FailureSeen) and event.weight == "consequence"


def _anyones(failure: FailureSeen) -> bool:
    """Whether other programs print such a line, too."""
    return causes()[failure.code].anyones and _PYTHON_WORDS.search(failure.text) is None


def _is_engine_log(log: bytes, events: Sequence[Event], reader: StartupLog) -> bool:
    """Whether anything but the words of a failure, or of Kubernetes, says that vLLM wrote it."""
    steps = pod_steps(events)
    return (
        bool(reader.stamp)
        or any(
            isinstance(event, (PhaseStarted, Figure, StallSeen)) or event.rank for event in events if event not in steps
        )
        or b"vllm" in log
        or b"vLLM" in log
    )


def _not_an_engine_log(log: bytes, measured: Measured) -> Diagnosis:
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


def _plain(text: str) -> str:
    """`text` without what a terminal would obey: the log is anyone's."""
    return "".join(one if one.isprintable() or one == "\t" else " " for one in text)


def _fill(cure: str, values: dict[str, str]) -> str | None:
    try:
        return _plain(cure.format(**values))
    except KeyError:
        return None


def _evidence(cause: FailureSeen, failures: Sequence[FailureSeen]) -> tuple[LogLine, ...]:
    """The telling lines; the same message from several ranks is shown once."""
    lines: dict[str, LogLine] = {}
    for failure in (cause, *(item for item in failures if item.code == cause.code)):
        lines.setdefault(failure.text[:80], LogLine(number=failure.line, text=_plain(failure.text)))
    return tuple(lines.values())[:3]


def _unknown(log: bytes, events: Sequence[Event], measured: Measured, exit_code: int | None) -> Diagnosis:
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    failed = exit_code not in (None, *CALM_EXITS) or has_failed(events) or _ends_in_an_error(log, events)
    failed = failed or _raised_since_it_worked(log, events)
    reached = working_phase(events)
    if not failed and (phases or exit_code == 0 or pod_steps(events)):
        errors = _errors_since_ready(log, events)
        title = "the log shows no failure" + (
            "; the server was ready" if "ready" in phases else f"; it ends in {reached}" if reached else ""
        )
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
    raised = _raised(events)
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


def _has_frames(event: Event) -> bool:
    """Whether it is more of a traceback than its exception alone."""
    return isinstance(event, TracebackSeen) and len(event.text) > 1


def _ends_in_an_error(log: bytes, events: Sequence[Event]) -> bool:
    """Whether a start that was never ready, and not told to stop, said nothing more after an error."""
    if ready_line(events):
        return False
    said = [message for line in log[-_END_BYTES:].split(b"\n") for message in messages(plain_line(line))]
    last = next((message for message in reversed(said) if message.level), None)
    survived = log_patterns().survived
    if any(told in message.text for message in said for told in log_patterns().told):
        return False
    return last is not None and not last.calm and not any(text in last.text for text in survived)


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
            for said in messages(plain_line(line)):
                if said.level in ("ERROR", "CRITICAL"):
                    found.setdefault(f"{said.rank} {said.stamp}", LogLine(number=number, text=_plain(said.text[:400])))
    return tuple(found.values())


def _only_reports(events: Sequence[Event]) -> bool:
    """Whether there are tracebacks, and all of them only say that another process ended."""
    wrappers = log_patterns().wrappers
    blocks = [event for event in events if isinstance(event, TracebackSeen)]
    return bool(blocks) and all(any(text in block.exception for text in wrappers) for block in blocks)


def _raised(events: Sequence[Event]) -> str:
    """Where the root of the failure was raised, in words; empty where the log does not say."""
    block = root_block(events)
    frame = raised_at(block) if block is not None else None
    if block is None or frame is None:
        return ""
    own = own_frame(block)
    words = f"raised in `{frame.function}`, {_plain(frame.path)} line {frame.line}"
    return words if own in (None, frame) else f"{words}, for {_plain(own.path)} line {own.line}"


def _last_words(root: Sequence[LogLine], events: Sequence[Event]) -> tuple[LogLine, ...]:
    """The exception of a traceback, and what belongs to it; without one the first line that is called an error."""
    if not any(isinstance(event, TracebackSeen) for event in events):
        return tuple(line for line in root if _ERROR.search(line.text))[:1]
    block = root_block(events)
    exception = _plain(block.exception) if block is not None else ""
    begin = next((i for i, line in enumerate(root) if line.text.strip() == exception), None)
    return tuple(line for line in root[begin : begin + 3] if line.text.strip()) if begin is not None else ()


def _root_traceback(log: bytes, events: Sequence[Event]) -> tuple[LogLine, ...]:
    """The first traceback that is not a report of another one, else the log's last lines."""
    root = root_block(events)
    if root is not None:
        return tuple(LogLine(number=n, text=_plain(text)) for n, text in zip(root.numbers, root.text, strict=True))
    lines = log.decode("utf-8", "replace").split("\n")
    kept = [(number, text) for number, text in enumerate(lines, 1) if text.strip()][-20:]
    return tuple(LogLine(number=number, text=_plain(text.rstrip()[:400])) for number, text in kept)
