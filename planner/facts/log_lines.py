"""Which lines of vLLM's log mean what: ``log_patterns.toml`` and ``failures/*.toml``; it compiles no expression."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts.record import Record, door, read
from planner.facts.vllm import Origin

Weight = Literal["cause", "general", "consequence", "suspicion"]
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


class Pattern(Record):
    """A form of a line."""

    has: str | tuple[str, ...]
    """Plain text that the line holds, or texts of which it holds one; tested before the expression."""
    regex: str = ""
    """Empty is the plain text."""
    example: str

    @property
    def texts(self) -> tuple[str, ...]:
        """`has` as several."""
        return (self.has,) if isinstance(self.has, str) else self.has

    @property
    def expression(self) -> str:
        """The expression, also where only plain text was given."""
        return self.regex or "|".join(map(re.escape, self.texts))


class Fatal(Record):
    """A line after which the start cannot go on."""

    needle: str
    regex: str
    basis: Literal["measured", "assumed"]


class Report(Pattern):
    """A form in which one process, program or check tells of what was raised elsewhere. The group ``said`` of its
    expression is what it quotes, ``kind`` that one's class; without ``said`` it quotes nothing."""

    raises: tuple[str, ...] = ()
    """Classes of which what it quotes may have been, where it does not say; "" is none."""
    own: bool = False
    """Whether its own words may name a cause, too; else only a death."""
    follows: bool = False
    """Whether what was raised stands behind it, in the same traceback."""
    basis: Literal["measured", "assumed"]


class Survived(Record):
    """Lines that are printed as errors and that the engine goes on from."""

    texts: tuple[str, ...]


class Guesses(Record):
    """Words behind which a line lists what may be the reason."""

    texts: tuple[str, ...]


class Told(Record):
    """Lines in which the engine says that it was asked to stop: its processes die then as they should."""

    texts: tuple[str, ...]


class Given(Record):
    """How the settings of a start are brought together with the part of the engine that failed."""

    needed: tuple[str, ...]
    """Settings without which a start is another one, or none."""
    everywhere: tuple[str, ...]
    """Words that names of code and settings are made of, whatever they are about."""
    alike: Mapping[str, tuple[str, ...]]
    """Word of a setting's name → what the engine's code calls the same thing."""


class LogLines(Record):
    """The whole of ``log_patterns.toml``."""

    source: str
    line: tuple[Line, ...]
    fatal: tuple[Fatal, ...]
    survived: Survived
    guesses: Guesses
    told: Told
    report: tuple[Report, ...]
    classes: Mapping[str, str]
    """Class of Python's → the expression of its own words."""
    given: Given
    frames: Mapping[str, str]


class FailureLine(Pattern):
    """A line that names a cause; its named groups become values that cures may use."""

    basis: Literal["measured", "assumed"] = "assumed"
    weight: Weight | None = None
    """None is the cause's own."""


class Cause(Record):
    """One known cause of failure."""

    title: str
    """One lower-case sentence."""
    cures: tuple[str, ...]
    """What to change, best first; ``{name}`` is a value of the log or the plan, without which a cure is left out."""
    general_cure: str = ""
    """What to say where no other cure is left."""
    weight: Weight = "cause"
    term: str = ""
    """Ledger line that it concerns; empty where memory is not the matter."""
    replan: bool = False
    """Whether levers are planned again from what the log measured."""
    anyones: bool = False
    """Whether other programs fail with the same words, so that a log must be known to be vLLM's."""
    by_phase: bool = False
    """Whether the phase says which of its ``oom-`` kinds it is."""
    by_place: bool = False
    """Whether the part of the software that raised it tells more than its words."""
    by_signal: bool = False
    """Whether the exit code in the line says which death it is."""
    signals: tuple[int, ...] = ()
    """Signals that this death stands for; 0 where the log tells no exit code."""
    lines: tuple[FailureLine, ...]
    suspicions: tuple[FailureLine, ...] = ()
    """Warnings that a start may go on from: they speak for the cause where it failed and nothing else says why."""
    stalls: tuple[FailureLine, ...] = ()
    """Lines that a start repeats while it waits for something that does not come."""
    exceptions: tuple[FailureLine, ...] = ()
    """What a root exception begins with that speaks for the cause where no line and no place does."""
    places: tuple[str, ...] = ()
    """Parts of a source file's path, with ``:function`` behind it; an exception raised there that nothing names speaks
    for the cause, weakly."""
    claims: tuple[str, ...] = ()
    """Words of other causes' lines that speak for this one where one of its places raised them."""
    elsewhere: tuple[str, ...] = ()
    """Parts of a path of vLLM's or of a checkpoint's code: raised there, the same words are about something else."""
    last_words: tuple[str, ...] = ()
    """Texts of a line after which a start of this kind falls silent."""
    phase: str = ""
    """The only phase in which it happens; empty for several."""
    any_phase: bool = False
    """Whether it may happen in every phase, so that only a proven one is said."""
    until_ready: bool = False
    """Whether it stops no server that is ready: there the same words are about one request."""
    over: tuple[str, ...] = ()
    """Steps of a pod, or phases, after which it is no longer in the way."""
    beside: bool = False
    """Whether what else is on the GPUs matters, which is then said first."""
    silent_cures: tuple[str, ...] = ()
    empty_title: str = ""
    not_engine_title: str = ""
    not_engine_cures: tuple[str, ...] = ()


class FreeMemory(Origin):
    """What is offered without a plan, and when a GPU counts as idle."""

    least_share: float
    """A lower utilization is offered where this share of the GPU is free."""
    idle_gib: float
    """A GPU with less than this in use holds no process."""


class FailureFile(Record):
    """One file of ``failures/``."""

    source: str
    cause: Mapping[str, Cause]
    free_memory: FreeMemory | None = None


class Raised(Record):
    """The texts with which vLLM's own code refuses to go on; ``scripts/raised_texts.py`` writes them."""

    schema_version: int
    provenance: Origin
    texts: Mapping[str, str]
    """Source file, compiled library or folder of models → of each message a part that never changes, a line each."""


class Collectives(Record):
    """What NCCL and RCCL warn of and go on from; ``scripts/nccl_texts.py`` writes it."""

    schema_version: int
    provenance: Origin
    goes_on: tuple[str, ...]
    """Of each such warning a part that never changes."""


log_lines = door("log_patterns.toml", LogLines)
collective_texts = door("nccl.json", Collectives)


@cache
def raised_texts() -> Mapping[str, str]:
    """Return the texts of ``raised.json`` by the file that raises them."""
    return read("raised.json", Raised).texts


@cache
def failures(area: str) -> FailureFile:
    """Return what ``failures/<area>.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read(f"failures/{area}.toml", FailureFile)
