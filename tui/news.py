"""What workers tell screens: frozen values, and nothing that can be drawn; `tui.screens.step.Told` carries them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from planner.serve.process.progress import StartProgress

if TYPE_CHECKING:
    from hw_specs import DetectionReport, M35Error
    from hw_specs.detect.activity import GpuActivity
    from planner import Plan, SpeedForecast, Workload
    from planner.review.findings import Review
    from planner.serve import Event, Expectations, RehearsalReport, Run, SmokeReport, StartOrder, StartReport
    from planner.serve.check import CheckResult
    from tui.cures import Cure


class News:
    """What all of them are."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GpusSeen(News):
    """A probe has looked at this machine."""

    report: DetectionReport


@dataclass(frozen=True, slots=True)
class Forecasted(News):
    """How fast a layout would be under the load, or why it is not known."""

    plan: Plan
    workload: Workload
    forecast: SpeedForecast | M35Error


@dataclass(frozen=True, slots=True)
class CountsPlanned(News):
    """What more or fewer of the same GPUs would hold."""

    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class Advised(News):
    """The way to use the GPUs that serves the load best, or why there is none."""

    best: Plan | M35Error


@dataclass(frozen=True, slots=True)
class Reviewed(News):
    """A text was judged; `cured` is how many findings a change of it has just taken away, -1 where it took none."""

    review: Review
    cured: int = 0


@dataclass(frozen=True, slots=True)
class CheckingBegun(News):
    """The preflight starts anew, for this machine's vllm or for its image."""

    docker: bool
    order: StartOrder | None = None
    """What would be started."""


@dataclass(frozen=True, slots=True)
class CheckStarted(News):
    """A preflight check begins."""

    title: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Checked(News):
    """One preflight check is done."""

    result: CheckResult


@dataclass(frozen=True, slots=True)
class PreflightDone(News):
    """All preflight checks are done."""


@dataclass(frozen=True, slots=True)
class Refused(News):
    """Something expected went wrong in a worker."""

    error: M35Error
    doing: str


@dataclass(frozen=True, slots=True)
class Launched(News):
    """A server was started, or found."""

    run: Run
    progress: StartProgress = field(default_factory=StartProgress)
    """Without events yet; what earlier starts let expect."""


@dataclass(frozen=True, slots=True)
class DamageFound(News):
    """Records of a run were left out, one sentence each."""

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerNews(News):
    """A batch of events and of log bytes, `at_s` seconds after the launch."""

    events: tuple[Event, ...]
    log: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class RunKnown(News):
    """A run with its plan, what is expected of its server and how its start ended."""

    run: Run
    plan: Plan | None
    expected: Expectations | None
    model: str
    """The name it is served under."""
    start_report: StartReport


@dataclass(frozen=True, slots=True)
class StartReported(News):
    """How a start ended."""

    start_report: StartReport


@dataclass(frozen=True, slots=True)
class CuresFound(News):
    """What can be tried after a failed start."""

    cures: tuple[Cure, ...]


@dataclass(frozen=True, slots=True)
class Stopped(News):
    """The server was stopped."""

    how: str


@dataclass(frozen=True, slots=True)
class RehearsalBegun(News):
    """A rehearsal starts."""


@dataclass(frozen=True, slots=True)
class RehearsalStage(News):
    """A rehearsal entered a stage."""

    stage: str


@dataclass(frozen=True, slots=True)
class Rehearsed(News):
    """A rehearsal is over."""

    report: RehearsalReport


@dataclass(frozen=True, slots=True)
class VerifyBegun(News):
    """The checks of the running server start anew."""


@dataclass(frozen=True, slots=True)
class SmokeStarted(News):
    """A check of the running server began."""

    name: str


@dataclass(frozen=True, slots=True)
class SmokeDone(News):
    """A check of the running server ended."""

    result: CheckResult


@dataclass(frozen=True, slots=True)
class Verified(News):
    """The checks of the running server are over."""

    report: SmokeReport


@dataclass(frozen=True, slots=True)
class MetricsRead(News):
    """A look at ``/metrics``: the page, or why there is none."""

    page: str | M35Error
    at_s: float
    alive: bool
    gpus: tuple[GpuActivity, ...] = ()
    """What the GPUs of this machine do."""


@dataclass(frozen=True, slots=True)
class ForecastBegun(News):
    """The load that is there is being forecast."""


@dataclass(frozen=True, slots=True)
class ViewChosen(News):
    """Another view of the server is shown."""

    view: str


@dataclass(frozen=True, slots=True)
class WindowChosen(News):
    """The dashboard is to show so much of the past."""

    span_s: int


@dataclass(frozen=True, slots=True)
class Asked(News):
    """The user sent a chat message."""

    text: str


@dataclass(frozen=True, slots=True)
class Said(News):
    """A part of a chat answer; `over` with the last one."""

    text: str
    over: bool = False
