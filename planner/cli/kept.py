"""What is kept: measurements of this machine, plans of runs and in files; nothing is imported where there is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from planner.errors import PlannerError
from planner.home import calibrations_file

if TYPE_CHECKING:
    from pathlib import Path

    from planner.memory.rank import Calibration
    from planner.planning.answer import Plan
    from planner.rendering.document import PlanDocument
    from planner.serve.process.run import Run
    from planner.speed.answer import SpeedCalibration


def known_calibrations() -> tuple[Calibration, ...]:
    """Return the kept calibrations, without importing anything when there are none; warn of those left out."""
    if not _holds_anything(calibrations_file):
        return ()
    from planner.calibrate import read_calibrations

    kept, faults = read_calibrations()
    tell_of_damage(faults, calibrations_file(), "a kept measurement")
    return kept


def known_benchmarks() -> tuple[SpeedCalibration, ...]:
    """Return the kept benchmarks; warn of those left out."""
    from planner.serve.bench import benchmarks_path, kept_benchmarks

    if not _holds_anything(benchmarks_path):
        return ()
    kept, faults = kept_benchmarks()
    tell_of_damage(faults, benchmarks_path(), "a kept measurement")
    return kept


def plan_behind(run: Run) -> Plan | None:
    """Return the plan that `run` was started from, None without one; warn of one that cannot be used."""
    from planner.cli.diagnostics import say
    from planner.serve.start_report import plan_of

    faults: list[str] = []
    plan = plan_of(run, dropped=faults)
    for fault in faults:
        say("warning", f"{fault}; nothing is compared with it")
    return plan


def plan_in(path: Path) -> PlanDocument:
    """Return the document in the file at `path`.

    Raises:
        PlannerError: naming the file, when it cannot be read or holds no plan.
    """
    from hw_specs.reading import read_bytes
    from planner.errors import UnreadableDocument
    from planner.rendering.document import read_document

    try:
        return read_document(read_bytes(path))
    except UnreadableDocument as error:
        raise PlannerError(f"`{path}` is {error}", hint=error.hint) from error


def _holds_anything(path: Callable[[], Path | str]) -> bool:
    """Whether something stands there: an empty file holds nothing, and whatever else has the name is told."""
    try:
        found = os.lstat(path())
    except FileNotFoundError:
        return False
    except (OSError, PlannerError):
        # A folder that cannot be looked into, or none at all: nothing was ever kept there for this user.
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_size > 0


def tell_of_damage(faults: Sequence[str], path: Path | str, what: str = "a record") -> None:
    """Warn that records of the file at `path` are left out."""
    if not faults:
        return
    from planner.cli.diagnostics import say

    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    say("warning", f"{what} is left out: {faults[0]}{more}; remove it from {path}")
