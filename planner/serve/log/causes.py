"""The known causes of failure: what names each, and how to fix it, from ``planner/facts/failures``; it reads no log."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import get_args

from planner.errors import BadFacts
from planner.facts.log_lines import Cause, Weight, failures

AREAS = (
    "collectives", "memory", "settings", "checkpoint", "kernels", "devices", "build", "containers", "kubernetes",
    "cluster", "host", "deaths",
)  # fmt: skip
"""The files of ``planner/facts/failures``, in the order in which their patterns are tried on a line."""

WEIGHTS: tuple[Weight, ...] = get_args(Weight)
"""The same, the most telling first."""


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
                raise BadFacts(name, f"cause.{code}", "is in another file, too")
            found[code] = entry
    return found


def cause_of_signal(signal: int) -> str:
    """Return the key of the death that `signal` stands for, 0 for none known.

    >>> cause_of_signal(9), cause_of_signal(11), cause_of_signal(0)
    ('killed', 'segfault', 'died')
    """
    return next((code for code, cause in causes().items() if signal in cause.signals), "died")


def signal_of(exit_code: int) -> int:
    """Return the signal in an exit code as Python (negative) or a shell (above 128) gives it; 0 without one.

    >>> signal_of(-9), signal_of(137), signal_of(1)
    (9, 9, 0)
    """
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if 128 < exit_code < 160 else 0
