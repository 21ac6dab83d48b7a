"""The known causes of failure: what names each, and what cures it, from ``planner/facts/failures``; it reads no log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

from planner.errors import BadFacts
from planner.facts.log_lines import CauseEntry, FailureLine, Weight, failures

AREAS = (
    "collectives", "memory", "settings", "checkpoint", "devices", "build", "cluster", "host", "deaths",
)  # fmt: skip
"""The files of ``planner/facts/failures``, in the order in which their patterns are tried on a line."""

WEIGHTS: tuple[Weight, ...] = get_args(Weight)
"""The same, the most telling first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePattern:
    """One kind of line that names a cause."""

    code: str
    needle: str
    """Plain text that the line holds; tested before the expression."""
    regex: re.Pattern[str]
    """Its named groups become values that cures may use."""
    example: str
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One known cause."""

    code: str
    """Stable key."""
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
    by_signal: bool = False
    """Whether the exit code in the line says which death it is."""
    signals: tuple[int, ...] = ()
    """Signals that this death stands for; 0 where the log tells no exit code."""
    lines: tuple[FailurePattern, ...] = ()
    stalls: tuple[FailurePattern, ...] = ()
    """Lines that a start repeats while it waits for something that does not come."""
    last_words: tuple[str, ...] = ()
    """Texts of a line after which a start of this kind falls silent."""
    silent_cures: tuple[str, ...] = ()
    empty_title: str = ""
    not_engine_title: str = ""
    not_engine_cures: tuple[str, ...] = ()


@cache
def causes() -> Mapping[str, Cause]:
    """Return every known cause by its key.

    Raises:
        BadFacts: for a file that holds a key or a type that no cause has, with file and key.
    """
    found: dict[str, Cause] = {}
    for area in AREAS:
        name = f"failures/{area}.toml"
        for code, entry in failures(area).cause.items():
            if code in found:
                raise BadFacts(name, f"cause.{code}", "stands in another file, too")
            found[code] = _cause(code, entry)
    return found


def cause_of_signal(signal: int) -> str:
    """Return the key of the death that `signal` stands for, 0 for none known.

    >>> cause_of_signal(9), cause_of_signal(11), cause_of_signal(0)
    ('killed', 'segfault', 'died')
    """
    return next((cause.code for cause in causes().values() if signal in cause.signals), "died")


def signal_of(exit_code: int) -> int:
    """Return the signal in an exit code as Python (negative) or a shell (above 128) gives it; 0 without one.

    >>> signal_of(-9), signal_of(137), signal_of(1)
    (9, 9, 0)
    """
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if 128 < exit_code < 160 else 0


def _cause(code: str, entry: CauseEntry) -> Cause:
    values = vars(entry) | {
        key: tuple(_pattern(code, line, entry.weight) for line in lines)
        for key, lines in (("lines", entry.lines), ("stalls", entry.stalls))
    }
    return Cause(code=code, **values)


def _pattern(code: str, line: FailureLine, weight: Weight) -> FailurePattern:
    return FailurePattern(
        code=code,
        needle=line.has,
        regex=re.compile(line.regex or re.escape(line.has)),
        example=line.example,
        weight=line.weight or weight,
    )
