"""How long earlier starts on this machine took, kept for the time left of later ones. A start never fails over it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from planner.errors import PlannerError
from planner.serve.process.progress import expected_durations
from planner.state import append_records, history_path, read_records


def earlier_starts(key: str, *, dropped: list[str] | None = None) -> tuple[dict[str, float], int]:
    """Return the median seconds per phase of earlier starts with `key`, and how many they were.

    `dropped` gets a text for every record that is left out because it is damaged.
    """
    try:
        return expected_durations(read_records(history_path(), dropped=dropped), key)
    except PlannerError as error:
        if dropped is not None:
            dropped.append(str(error))
        return {}, 0


def remember_start(key: str, durations_s: Mapping[str, float], total_s: float) -> None:
    """Keep how long a start took, where that can be kept."""
    with contextlib.suppress(OSError, PlannerError):
        append_records(history_path(), [{"key": key, "phases_s": dict(durations_s), "total_s": round(total_s, 3)}])
