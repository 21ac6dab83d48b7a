"""What the Launch step shows, as a value: news in, the next state out. It draws nothing and starts nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from hw_specs import DetectionReport
from planner.serve import Failure, RehearsalReport, Run, StartOrder, StartReport
from planner.serve.check import CheckResult
from planner.serve.log.events import ServerEnded, ServerReady, TimedOut
from planner.serve.process.progress import StartProgress
from tui import news

if TYPE_CHECKING:
    from tui.cures import Cure

State = Literal["checking", "checked", "starting", "ready", "failed", "stopped", "rehearsing", "rehearsed"]

STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start, from the checks before it to the server or the cause of its failure."""

    state: State = "checking"
    docker: bool = False
    """Whether the image is started instead of this machine's vllm."""
    order: StartOrder | None = None
    """What is started, and what the checks are about."""
    checks: tuple[CheckResult, ...] = ()
    """Preflight, in the order in which they ended."""
    checking: str = ""
    """What is looked at now, and since when by the caller's clock."""
    checking_since_s: float = 0.0
    run: Run | None = None
    held: tuple[tuple[str, int], ...] = ()
    """Phase → bytes that the fullest GPU held when it was last looked at in that phase."""
    progress: StartProgress = field(default_factory=StartProgress)
    at_s: float = 0.0
    """Seconds after the launch."""
    stage: str = ""
    """Of a rehearsal."""
    smoke: tuple[CheckResult, ...] = ()
    """What a rehearsal checked."""
    rehearsal: RehearsalReport | None = None
    start_report: StartReport | None = None
    failure: Failure | None = None
    """Why it failed."""
    cures: tuple[Cure, ...] = ()
    """What can be tried after it."""
    ended: bool = False
    """Whether a server that was ready has ended."""

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """Checks that speak against a start."""
        return tuple(check for check in self.checks if check.status == "fail")

    @property
    def begun(self) -> bool:
        """Whether there are phases to show."""
        return self.state not in ("checking", "checked")


def take(start: Start, heard: news.News) -> Start:
    """Return the state after one piece of news; news of another step changes nothing."""
    match heard:
        case news.CheckingBegun(docker=docker, order=order):
            return Start(docker=docker, order=order)
        case news.CheckStarted(title=title, at_s=at_s):
            return replace(start, checking=title, checking_since_s=at_s)
        case news.GpusSeen(report=report):
            return _filled(start, report)
        case news.Checked(result=result):
            return replace(start, checks=(*start.checks, result))
        case news.PreflightDone():
            return replace(start, state="checked") if start.state == "checking" else start
        case news.Launched(run=run, progress=progress):
            return replace(_anew(start), state="starting", run=run, progress=progress)
        case news.ServerNews():
            return _with_events(start, heard)
        case news.StartReported(start_report=start_report):
            return _concluded(start, start_report)
        case news.CuresFound(cures=cures):
            return replace(start, cures=cures)
        case news.RehearsalBegun():
            return replace(_anew(start), state="rehearsing")
        case news.RehearsalStage(stage=stage):
            return replace(start, stage=stage)
        case news.SmokeDone(result=result):
            return replace(start, smoke=(*start.smoke, result))
        case news.Rehearsed(report=report):
            state: State = "failed" if report.failure is not None else "rehearsed"
            return replace(start, state=state, rehearsal=report, failure=report.failure)
        case news.Refused(doing=doing):
            return start if doing == "preflight" else replace(start, state="checked")
        case _:
            return start


def _anew(start: Start) -> Start:
    """What is kept of a start when another one begins: the checks before it."""
    return Start(docker=start.docker, order=start.order, checks=start.checks)


def _filled(start: Start, report: DetectionReport) -> Start:
    """Keep how full the GPUs are while a server starts."""
    used = [gpu.used_bytes for gpu in report.selection.chosen if gpu.used_bytes is not None]
    if start.state != "starting" or not used:
        return start
    return replace(start, held=tuple({**dict(start.held), start.progress.phase: max(used)}.items()))


def _with_events(start: Start, heard: news.ServerNews) -> Start:
    state, ended = start.state, start.ended
    if any(isinstance(event, ServerReady) for event in heard.events):
        state = "ready"
    elif state == "ready" and any(isinstance(event, ServerEnded | TimedOut) for event in heard.events):
        ended = True
    progress = start.progress.after(heard.events, at_s=heard.at_s)
    return replace(start, state=state, ended=ended, at_s=heard.at_s, progress=progress)


def _concluded(start: Start, start_report: StartReport) -> Start:
    start = replace(start, start_report=start_report)
    if start_report.failure is not None:
        return replace(start, state="failed", failure=start_report.failure)
    return replace(start, state="stopped") if start_report.outcome == "stopped" else start
