"""What workers tell screens: frozen values in messages, and nothing that can be drawn."""

from __future__ import annotations

from textual.message import Message

from hw_specs import DetectionReport, M35Error
from planner import Plan
from planner.serve import CheckResult as SmokeResult
from planner.serve import Conclusion, Event, RehearsalReport, Run, SmokeReport
from planner.serve.preflight import CheckResult
from planner.speed import SpeedForecast


class GpusSeen(Message):
    """A probe has looked at this machine."""

    def __init__(self, report: DetectionReport) -> None:
        self.report = report
        super().__init__()


class SpeedSeen(Message):
    """A forecast for so many requests at once, or why there is none."""

    def __init__(self, concurrency: int, forecast: SpeedForecast | M35Error) -> None:
        self.concurrency = concurrency
        self.forecast = forecast
        super().__init__()


class Checked(Message):
    """One preflight check is done."""

    def __init__(self, result: CheckResult) -> None:
        self.result = result
        super().__init__()


class PreflightDone(Message):
    """All preflight checks are done."""


class Refused(Message):
    """Something expected went wrong in a worker."""

    def __init__(self, error: M35Error, *, doing: str) -> None:
        self.error = error
        self.doing = doing
        super().__init__()


class Launched(Message):
    """A server was started, or found."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__()


class ServerNews(Message):
    """A batch of events and of log bytes, `at_s` seconds after the launch."""

    def __init__(self, events: tuple[Event, ...], log: bytes, *, at_s: float) -> None:
        self.events = events
        self.log = log
        self.at_s = at_s
        super().__init__()


class RunKnown(Message):
    """A run with its plan and what its start came to."""

    def __init__(self, run: Run, plan: Plan | None, conclusion: Conclusion) -> None:
        self.run = run
        self.plan = plan
        self.conclusion = conclusion
        super().__init__()


class Concluded(Message):
    """What a start came to."""

    def __init__(self, conclusion: Conclusion) -> None:
        self.conclusion = conclusion
        super().__init__()


class Stopped(Message):
    """The server was stopped."""

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__()


class RehearsalStage(Message):
    """A rehearsal entered a stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        super().__init__()


class Rehearsed(Message):
    """A rehearsal is over."""

    def __init__(self, report: RehearsalReport) -> None:
        self.report = report
        super().__init__()


class SmokeStarted(Message):
    """A check of the smoke test began."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()


class SmokeDone(Message):
    """A check of the smoke test ended."""

    def __init__(self, result: SmokeResult) -> None:
        self.result = result
        super().__init__()


class Verified(Message):
    """The smoke test is over."""

    def __init__(self, report: SmokeReport) -> None:
        self.report = report
        super().__init__()


class MetricsRead(Message):
    """A look at ``/metrics``: the page, or why there is none."""

    def __init__(self, page: str | M35Error, *, at_s: float, alive: bool) -> None:
        self.page = page
        self.at_s = at_s
        self.alive = alive
        super().__init__()


class Said(Message):
    """A part of a chat answer; `over` with the last one."""

    def __init__(self, text: str, *, over: bool = False) -> None:
        self.text = text
        self.over = over
        super().__init__()
