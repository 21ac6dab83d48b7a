"""What can happen while a server starts, as values; it never reads, decides or prints.

The parser of the log makes those down to `TracebackSeen`, the follower of a run makes the others. Every event is frozen
and is a document of its own kind, see :mod:`planner.rendering.envelope`: a line of ``launch --json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.rendering.envelope import document

PHASES: tuple[str, ...] = ("configure", "download", "load", "profile", "kv", "compile", "capture", "ready")
"""The order of a start. A run may skip phases (no download, no capture) but never goes back."""

ENDINGS: tuple[str, ...] = ("failed", "stopped")
"""What a phase can become after the last one, or instead of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, with the place in ``server.log`` that says so."""

    line: int = 0
    """1-based line of the log; 0 where no line says it."""
    stamp: str = ""
    """Time as the engine printed it, ``MM-DD HH:MM:SS``; empty before the first such line."""
    rank: str = ""
    """Process that said it: ``APIServer``, ``EngineCore``, ``Worker_TP3`` …"""


@document("phase-started", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """The start entered a later phase, or ended."""

    phase: str
    """One of `PHASES` or `ENDINGS`."""


@document("progress", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """A part of the current phase is done."""

    phase: str
    done: int
    total: int
    label: str = ""
    """What is counted: a file, a capture mode; may be empty."""


@document("figure", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Event):
    """A number or name that the engine printed."""

    name: str
    """Key of the figure, its unit last: ``weights_bytes``, ``load_s``, ``vllm_version``."""
    value: int | float | str
    tolerance_bytes: int = 0
    """Half of the last printed digit, for sizes that were printed in GiB."""


@document("failure-seen", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSeen(Event):
    """A line that names a known cause of failure."""

    code: str
    """Key of the cause in the failure table: ``max-model-len``, ``out-of-memory`` …"""
    phase: str
    """What the start was doing when it was printed: one of `PHASES`, also after the failure itself; empty where no
    line tells."""
    text: str
    """The message without its prefix."""
    values: Mapping[str, int | float | str] = field(default_factory=dict, hash=False)
    """What the line says in numbers, by name."""
    weight: str = "cause"
    """``cause``, ``general`` where it only tells the kind, ``consequence`` where something else brings it about,
    ``place`` where only the part of the software that raised it is known."""


@document("stall-seen", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class StallSeen(Event):
    """The start says again that it waits, and nothing has moved in between."""

    code: str
    """Key of the cause that such a wait speaks for: ``workers-hang``, ``build-lock`` …"""
    phase: str
    """What the start was doing: one of `PHASES`; empty where no line tells."""
    text: str
    times: int
    """How often it was said since anything moved."""
    waited_s: float
    """How long it has waited, as far as the log tells; 0 where it does not."""


@document("traceback-seen", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class TracebackSeen(Event):
    """A whole Python traceback of one process."""

    exception: str
    """Its exception line."""
    last_line: int
    lines: tuple[str, ...]
    """Its lines without prefixes."""
    line_numbers: tuple[int, ...]
    """Where each of them stands: the lines of other ranks may lie between."""
    main_process: bool
    """Whether it ended the API server itself and not a child or a thread."""


@document("quiet-seen", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class QuietSeen(Event):
    """A phase says nothing new for far longer than usual, long before its limit; told once for each phase."""

    phase: str
    """One of `PHASES`."""
    waited_s: float
    usual_s: float | None
    """How long the whole phase took in earlier starts here; None without one."""
    last_seen: str
    """The last line of the log."""


@document("healthy", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy(Event):
    """``GET /health`` answered 200 for the first time."""

    after_s: float


@document("server-ready", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReady(Event):
    """The server can be used: health and log agree."""

    url: str
    after_s: float
    said_by: str
    """``health and log``, or ``health`` when the log never said so."""


@document("server-ended", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEnded(Event):
    """The server's processes are gone."""

    exit_code: int | None
    """As a shell would give it (137 for SIGKILL); None when it is not known."""
    after_s: float
    was_ready: bool


@document("timed-out", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut(Event):
    """A phase made no progress for longer than its limit."""

    phase: str
    waited_s: float
    last_seen: str
    """The last line of the log."""
    health: str
    """The last answer of ``/health``, in words."""
