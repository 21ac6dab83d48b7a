"""From a plan to a page to share, with forecasts where they can be made; it never writes a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from planner.cli.progress import Progress
from planner.errors import PlannerError
from planner.planning.answer import Plan
from planner.rendering.sheet.content import Acceptance, sheet

if TYPE_CHECKING:
    from planner.speed.answer import SpeedForecast

LOADS = (1, 4, 16, 64, 256)
"""Requests in flight that the page forecasts."""


def sheet_text(plan: Plan, kind: str, *, acceptance: Acceptance | None = None) -> str:
    """Return `plan` as ``markdown`` or ``html``."""
    if kind == "markdown":
        from planner.rendering.sheet.markdown import markdown

        return markdown(sheet(plan, acceptance=acceptance))
    from planner.rendering.sheet.page import html

    return html(sheet(plan, speeds=_speeds(plan), acceptance=acceptance))


def _speeds(plan: Plan) -> list[tuple[int, SpeedForecast]]:
    """Forecasts of the plan's own load by requests in flight; none without facts, or without room."""
    if not plan.feasible:
        return []
    from planner.speed.predict import forecast
    from planner.speed.workload import Workload

    # The picture's axis is the number in flight: a rate or a length of run is another question.
    load = Workload() if plan.speed is None else plan.speed.forecast.workload
    load = replace(load, request_rate=None, num_requests=None)
    found = []
    with Progress("forecast", total=len(LOADS)) as progress:
        for count in LOADS:
            if count > plan.settings.max_num_seqs * plan.settings.replicas:
                break
            try:
                made = forecast(plan, replace(load, concurrency=count))
            except PlannerError:
                break
            found.append((count, made))
            progress.step()
    return found
