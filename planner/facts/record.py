"""The planner's data files as records, see :mod:`hw_specs.record`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar

from hw_specs.record import Record as Record
from hw_specs.record import keys as keys
from hw_specs.record import read_value as read_value
from planner.facts import load

R = TypeVar("R")


def read(name: str, kind: type[R]) -> R:
    """Return the data file ``planner/facts/<name>`` as a record or a dataclass of `kind`.

    Raises:
        BadFacts: for a key that `kind` does not have, one that it needs and a value of another type, with file and key.
    """
    found: R = read_value(load(name), kind, name)
    return found


def door(name: str, kind: type[R]) -> Callable[[], R]:
    """Return the function that reads a data file when it is asked first, and returns what it says; see :func:`read`."""
    return cache(partial(read, name, kind))
