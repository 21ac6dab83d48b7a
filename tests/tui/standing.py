"""Where the wizard stands and what it says."""

from __future__ import annotations

from planner import Plan
from tui.app import M35App
from tui.screens.step import StepScreen


def step(app: M35App) -> StepScreen:
    assert isinstance(app.screen, StepScreen)
    return app.screen


def answer(app: M35App) -> Plan:
    found = step(app).answer
    assert isinstance(found, Plan)
    return found
