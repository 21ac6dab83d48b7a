"""What the steps share that forecast the plan they show under the load; the forecasts are made in threads."""

from __future__ import annotations

from collections.abc import Sequence

from textual import work
from textual.timer import Timer
from textual.worker import get_current_worker

from hw_specs import M35Error
from planner import Plan, SpeedForecast, Workload
from planner.planning.choose_by_speed import cost_of
from planner.rendering.headline import misses
from planner.settings import Settings
from tui import news
from tui.backend import Backend
from tui.forecasting import targets_for, workload_for
from tui.screens.step import StepScreen
from tui.widgets.plan_panel import PlanPanel
from tui.widgets.speed_lines import SpeedShown
from tui.wizard import Answers, effective_load

CALM_S = 0.2
"""A forecast begins when nothing was typed for so long."""


class SpeedStep(StepScreen):
    """A step whose plan has a speed as soon as a load is given."""

    def __init__(self, answers: Answers, *, backend: Backend) -> None:
        super().__init__(answers, backend=backend)
        self.speeds: dict[tuple[Settings, Workload], SpeedForecast | M35Error] = {}
        """What was forecast so far."""
        self._calm: Timer | None = None

    def workload(self) -> Workload | None:
        """The load; None where none is given.

        Raises:
            M35Error: for a number out of range.
        """
        if not self.answers.load or self.answers.request is None:
            return None
        return workload_for(*effective_load(self.answers))

    def show_answer(self, answer: Plan | M35Error | None) -> None:
        """Draw a plan, and its speed once that is known."""
        super().show_answer(answer)
        self._show_speed()
        if self._calm is not None:
            self._calm.stop()
        self._calm = self.set_timer(CALM_S, self._begin)

    def speed_of(self, plan: Plan) -> SpeedForecast | M35Error | None:
        """The forecast for a plan under the load; None while there is none."""
        try:
            workload = self.workload()
        except M35Error as refusal:
            return refusal
        return None if workload is None else self.speeds.get((plan.settings, workload))

    def misses_of(self, speed: SpeedForecast) -> tuple[str, ...]:
        """The targets that a forecast does not meet."""
        return misses(speed, targets_for(effective_load(self.answers)[0]))

    def to_forecast(self) -> Sequence[Plan]:
        """The plans whose speed is wanted, the one that is shown first."""
        return (self.feasible_plan,) if self.feasible_plan is not None else ()

    def hear(self, heard: news.News) -> None:
        """Keep a forecast and draw it."""
        if isinstance(heard, news.Forecasted):
            self.speeds[heard.plan.settings, heard.workload] = heard.forecast
            self._show_speed()

    def _show_speed(self) -> None:
        panel, plan = self.query_one(PlanPanel), self.feasible_plan
        try:
            workload = self.workload()
        except M35Error:
            workload = None
        if plan is None or workload is None:
            panel.speed = None
            return
        found = self.speeds.get((plan.settings, workload))
        if isinstance(found, M35Error):
            panel.speed = SpeedShown(workload=workload, trouble=str(found))
        elif found is None:
            panel.speed = SpeedShown(workload=workload)
        else:
            price = dict(self.answers.load).get("price_per_gpu_hour")
            panel.speed = SpeedShown(
                workload=workload, forecast=found, misses=self.misses_of(found), cost=cost_of(found, plan, price)
            )

    def _begin(self) -> None:
        try:
            workload = self.workload()
        except M35Error:
            return
        if workload is None:
            return
        wanted = [plan for plan in self.to_forecast() if (plan.settings, workload) not in self.speeds]
        if wanted:
            self._forecast(wanted, workload)
        else:
            self.forecasts_done()

    @work(thread=True, exclusive=True, group="speed")
    def _forecast(self, plans: Sequence[Plan], workload: Workload) -> None:
        worker = get_current_worker()
        for plan in plans:
            if worker.is_cancelled:
                return
            try:
                found: SpeedForecast | M35Error = self.backend.speed(plan, workload)
            except M35Error as refusal:
                found = refusal
            self.tell(news.Forecasted(plan, workload, found))
        if not worker.is_cancelled:
            self.app.call_from_thread(self.forecasts_done)

    def forecasts_done(self) -> None:
        """Everything that was wanted is forecast."""
