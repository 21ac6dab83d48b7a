"""A share of memory with its bounds and where they come from, from the formula to the JSON; it never computes one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from hw_specs.frozen import dataclass
from hw_specs.spec import Basis


class Bound(IntEnum):
    """Which of the three figures of :class:`Bounds` a question is asked at."""

    EXPECTED = 0
    WORST = 1
    BEST = 2


class Bounds(NamedTuple):
    """A size with every uncertain term as expected, at its worst and at its best; `worst` is the side that hurts.

    >>> Bounds(expected=8, worst=6, best=9)[Bound.WORST]
    6
    """

    expected: int
    worst: int
    best: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One named share of one GPU's memory."""

    name: str
    """Stable key, ``weights.text`` … ``free``."""
    bytes: int
    """Expected size."""
    low_bytes: int
    """Smallest plausible size; equals `bytes` for exact terms."""
    high_bytes: int
    basis: Basis
    source: str
    """Where the number or its formula comes from."""
    formula: str = ""
    """The formula with its numbers put in."""
    bounds: str = ""
    """Where low and high come from."""

    @classmethod
    def certain(
        cls, name: str, size_bytes: int, *, basis: Basis, source: str, formula: str = "", bounds: str = ""
    ) -> Term:
        """Return a term without a spread."""
        return cls(
            name=name, bytes=size_bytes, low_bytes=size_bytes, high_bytes=size_bytes, basis=basis, source=source,
            formula=formula, bounds=bounds,
        )  # fmt: skip


def nothing(name: str, why: str, source: str) -> Term:
    """A term that is exactly zero here, and why."""
    return Term.certain(name, 0, basis="exact", source=source, formula=why)


def used(terms: Iterable[Term]) -> Bounds:
    """What `terms` take together: more is worse."""
    expected = worst = best = 0
    for term in terms:
        expected += term.bytes
        worst += term.high_bytes
        best += term.low_bytes
    return Bounds(expected, worst, best)


def left(room_bytes: int, terms: Iterable[Term]) -> Bounds:
    """What `terms` leave of `room_bytes`; negative where they do not fit."""
    expected, worst, best = used(terms)
    return Bounds(room_bytes - expected, room_bytes - worst, room_bytes - best)
