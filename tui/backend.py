"""What the screens may ask of the engine room; every call is a plain function, so that tests can stand in for one.

It imports nothing heavy: a function loads what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner import Plan, PlannerError, PlanRequest

if TYPE_CHECKING:
    from hw_specs import DetectionReport


def _detect() -> DetectionReport:
    from hw_specs import detect_gpus

    return detect_gpus()


def _plan(request: PlanRequest) -> Plan:
    from planner import plan

    return plan(request)


def _save(path: Path, text: str) -> Path:
    from planner.store import write_atomic

    home = path.expanduser().absolute()
    try:
        write_atomic(home, text if text.endswith("\n") else text + "\n")
    except OSError as error:
        raise PlannerError(
            f"cannot write `{home}`: {(error.strerror or str(error)).lower()}", hint="name a folder that exists"
        ) from error
    return home


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The doors to the planner and to this machine."""

    detect: Callable[[], DetectionReport] = _detect
    """Look for GPUs; may take seconds, called in a thread."""
    plan: Callable[[PlanRequest], Plan] = _plan
    """Answer a question; milliseconds."""
    save: Callable[[Path, str], Path] = _save
    """Write a text to a file and return where it is."""
    detect_every_s: float | None = 3.0
    """How often the GPUs are looked at while their step is open; None is once."""
