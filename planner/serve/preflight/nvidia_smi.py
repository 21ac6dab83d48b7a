"""Reads what ``nvidia-smi -q`` prints: sections by indentation, one tree for each GPU. It judges nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

_GPU = re.compile(r"GPU [0-9A-Fa-f]{8}:")


def gpus_of(text: str) -> tuple[Mapping[str, str], ...]:
    """Return the values of each GPU by the names of their sections, joined with slashes.

    >>> gpus_of("GPU 00000000:3B:00.0\\n    MIG Mode\\n        Current       : Disabled\\n")
    ({'MIG Mode/Current': 'Disabled'},)
    """
    found: list[dict[str, str]] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if _GPU.match(line):
            found.append({})
            above = []
        elif found and line.strip():
            depth = len(line) - len(line.lstrip())
            name, colon, value = (part.strip() for part in line.partition(" : "))
            above = [one for one in above if one[0] < depth]
            if colon:
                found[-1].setdefault("/".join([*(one for _, one in above), name]), value)
            above.append((depth, name))
    return tuple(found)
