"""How fast a plan would be: a step-time model, a scheduler on top of it, and figures with bounds.

Nothing here chooses a setting.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.speed.answer import Estimate as Estimate
    from planner.speed.answer import SpeedCalibration as SpeedCalibration
    from planner.speed.answer import SpeedForecast as SpeedForecast
    from planner.speed.predict import NoSpeedFacts as NoSpeedFacts
    from planner.speed.predict import forecast as forecast
    from planner.speed.workload import Workload as Workload

_HOMES = {
    "Estimate": "planner.speed.answer",
    "NoSpeedFacts": "planner.speed.predict",
    "SpeedCalibration": "planner.speed.answer",
    "SpeedForecast": "planner.speed.answer",
    "forecast": "planner.speed.predict",
    "Workload": "planner.speed.workload",
}

__all__ = ["Estimate", "NoSpeedFacts", "SpeedCalibration", "SpeedForecast", "Workload", "forecast"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    return value
