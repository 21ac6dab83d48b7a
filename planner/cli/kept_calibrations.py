"""What was measured on this machine, for commands that plan; it costs nothing where nothing was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.errors import PlannerError
from planner.state import calibrations_path

if TYPE_CHECKING:
    from planner.memory.rank import Calibration


def known_calibrations() -> tuple[Calibration, ...]:
    """Return the kept calibrations, without importing anything when there are none; warn of those left out."""
    try:
        if not calibrations_path().stat().st_size:
            return ()
    except (OSError, PlannerError):
        return ()
    from planner.calibrate import read_calibrations
    from planner.cli.diagnostics import say

    kept, faults = read_calibrations()
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        say("warning", f"a kept measurement is left out: {faults[0]}{more}; remove it from {calibrations_path()}")
    return kept
