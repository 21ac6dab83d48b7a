"""Which lines of vLLM's log mean what: ``log_patterns.toml`` and ``failures/*.toml``; it compiles no expression."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts.record import Record, read
from planner.facts.vllm import Origin

Weight = Literal["cause", "general", "consequence"]
"""How much a line of a cause tells: the thing itself, only its kind, or what follows from something else."""


class Line(Record):
    """A line that carries a phase, a figure or progress."""

    name: str
    needle: str
    regex: str
    phase: str = ""
    early: str = ""
    since: str = ""
    until: str = ""
    basis: Literal["measured", "assumed"]


class Fatal(Record):
    """A line after which the start cannot go on."""

    needle: str
    regex: str
    basis: Literal["measured", "assumed"]


class Wrappers(Record):
    """Exceptions that only report another one."""

    texts: tuple[str, ...]


class LogLines(Record):
    """The whole of ``log_patterns.toml``."""

    source: str
    line: tuple[Line, ...]
    fatal: tuple[Fatal, ...]
    wrappers: Wrappers
    frames: Mapping[str, str]


class FailureLine(Record):
    """A line that names a cause."""

    has: str
    """Plain text that the line holds; tested before the expression."""
    regex: str = ""
    """Its named groups become values that cures may use; empty is the plain text."""
    example: str
    basis: Literal["measured", "assumed"] = "assumed"
    weight: Weight | None = None
    """None is the cause's own."""


class CauseEntry(Record):
    """One known cause; what each key does stands at :class:`planner.serve.log.causes.Cause`."""

    title: str
    cures: tuple[str, ...]
    general_cure: str = ""
    weight: Weight = "cause"
    term: str = ""
    replan: bool = False
    anyones: bool = False
    by_phase: bool = False
    by_signal: bool = False
    signals: tuple[int, ...] = ()
    lines: tuple[FailureLine, ...]
    stalls: tuple[FailureLine, ...] = ()
    last_words: tuple[str, ...] = ()
    silent_cures: tuple[str, ...] = ()
    empty_title: str = ""
    not_engine_title: str = ""
    not_engine_cures: tuple[str, ...] = ()


class FreeMemory(Origin):
    """A lower utilization is offered without a plan where this share of the GPU is free."""

    least_share: float


class FailureFile(Record):
    """One file of ``failures/``."""

    source: str
    cause: Mapping[str, CauseEntry]
    free_memory: FreeMemory | None = None


@cache
def log_lines() -> LogLines:
    """Return what ``log_patterns.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("log_patterns.toml", LogLines)


@cache
def failures(area: str) -> FailureFile:
    """Return what ``failures/<area>.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read(f"failures/{area}.toml", FailureFile)
