"""The cause of a failed start, with the lines that show it and how to fix it; it never guesses.

The first cause that the log names is the one: what follows it is mostly its consequences. When nothing is named,
it says so and shows the first traceback that does not merely report another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from planner.planning.answer import Plan
from planner.serve.free_port import free_port_beside
from planner.serve.log.advice import cures_told
from planner.serve.log.causes import causes, signal_of
from planner.serve.log.choice import find_cause, pod_steps, precise_failures
from planner.serve.log.events import Event, FailureSeen, Figure, PhaseStarted, StallSeen, TimedOut
from planner.serve.log.given import tried_without
from planner.serve.log.held import HeldMemory, held_words
from planner.serve.log.measured import Measured, read_measured
from planner.serve.log.parser import StartupLog, parse_log
from planner.serve.log.places import raiser_of
from planner.serve.log.remedy import (
    cure_values,
    describe_lever,
    peak_cures,
    replan,
    utilization_note,
    weight_cures,
)
from planner.serve.log.unnamed import not_an_engine_log, raised_words, unnamed
from planner.serve.log.verdict import Diagnosis, LogLine, plain
from planner.serve.log.wrapped import readings
from planner.settings import DEFAULT_PORT

_MAX_LEVERS = 5
START = b"non-default args:"
"""What every server says once, among the first."""
_FEW_STARTS = 2
_AGAIN = (
    "the log holds {starts} starts: something starts the server again each time it ends; stop that until the cause is "
    "fixed (`docker update --restart=no`, `systemctl stop`, `kubectl scale --replicas=0`)"
)
_PYTHON_WORDS = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception): |^(?:[a-z_]\w*\.)+[A-Z]\w+: |(?i:hugging ?face|gated repo)|"
    r"error while attempting to bind on address|Error response from daemon|pyxis: |CAS service error|/\.cache/|"
    r"\bwriting blob\b|ApplyLayer|error while loading shared libraries|"
    r"(?i:cache)[^:]{0,200}: (?:Read-only file|Permission denied)|building SIF|unpacking rootfs|x509: |"
    r"\b(?:register|extract) layer\b"
)
"""An exception, the hub, its caches, docker, images, Slurm's containers: what says that such a program was to start."""
_NAMES_IT = re.compile(rb"vllm|vLLM|VLLM::|kserve")
_UNSURE = "what was raised is not known here: only the part of the software that raised it speaks for this answer"
_RAISED_IN = "this text is raised in `{path}`: that part of the software speaks for this answer"
_KIND_ONLY = "the message says only of what kind the failure is: what stands before it in the log may say more"

_WEAK = ("unknown", "engine-defect")
"""Answers that name nothing to change."""


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

    Where lines of `log` may have been wrapped, they are read as one if that names a cause and the lines alone do not.
    """
    read = partial(
        _diagnose,
        plan=plan,
        exit_code=exit_code,
        timed_out=timed_out,
        kernel=kernel,
        port=port,
        held=held,
        stretches=stretches,
    )
    ways = readings(log)
    first = next(ways)
    answer = read(first)
    if answer.code == "none":
        # Of a log that shows a failure only as it stands it is not said that nothing failed.
        return answer if first is log else read(log)
    if answer.known and not _is_general(answer) and (first is not log or not _names_the_thing(answer)):
        return answer
    return next((other for other in map(read, ways) if _tells_more(other, answer)), answer)


def _tells_more(whole: Diagnosis, pieces: Diagnosis) -> bool:
    """Whether lines that were read as one name a thing where alone they do not, or another one in the same line."""
    if not _names_the_thing(whole) or not whole.evidence or not (said := whole.evidence[0]).number:
        return False
    if whole.code == "engine-defect" and pieces.known:
        return False  # the class of an exception alone, where the other reading knows a word of it
    longer = any(one.number == said.number and len(one.text) < len(said.text) for one in pieces.evidence[:1])
    return longer or not _names_the_thing(pieces)


def _is_general(answer: Diagnosis) -> bool:
    return causes()[answer.code].weight == "general" or answer.note.startswith(_KIND_ONLY)


def _names_the_thing(answer: Diagnosis) -> bool:
    return answer.known and not answer.note and causes()[answer.code].weight == "cause"


def _diagnose(
    log: bytes,
    *,
    plan: Plan | None,
    exit_code: int | None,
    timed_out: TimedOut | None,
    kernel: bytes,
    port: int | None,
    held: Sequence[HeldMemory],
    stretches: Sequence[tuple[int, str]],
) -> Diagnosis:
    """The cause of the failure that `log` tells of as it stands."""
    reader = StartupLog()
    events = reader.read(log, stretches)
    measured = read_measured(events)
    if exit_code is None or signal_of(exit_code) or any(_is_death(event) for event in events):
        # A start that ended by itself is not explained by what happened beside it.
        events += tuple(replace(event, line=0) for event in parse_log(kernel) if isinstance(event, FailureSeen))
    if exit_code is None and timed_out is None and not _is_engine_log(log, events, reader):
        events = tuple(event for event in events if not isinstance(event, FailureSeen) or not _anyones(event))
        if not any(isinstance(event, FailureSeen) for event in events):
            return not_an_engine_log(log, measured)
    # Of a server that ended the last line is not a wait.
    last_text = reader.last_text if exit_code is None else ""
    cause = find_cause(events, exit_code=exit_code, timed_out=timed_out, last_text=last_text)
    if cause is None:
        answer = unnamed(log, events, measured, exit_code)
        weak = answer.code in _WEAK
        return replace(answer, cures=tuple(_without(log, events, "", answer.cures))) if weak else answer
    known = causes()[cause.code]
    failures = precise_failures(events)
    values = cure_values(cause, plan=plan, measured=measured) | cures_told(log, cause)
    if cause.code == "port-in-use" and (free := free_port_beside(port or DEFAULT_PORT)) is not None:
        values["free_port"] = str(free)
    cures = [text for cure in known.cures if (text := _fill(cure, values)) is not None]
    note = ""
    again = (_AGAIN.format(starts=starts),) if (starts := log.count(START)) > _FEW_STARTS else ()
    if known.beside and (beside := held_words(held)):
        cures.insert(0, beside)
    if cause.weight == "place":
        raiser = raiser_of(cause.text)
        note = (
            _RAISED_IN.format(path=raiser.path) if raiser is not None else f"{_UNSURE}; it was {raised_words(events)}"
        )
    elif cause.weight == "general":
        note = _KIND_ONLY + (f"; it was {raised}" if (raised := raised_words(events)) else "")
    if plan is not None:
        cures += _planned_cures(cause.code, plan, values)
    elif known.replan and known.general_cure:
        cures.append(known.general_cure)
    if note:
        cures = _without(log, events, cause.text, cures)
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


def _without(log: bytes, events: Sequence[Event], text: str, cures: Sequence[str]) -> list[str]:
    """`cures`, and before them to leave out what the start was given and may have failed by."""
    flags = [flag for flag in tried_without(log, events, text) if not any(flag in cure for cure in cures)]
    if not flags:
        return list(cures)
    given = "this start gave it, and what failed goes by its name"
    if len(flags) > 1:
        given = "this start gave them, and what failed goes by their names"
    return [f"try without {', '.join(f'`{flag}`' for flag in flags)}: {given}", *cures]


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
        or _NAMES_IT.search(log) is not None
    )


def _fill(cure: str, values: dict[str, str]) -> str | None:
    try:
        return plain(cure.format(**values))
    except KeyError:
        return None


def _evidence(cause: FailureSeen, failures: Sequence[FailureSeen]) -> tuple[LogLine, ...]:
    """The telling lines; the same message from several ranks is shown once."""
    lines: dict[str, LogLine] = {}
    for failure in (cause, *(item for item in failures if item.code == cause.code)):
        lines.setdefault(failure.text[:80], LogLine(number=failure.line, text=plain(failure.text)))
    return tuple(lines.values())[:3]
