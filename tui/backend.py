"""What the screens may ask of the engine room; every call is a plain function, so that tests can stand in for one.

Importing it loads nothing heavy: a function loads what it needs when it is called. Whatever may take longer than a
frame is called from threads only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_specs.errors import reason_of
from hw_specs.reading import expanded
from planner import Lever, Plan, PlannerError, PlanRequest

if TYPE_CHECKING:
    from hw_specs import DetectionReport, GpuSet
    from hw_specs.detect.activity import GpuActivity
    from planner import SpeedForecast, Workload
    from planner.memory.rank import Calibration
    from planner.planning.context_curve import CurvePoint
    from planner.review.findings import Review
    from planner.serve import (
        CheckResult,
        Event,
        Expectations,
        Follower,
        RehearsalReport,
        Run,
        SmokeReport,
        StartOrder,
        StartReport,
    )
    from planner.serve.rehearsal.rehearse import Stage
    from planner.serve.verification.chat import Piece, Turn


def _late(module: str, name: str) -> Callable[..., Any]:
    """The function `name`, whose module is loaded when it is first called."""
    return lambda *given: getattr(import_module(module), name)(*given)


def _review(text: str, name: str, gpus: GpuSet | None) -> Review:
    from planner.review import review

    return review(text, name=name, gpus=gpus)


def _save(path: Path, text: str) -> Path:
    from planner.state import write_atomic

    home = expanded(path).absolute()
    try:
        write_atomic(home, text if text.endswith("\n") else text + "\n")
    except OSError as error:
        raise PlannerError(f"cannot write `{home}`: {reason_of(error)}", hint="name a folder that exists") from error
    return home


def _preflight(order: StartOrder, plan: Plan, on_start: Callable[[str], None]) -> Iterator[CheckResult]:
    from planner.serve import run_preflight

    return run_preflight(order, plan=plan, on_start=on_start)


def _launch(order: StartOrder, plan: Plan) -> Run:
    from planner.serve import launch

    return launch(order, plan=plan)


def _follow(run: Run) -> Follower:
    from planner.serve import Follower

    return Follower(run, until="end")


def _rehearse(
    plan: Plan,
    directory: Path,
    on_stage: Callable[[Stage], None],
    on_events: Callable[[tuple[Event, ...]], None],
    on_result: Callable[[CheckResult], None],
) -> RehearsalReport:
    from planner.serve import rehearse

    return rehearse(plan, run_dir=directory, on_stage=on_stage, on_events=on_events, on_result=on_result)


def _verify(
    url: str,
    expectations: Expectations | None,
    on_start: Callable[[str], None],
    on_result: Callable[[CheckResult], None],
) -> SmokeReport:
    from planner.serve import verify

    return verify(url, expectations, on_start=on_start, on_result=on_result)


class _Activity:
    """The GPUs of this machine, through libraries that are opened when they are asked first."""

    def __init__(self) -> None:
        self._read: Callable[[], tuple[GpuActivity, ...]] | None = None

    def __call__(self) -> tuple[GpuActivity, ...]:
        if self._read is None:
            from hw_specs.detect.activity import ActivityReader

            self._read = ActivityReader().read
        return self._read()


def _chat(url: str, model: str, turns: Sequence[Turn]) -> Iterator[Piece]:
    from planner.serve.verification.chat import chat

    return chat(url, model=model, turns=turns)


def _expected(run: Run) -> tuple[Mapping[str, float], int]:
    from planner.serve.process.history import earlier_starts

    return earlier_starts(run.record.history_key)


def _running() -> list[Run]:
    from planner.serve import list_runs

    return [run for run in list_runs() if run.status().alive]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The doors to the planner and to this machine."""

    detect: Callable[[], DetectionReport] = _late("hw_specs", "detect_gpus")
    """Look for GPUs; may take seconds."""
    plan: Callable[[PlanRequest], Plan] = _late("planner", "plan")
    """Answer a question; milliseconds, so it is called at once."""
    levers: Callable[[PlanRequest], tuple[Lever, ...]] = _late("planner.planning.choose", "all_levers")
    """Every single change that helps; milliseconds."""
    curve: Callable[[Plan], tuple[CurvePoint, ...]] = _late("planner.planning.context_curve", "context_curve")
    """Context against concurrency; milliseconds."""
    speed: Callable[[Plan, Workload], SpeedForecast] = _late("tui.forecasting", "speed_of")
    """Forecast for a load; a second or so."""
    best: Callable[[PlanRequest, Mapping[str, Any], int | None], Plan] = _late("tui.forecasting", "best_for")
    """The way to use the GPUs that serves a load best; several seconds."""
    review: Callable[[str, str, GpuSet | None], Review] = _review
    """Judge a text that describes servers, with its file's name and the GPUs where it does not say them."""
    save: Callable[[Path, str], Path] = _save
    """Write a text to a file and return where it is."""
    preflight: Callable[[StartOrder, Plan, Callable[[str], None]], Iterator[CheckResult]] = _preflight
    """Check this machine; what is checked is announced first."""
    launch: Callable[[StartOrder, Plan], Run] = _launch
    follow: Callable[[Run], Follower] = _follow
    attach: Callable[[str], Run] = _late("planner.serve", "attach")
    """Find a run by its id."""
    report_start: Callable[[Run, Event | None], StartReport] = _late("planner.serve", "report_start")
    """How a start ended, its last event given."""
    plan_of: Callable[[Run], Plan | None] = _late("planner.serve.start_report", "plan_of")
    """The plan that a run was started from, made again; None without one."""
    expected: Callable[[Run], tuple[Mapping[str, float], int]] = _expected
    """Median seconds per phase of earlier starts like it, and how many there were."""
    stop: Callable[[Run], str] = lambda run: run.stop().how
    """End a server and everything it started; how it ended."""
    running: Callable[[], list[Run]] = _running
    """Runs of this machine that are alive."""
    damaged: Callable[[], tuple[str, ...]] = _late("tui.damage", "damaged_records")
    """What of this machine's records is left out because it is damaged, one sentence each."""
    damage_of: Callable[[Run], tuple[str, ...]] = _late("tui.damage", "damage_of")
    """The same of one run's own records."""
    rehearse: Callable[
        [
            Plan,
            Path,
            Callable[[Stage], None],
            Callable[[tuple[Event, ...]], None],
            Callable[[CheckResult], None],
        ],
        RehearsalReport,
    ] = _rehearse
    verify: Callable[[str, Expectations | None, Callable[[str], None], Callable[[CheckResult], None]], SmokeReport] = (
        _verify
    )
    metrics: Callable[[str], str] = _late("planner.serve.process.health", "read_metrics")
    activity: Callable[[], tuple[GpuActivity, ...]] = field(default_factory=_Activity)
    """What the GPUs of this machine do; none where no driver is."""
    chat: Callable[[str, str, Sequence[Turn]], Iterator[Piece]] = _chat
    calibrations: Callable[[], tuple[Calibration, ...]] = _late("planner.calibrate", "calibrations")
    """What starts on this machine measured."""
    keep: Callable[[Calibration], None] = _late("planner.calibrate", "keep")
    now: Callable[[], float] = time.time
    readonly: bool = False
    """Whether nothing may be started, stopped, asked of a model or written."""
    program: str | None = None
    """The vllm program; None is the one on PATH."""
    detect_every_s: float | None = 3.0
    """How often the GPUs are looked at; None is once."""
    look_every_s: float | None = 2.0
    """How often a running server's figures are read; None is once."""
    poll_s: float = 0.2
    """How often a server is looked at."""
