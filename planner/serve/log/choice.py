"""Which of the things that a log names is the cause, and which follow from it.

A thing itself beats its kind, its kind beats a wait, a wait beats the part in which something unknown was raised, and
that a death without words. Among equals the first in the log is the cause: what follows is mostly its consequences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile

from planner.serve.log.advice import names_a_rule
from planner.serve.log.causes import cause_of_signal, causes, signal_of
from planner.serve.log.events import (
    ENDINGS,
    Event,
    FailureSeen,
    Figure,
    PhaseStarted,
    Progress,
    StallSeen,
    TimedOut,
    TracebackSeen,
)
from planner.serve.log.frames import Frame, frames_of
from planner.serve.log.patterns import FailurePattern, log_patterns
from planner.serve.log.places import cause_of_frames, claimed, is_defect, raiser_of
from planner.serve.log.reports import is_report, raised_there

_OOM_BY_PHASE = {"load": "load", "profile": "profile", "ready": "serve"}
_PHASE_UNPROVED = ("", "configure", "download")
"""Loading has no first line of its own: what comes after these may be anything where no frame tells."""
_UNTOLD = ("died", "exited")
"""Deaths of which only that is known that they happened."""
_LOST = ("peer-gone", "ray-actor")
"""Another process is gone: what that one said, or how it died, is the cause."""
_WEAK_DEATHS = ("terminated", *_UNTOLD, "restarts", *_LOST)
"""Deaths that a supervisor brings about, or of which nothing is known."""

_LATE = "collective-timeout"
_ENDS_A_RANK = ("device-fault", "device-assert", "gpu-lost", "ecc", "nvlink", "out-of-memory", "host-memory")
"""What one rank's collective times out for, when another one tells it: that is the cause."""

_OOM = "out-of-memory"
"""In no phase that the log tells."""
_OOM_KINDS = ("oom-load", "oom-profile", "oom-capture", "oom-serve")

CALM_EXITS = (0, 143, 130)
"""Exit codes of a server that ended by itself or because it was asked to."""

_REFUSED = "refused-settings"
"""What an exception is that says of a setting by name what it must be, wherever it was raised."""
_OWN = ("vllm/", "transformers_modules/")
_POD_EVENT = re.compile(r"(?:Warning|Normal)\s+[A-Z]\w+\s")
_PROBED = re.compile(r"Warning\s+Unhealthy\s")
"""A probe failed; where that ends a container, another event says so."""
_NAMED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")
"""An exception; a traceback that was cut ends in anything."""
_ALONE = re.compile(r"\bworld[_ ]size[= ]1\b")
"""Of a process that has no other one it is not said that it waits for one."""
_TIMES = 3
_WAITED_S = 180.0
"""A wait that was said so often, or lasted so long, is a hang."""


def find_cause(events: Sequence[Event], *, exit_code: int | None = None, timed_out: TimedOut | None = None,
               last_text: str = "") -> FailureSeen | None:  # fmt: skip
    """Return what ended the start that `events` tell of, with its precise key; None when nothing names it.

    `last_text` is the last line of a log that may have ended.
    """
    failures = precise_failures(events)
    found = _proved(failures, events, exit_code, timed_out, last_text)
    if found is None or found.code in _UNTOLD:
        failed = has_failed(events) or exit_code not in (None, *CALM_EXITS) or timed_out is not None
        return (_suspected(failures, events) if failed else None) or found
    return found


def _suspected(failures: Sequence[FailureSeen], events: Sequence[Event]) -> FailureSeen | None:
    """What a warning speaks for; a death only where nothing was raised before it."""
    said = _says_why(events)
    return next((one for one in failures if one.weight == "suspicion"
                 and not (said and causes()[one.code].weight == "consequence")), None)  # fmt: skip


def _proved(failures: Sequence[FailureSeen], events: Sequence[Event], exit_code: int | None,
            timed_out: TimedOut | None, last_text: str) -> FailureSeen | None:  # fmt: skip
    """The cause by all that says more than that something may be wrong."""
    if (found := _first(failures, "cause")) is not None:
        return found
    if (found := _first(failures, "general")) is not None:
        return _of_its_part(found, failures, events)
    deaths = [failure for failure in failures if failure.weight == "consequence"]
    strong = [death for death in deaths if causes()[death.code].signals and death.code not in _WEAK_DEATHS]
    signal = signal_of(exit_code) if exit_code is not None else 0
    if not strong and signal and cause_of_signal(signal) not in _WEAK_DEATHS:
        strong = [_told(cause_of_signal(signal), events, f"exit code {exit_code}, no last words")]
    if strong:
        return strong[0]
    raised = has_failed(events) and _says_why(events)
    hang = _hang(events, timed_out, last_text)
    if hang is not None and not raised:
        return hang
    if timed_out is not None and not raised:
        return FailureSeen(code="timeout", phase=timed_out.phase, text=timed_out.last_seen)
    if (exit_code not in (None, *CALM_EXITS) or has_failed(events)) and (place := _by_place(events)) is not None:
        return place
    if not any(death.code not in (*_UNTOLD, *_LOST) for death in deaths) and _says_why(events):
        return None  # it ended for what it raised, and that has no name here
    if deaths:
        return next((death for death in deaths if death.code not in _UNTOLD), deaths[0])
    if signal and working_phase(events) != "ready":
        return _told(cause_of_signal(signal), events, f"exit code {exit_code}, no last words")
    return None


def _of_its_part(kind: FailureSeen, failures: Sequence[FailureSeen], events: Sequence[Event]) -> FailureSeen:
    """A failure of which a line tells the kind, by the part of the software that raises it, where that tells more."""
    said = [one.text for one in failures if one.code == kind.code and 0 <= one.line - kind.line <= 1]
    raiser = next((found for text in said if (found := raiser_of(text)) is not None), None)
    code = raiser.code if raiser is not None else ""
    if not code and causes()[kind.code].by_place and (block := _block_of(kind, events)) is not None:
        code = cause_of_frames(_frames(block))
    if not code or causes()[code].weight != "cause":
        return kind
    return replace(kind, code=code, weight="place")


def _block_of(failure: FailureSeen, events: Sequence[Event]) -> TracebackSeen | None:
    """The traceback that the line of a failure belongs to."""
    blocks = (event for event in events if isinstance(event, TracebackSeen))
    return next((block for block in blocks if failure.line in block.line_numbers), None)


def precise_failures(events: Sequence[Event]) -> list[FailureSeen]:
    """Return the failures of `events` with the keys that phase, traceback and exit code give them.

    What was said before the server became ready did not stop it, nor what a later step of its pod shows to be over.
    """
    ready = ready_line(events)
    dead = ready > 0 and has_failed(events)
    steps = pod_steps(events)
    phases = [event for event in events if isinstance(event, PhaseStarted)]
    blocks = [event for event in events if isinstance(event, TracebackSeen)]
    installed = installed_line(events)
    found = []
    for event in events:
        # Line 0 is the kernel's, of any time.
        if (
            isinstance(event, FailureSeen)
            and not _is_survived(event, installed, blocks)
            and _counts(event, ready, dead)
            and not _is_over(event, steps, phases)
        ):
            precise = _precise(event, blocks)
            if precise is not None:
                found.append(precise)
    return [_warned_of(one, found) for one in found]


def _warned_of(failure: FailureSeen, failures: Sequence[FailureSeen]) -> FailureSeen:
    """A failure in words that a part of the software claims which had warned of itself, as one of that part."""
    warned = (one.code for one in failures if one.weight == "suspicion" and one.line < failure.line)
    claims = (code for code in warned if any(word in failure.text for word in causes()[code].claims))
    return replace(failure, code=next(claims, failure.code))


def _counts(failure: FailureSeen, ready: int, dead: bool) -> bool:
    """Whether a failure stands where it can have stopped the start, or the server that came of it.

    What the API server says of one request ends nothing; what a process of the engine says may, where it `dead`.
    """
    if not failure.line:
        return True
    if ready and _PROBED.search(failure.text) is not None:
        return False
    of_a_request = ready and causes()[failure.code].until_ready and (not dead or failure.rank == "APIServer")
    return failure.line >= ready and not of_a_request


def installed_line(events: Sequence[Event]) -> int:
    """Return the line that says that an image or a package was built or installed; 0 where none does before a start."""
    began = min((event.line for event in events if isinstance(event, PhaseStarted)), default=None)
    lines = (event.line for event in events if isinstance(event, Figure) and event.name == "installed")
    return max((line for line in lines if began is None or line < began), default=0)


def _is_survived(failure: FailureSeen, installed: int, blocks: Sequence[TracebackSeen]) -> bool:
    """Whether a build or an installation said it and went on to its end."""
    alone = not failure.stamp and not failure.rank and all(failure.line not in one.line_numbers for one in blocks)
    return 0 < failure.line < installed and alone


def pod_steps(events: Sequence[Event]) -> list[Figure]:
    """Return what Kubernetes says to have done for the pod, and how it stands, in order."""
    return [event for event in events if isinstance(event, Figure) and event.name.startswith("pod_")]


def _is_over(failure: FailureSeen, steps: Sequence[Figure], phases: Sequence[PhaseStarted]) -> bool:
    over = causes()[failure.code].over
    if any(step.line > failure.line > 0 and step.value in over for step in steps):
        return True
    if any(one.line > failure.line > 0 and one.phase in over for one in phases):
        return True
    if _POD_EVENT.match(failure.text) is None:
        return False
    # `kubectl describe` says how a pod stands above its events, which are of any time before.
    own = list(takewhile(lambda step: step.name != "pod_name", reversed([s for s in steps if s.line < failure.line])))
    return {step.value for step in own if step.name == "pod_ready"} == {"True"}


def working_phase(events: Sequence[Event]) -> str:
    """Return the last phase in which the start still did something; empty where no line tells."""
    working = [event.phase for event in events if isinstance(event, PhaseStarted) and event.phase not in ENDINGS]
    return working[-1] if working else ""


def proved_phase(events: Sequence[Event]) -> str:
    """Return the same where nothing can have followed it unseen, else nothing."""
    phase = working_phase(events)
    return "" if phase in _PHASE_UNPROVED else phase


def has_failed(events: Sequence[Event]) -> bool:
    """Whether the start said that it was over, or did nothing more after a traceback and was neither ready nor told to
    stop."""
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    if "failed" in phases:
        return True
    if "ready" in phases or "stopped" in phases:
        return False
    worked = max((e.line for e in events if isinstance(e, (PhaseStarted, Progress, Figure))), default=0)
    return any(isinstance(event, TracebackSeen) and event.line > worked for event in events)


def root_block(events: Sequence[Event]) -> TracebackSeen | None:
    """Return the first traceback that is not a report of another one; the first at all where there is no such.

    What was raised before the server became ready did not stop it.
    """
    ready = ready_line(events)
    blocks = [event for event in events if isinstance(event, TracebackSeen) and event.last_line >= ready]
    blocks.sort(key=lambda block: block.line)  # a traceback is whole only when its process says something else
    told = (block for block in blocks if not (is_report(block.exception) or _is_report(block)))
    return next(told, blocks[0] if blocks else None)


def raised_at(block: TracebackSeen) -> Frame | None:
    """Return the innermost frame of a traceback, of the first one in a chain; None where none is left of it."""
    return next(iter(_frames(block)), None)


def own_frame(block: TracebackSeen) -> Frame | None:
    """Return the innermost frame of vLLM's own code, or of the checkpoint's; None where none is left of it."""
    return next((frame for frame in _frames(block) if any(own in frame.path for own in _OWN)), None)


def _frames(block: TracebackSeen) -> list[Frame]:
    """The frames before the exception, innermost first."""
    exception = block.exception.strip()
    before = takewhile(lambda line: line.strip() != exception, block.lines)
    return frames_of(before)[::-1]


def _by_place(events: Sequence[Event]) -> FailureSeen | None:
    """The part of the software that raised something that nothing else names."""
    block = root_block(events)
    if block is None or _is_report(block) or _NAMED.match(block.exception) is None:
        return None
    raiser = raiser_of(block.exception)
    code = raiser.code if raiser is not None else cause_of_frames(_frames(block))
    by_name = not code and names_a_rule(block.exception)
    code = _REFUSED if by_name else code
    if not code or (causes()[code].weight == "general" and is_defect(block.exception)):
        return None
    phase = _frame_phase(block) or proved_phase(events)
    return FailureSeen(code=code, phase=phase, text=block.exception, weight="general" if by_name else "place",
                       line=block.last_line, stamp=block.stamp, rank=block.rank)  # fmt: skip


def _says_why(events: Sequence[Event]) -> bool:
    """Whether a traceback is left that is more than a report of another one."""
    block = root_block(events)
    return block is not None and not _is_report(block)


def _is_report(block: TracebackSeen) -> bool:
    said = block.exception
    return not raised_there(said) or any(one.search(said) for one in _losses())


@cache
def _losses() -> tuple[FailurePattern, ...]:
    """What a process says that lost another one."""
    return tuple(one for one in log_patterns().failures if one.code in _LOST)


def ready_line(events: Sequence[Event]) -> int:
    """Return the line that says that the server was ready; 0 where none does."""
    ready = (event.line for event in events if isinstance(event, PhaseStarted) and event.phase == "ready")
    return max(ready, default=0)


def _precise(failure: FailureSeen, blocks: Sequence[TracebackSeen]) -> FailureSeen | None:
    cause = causes()[failure.code]
    block = next((block for block in blocks if failure.line in block.line_numbers), None)
    own = own_frame(block) if block is not None else None
    if own is not None and (code := claimed(failure.text, f"{own.path}:{own.function}")):
        return replace(failure, code=code, phase="")
    imported = own is not None and own.function == "<module>"
    if own is not None and not imported and any(place in own.path for place in cause.elsewhere):
        return None  # the words are about something else there
    proved = cause.phase or (_frame_phase(block) if block is not None else None)
    phase = proved or failure.phase
    if cause.by_phase:
        if phase in _PHASE_UNPROVED:
            return replace(failure, phase="")
        return replace(failure, code=f"oom-{_OOM_BY_PHASE.get(phase, 'capture')}", phase=phase)
    if cause.by_signal:
        exit_code = failure.values.get("exit")
        signal = 0 if exit_code is None else signal_of(int(exit_code)) or _bare_signal(failure.text, int(exit_code))
        if exit_code is not None and not signal:
            # It raised something, and said what above unless that went elsewhere.
            return replace(failure, code="exited", phase="") if exit_code else None
        failure = replace(failure, code=cause_of_signal(signal))
    if (cause.any_phase or failure.weight == "consequence") and not proved and phase in _PHASE_UNPROVED:
        return replace(failure, phase="")
    return replace(failure, phase=phase)


def _bare_signal(text: str, number: int) -> int:
    """systemd and Python give the signal itself."""
    return number if any(told in text for told in ("code=killed", "code=dumped", "<Signals.")) else 0


def _frame_phase(block: TracebackSeen) -> str | None:
    frames = log_patterns().frames
    phases = [frames[frame.function] for frame in frames_of(block.lines) if frame.function in frames]
    # A step of serving and a dummy step of the profile run end in the same functions: what is outside decides.
    return next((phase for phase in phases if phase != "ready"), phases[0] if phases else None)


def _first(failures: Sequence[FailureSeen], weight: str) -> FailureSeen | None:
    telling = [failure for failure in failures if failure.weight == weight]
    if not telling:
        return None
    first = next((failure for failure in telling if not is_report(failure.text)), telling[0])
    if first.code == _LATE:
        first = next((one for one in telling if one.code in (*_ENDS_A_RANK, *_OOM_KINDS)), first)
    if first.code == _OOM or first.code.startswith("oom-"):
        kinds = [failure for failure in telling if failure.code in (_OOM, *_OOM_KINDS)]
        first = next((failure for failure in kinds if failure.code != _OOM), first)
        # The engine says itself what it was doing, which is more than the phase lines may tell; else the message
        # with the numbers tells more than the class name alone.
        said = next((item for item in kinds if "dummy_requests" in item.values), None)
        same = [item for item in kinds if item.code == first.code]
        return said or next((item for item in same if item.values), first)
    return first


def _hang(events: Sequence[Event], timed_out: TimedOut | None, last_text: str) -> FailureSeen | None:
    """A start that was never ready and ends in a wait."""
    last: StallSeen | None = None
    for event in events:
        if isinstance(event, StallSeen):
            last = event
        elif isinstance(event, (Progress, Figure)) or (isinstance(event, PhaseStarted) and event.phase not in ENDINGS):
            last = None
    # Of a log that holds nothing but waits it is asked for what they mean.
    alone = last is not None and all(isinstance(event, StallSeen) for event in events)
    if last is not None and (alone or timed_out is not None or last.times >= _TIMES or last.waited_s >= _WAITED_S):
        values = {"times": last.times, "waited_s": last.waited_s}
        return FailureSeen(code=last.code, phase=last.phase, text=last.text, values=values, line=last.line,
                           stamp=last.stamp, rank=last.rank)  # fmt: skip
    text = timed_out.last_seen if timed_out is not None else last_text
    words = "" if _ALONE.search(text) else text
    code = next((code for code, cause in causes().items() if any(word in words for word in cause.last_words)), None)
    if code is None or working_phase(events) == "ready" or any(
        isinstance(event, PhaseStarted) and event.phase in ENDINGS for event in events
    ):  # fmt: skip
        return None
    return FailureSeen(code=code, phase=proved_phase(events), text=text)


def _told(code: str, events: Sequence[Event], text: str) -> FailureSeen:
    return FailureSeen(code=code, phase=proved_phase(events), text=text, weight="consequence")
