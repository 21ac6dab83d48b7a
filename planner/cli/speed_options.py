"""Options that describe a load and what it must reach; shared by the commands that forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from planner.cli.options import HumanInt
from planner.planning.load import LOAD, WORKLOAD
from planner.planning.setting import option_of

F = TypeVar("F", bound=Callable[..., Any])

NAMES = tuple(LOAD)
"""Parameters that these options add; any of them asks for a forecast."""


def workload_options(command: F) -> F:
    """The load: lengths, arrivals, cache hits."""
    return _decorated(command, WORKLOAD)


def target_options(command: F) -> F:
    """What the load must reach, what to prefer, what it costs."""
    return _decorated(command, tuple(name for name in NAMES if name not in WORKLOAD))


def _decorated(command: F, names: tuple[str, ...]) -> F:
    for name in reversed(names):
        setting = LOAD[name]
        kinds: dict[str, Any] = {"count": HumanInt(), "integer": int, "fraction": float}
        kind = click.Choice(setting.choices) if setting.choices else kinds[setting.kind]
        metavar = None if setting.choices else setting.metavar
        command = click.option(option_of(name, setting), type=kind, metavar=metavar, help=setting.help)(command)
    return command


def asks_for_speed(values: dict[str, Any]) -> bool:
    """Whether any option of a load or a target was given."""
    return any(values.get(name) is not None for name in NAMES)
