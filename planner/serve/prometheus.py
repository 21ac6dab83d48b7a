"""The Prometheus text format, as ``/metrics`` speaks it: one reader for all who look at a server's counters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
MOST = 1e18
"""Of anything a server or its log counts: bytes, tokens, nanoseconds of a life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of the format."""

    name: str
    labels: dict[str, str]
    value: float


def number(text: str) -> float | None:
    """Return a number of the format, which may be infinite; None for NaN, its word for "none", and for other words."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def samples(text: str) -> list[Sample]:
    """Return the samples of `text`; comments, values without end and lines that are not one are passed over."""
    found = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.match(line.strip())
        if match is None:
            continue
        value = number(match[3])
        if value is None or abs(value) > MOST:
            # Nothing that is counted is without end.
            continue
        found.append(Sample(name=match[1], labels=dict(_LABEL.findall(match[2] or "")), value=value))
    return found
