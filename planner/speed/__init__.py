"""How fast a plan would be: a step-time model, a scheduler on top of it, and figures with bounds.

Nothing here chooses a setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw_specs.lazy import lazy

if TYPE_CHECKING:
    from planner.speed.answer import Estimate as Estimate
    from planner.speed.answer import SpeedCalibration as SpeedCalibration
    from planner.speed.answer import SpeedForecast as SpeedForecast
    from planner.speed.predict import NoSpeedFacts as NoSpeedFacts
    from planner.speed.predict import forecast as forecast
    from planner.speed.workload import Workload as Workload

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "answer": "Estimate SpeedCalibration SpeedForecast",
        "predict": "NoSpeedFacts forecast",
        "workload": "Workload",
    },
)
