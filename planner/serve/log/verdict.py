"""What is said of a log: the cause with the lines that show it and how to fix it, or that none is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.rendering.envelope import document, entry
from planner.serve.log.measured import Measured


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
    """As `Failure.code`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a start failed."""

    known: bool = field(init=False, default=False)
    """Whether a cause was named."""
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", self.code not in ("unknown", "none"))


@document("diagnosis", "2.1")
@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(Failure):
    """The cause of a failed start, and what the engine measured before it."""

    unfinished: bool = False
    """Whether the log ends while the server still starts: it shows no failure (``none``), and no success."""
    measured: Measured = field(default_factory=Measured)
    sources: tuple[SourceSaid, ...] = ()
    """Each log where several were read together, in the order given; else empty."""

    @property
    def failure(self) -> Failure:
        """The cause alone."""
        return entry(Failure, self)


def plain(text: str) -> str:
    """Return `text` without what a terminal would obey: the log is anyone's."""
    return "".join(one if one.isprintable() or one == "\t" else " " for one in text)
