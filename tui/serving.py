"""What the Verify step shows of a running server, as a value: news in, the next state out. It asks no server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hw_specs import M35Error
from planner import Plan
from planner.calibrate import calibration_of
from planner.memory.rank import Calibration
from planner.serve import CheckResult, Expectations, Run, SmokeReport, StartReport
from planner.serve.verification.chat import Turn
from planner.serve.verification.window import Remark, Sample, Window, read_look, remarks
from planner.speed.answer import SpeedForecast
from planner.speed.workload import Workload
from tui import news

KEPT_S = 3600.0
"""How much of the past is kept; how much of it is shown is the user's choice."""
SPAN_S = 600
KEPT_FORECASTS = 16
"""The load of a server that is watched for long changes thousands of times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One running server: its checks, its figures and the talk with it."""

    run: Run | None = None
    plan: Plan | None = None
    expected: Expectations | None = None
    model: str = ""
    """The name it is served under."""
    results: tuple[CheckResult, ...] = ()
    checking: str = ""
    """The check under way; empty when none is."""
    report: SmokeReport | None = None
    start_report: StartReport | None = None
    window: Window = field(default_factory=lambda: Window(span_s=KEPT_S))
    """Every look at the server that is kept."""
    span_s: int = SPAN_S
    """How much of it is shown."""
    forecasts: tuple[tuple[Workload, SpeedForecast | M35Error], ...] = ()
    """What was forecast for the loads that were seen last."""
    trouble: str = ""
    """Why the server cannot be reached."""
    turns: tuple[Turn, ...] = ()
    answer: str = ""
    """Of the chat, as far as it has come."""
    talking: bool = False
    view: str = "checks"
    """Which part of it is shown."""
    forecasting: bool = False
    """Whether a forecast is being made."""

    @property
    def shown(self) -> Window:
        """The part of the past that is shown."""
        return self.window.last(self.span_s)

    @property
    def sample(self) -> Sample | None:
        """The newest look with percentiles over what is shown; None before the first."""
        return self.shown.sample()

    @property
    def load(self) -> Workload | None:
        """What the server is asked, as far as that is known."""
        return self.shown.load()

    @property
    def forecast(self) -> SpeedForecast | None:
        """The forecast for the load that is there."""
        found = dict(self.forecasts).get(self.load) if self.load is not None else None
        return found if isinstance(found, SpeedForecast) else None

    @property
    def to_forecast(self) -> tuple[Plan, Workload] | None:
        """The plan and the load that is there, where that was not forecast yet; one forecast is made at a time."""
        plan, load = self.plan, self.load
        known = load is None or load in dict(self.forecasts)
        return None if plan is None or load is None or known or self.forecasting else (plan, load)

    @property
    def to_keep(self) -> Calibration | M35Error | None:
        """What the start measured for later plans, or why it cannot be kept; None where there is nothing measured."""
        if self.plan is None or self.start_report is None or self.run is None:
            return None
        try:
            return calibration_of(self.plan, self.start_report.measured, run=self.run.id)
        except M35Error as refusal:
            return refusal

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is not as planned."""
        sample = self.sample
        return () if sample is None else remarks(sample, plan=self.plan, forecast=self.forecast)


def take(serving: Serving, heard: news.News) -> Serving:
    """Return the state after one piece of news; news of another step changes nothing."""
    match heard:
        case news.RunKnown(run=run, plan=plan, expected=expected, model=model, start_report=start_report):
            return replace(serving, run=run, plan=plan, expected=expected, model=model, start_report=start_report)
        case news.VerifyBegun():
            return replace(serving, results=(), report=None, checking="…")
        case news.SmokeStarted(name=name):
            return replace(serving, checking=name)
        case news.SmokeDone(result=result):
            return replace(serving, results=(*serving.results, result), checking="…")
        case news.Verified(report=report):
            return replace(serving, checking="", report=report, model=report.model or serving.model)
        case news.StartReported(start_report=start_report):
            return replace(serving, start_report=start_report)
        case news.MetricsRead():
            return _looked(serving, heard)
        case news.Forecasted(workload=workload, forecast=forecast):
            forecasts = (*serving.forecasts, (workload, forecast))[-KEPT_FORECASTS:]
            return replace(serving, forecasts=forecasts, forecasting=False)
        case news.ForecastBegun():
            return replace(serving, forecasting=True)
        case news.ViewChosen(view=view):
            return replace(serving, view=view)
        case news.WindowChosen(span_s=span_s):
            return replace(serving, span_s=span_s)
        case news.Asked(text=text):
            turns = (*serving.turns, Turn(role="user", content=text))
            return replace(serving, turns=turns, answer="", talking=True)
        case news.Said(text=text, over=over):
            answer = serving.answer + text
            if not over:
                return replace(serving, answer=answer)
            turns = (*serving.turns, Turn(role="assistant", content=answer))
            return replace(serving, turns=turns, answer="", talking=False)
        case news.Stopped():
            return replace(serving, trouble="the server was stopped")
        case news.Refused(error=error):
            return replace(serving, checking="", trouble=str(error))
        case _:
            return serving


def _looked(serving: Serving, look: news.MetricsRead) -> Serving:
    if isinstance(look.page, M35Error):
        return replace(serving, trouble=str(look.page) if look.alive else "the server has ended")
    look_ = read_look(look.page, at_s=look.at_s, gpus=look.gpus)
    return replace(serving, trouble="", window=serving.window.add(look_))
