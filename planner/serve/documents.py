"""What `check`, `launch`, `runs`, `stop` and `bench` print as JSON; other documents stand beside what they tell of.

Each is a tree of plain dataclasses with the head that every document has. It decides and prints nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.rendering.envelope import document
from planner.serve.bench import BenchResult
from planner.serve.check import CheckResult, Status, count
from planner.serve.process.run import RunState, StopReport
from planner.serve.process.start_order import StartOrder, Target
from planner.speed.answer import SpeedForecast
from planner.speed.workload import Workload


@document("check", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDocument:
    """Would the start succeed on this machine?"""

    ok: bool = field(init=False, default=False)
    """Whether nothing failed."""
    counts: dict[Status, int] = field(init=False, default_factory=dict)
    checks: tuple[CheckResult, ...]

    def __post_init__(self) -> None:
        counts = count(self.checks)
        object.__setattr__(self, "ok", not counts["fail"])
        object.__setattr__(self, "counts", counts)


@document("start", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrderDocument:
    """What would be started."""

    argv: tuple[str, ...]
    env: dict[str, str]
    """Variables that are added to those of the caller."""
    url: str
    """Where this machine would reach it."""

    @classmethod
    def of(cls, order: StartOrder) -> StartOrderDocument:
        """Return `order` as it is shown."""
        return cls(argv=order.argv, env=dict(order.env), url=order.endpoint.url)


@document("launch", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchedDocument:
    """A run that was started and left to itself."""

    run: str
    directory: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """One run of this machine."""

    id: str
    state: RunState
    serving: str
    """``ready``, ``starting`` or ``silent`` while it runs; empty otherwise."""
    exit_code: int | None
    url: str
    target: Target
    created_at_s: float
    model: str
    directory: str
    note: str


@document("runs", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class RunsDocument:
    """Every run of this machine, newest first."""

    runs: tuple[ListedRun, ...]


@document("stop", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedDocument:
    """What was stopped."""

    stopped: tuple[StopReport, ...]


@document("bench", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkDocument:
    """A measured server, and the forecast where a plan was given."""

    workload: Workload
    measured: BenchResult
    forecast: SpeedForecast | None


@document("bench-commands", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCommandsDocument:
    """The commands that would measure a server."""

    commands: tuple[tuple[str, ...], ...]
