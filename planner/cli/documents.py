"""The JSON documents that only the command line writes.

Each has the head of :mod:`planner.rendering.envelope`. Documents of servers stand in :mod:`planner.serve`, the plan's
in :mod:`planner.rendering.document`, a review's in :mod:`planner.review.document`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hw_specs.spec import GpuSpec
from planner.accuracy.evaluate import Group
from planner.cli.output import write_list
from planner.memory.rank import Calibration
from planner.rendering.envelope import document, documents, head
from planner.serve.log.comparison import Comparison
from planner.settings import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal of accuracy, and whether it is reached."""

    goal: str
    wanted: str
    reached: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupFigure:
    """One component of one start-up, predicted and measured."""

    startup: str
    component: str
    predicted_gib: float
    low_gib: float
    high_gib: float
    measured_gib: float
    source: str


@document("accuracy", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyDocument:
    """The planner against published start-ups."""

    goals: tuple[Goal, ...]
    groups: tuple[Group, ...]
    own: tuple[Group, ...]
    """Start-ups of this project's own measurements."""
    public: tuple[Group, ...]
    """Public start-ups of other models, cards and releases."""
    comparisons: tuple[StartupFigure, ...]


@document("calibration", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationDocument:
    """What one start measured, and whether it was kept."""

    kept: bool
    calibration: Calibration
    comparison: Comparison


@document("calibrations", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationsDocument:
    """Everything that is kept on this machine."""

    calibrations: tuple[Calibration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """One host; `plan` is the document of ``m35-plan --json``."""

    host: str
    path: str
    gpus: str | None
    feasible: bool
    out_of_service: str | None
    no_gpu: bool
    notes: tuple[str, ...]
    plan: dict[str, Any] | None
    problem: str | None = None
    """Why there is no plan."""
    hint: str | None = None


@document("fleet", "1.1")
@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDocument:
    """A plan for each host."""

    hosts: tuple[HostPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """What one host can serve, and its part of the load."""

    host: str
    gpus: str | None
    layout: Layout | None
    """What could run there; null where the load cannot be served."""
    capacity_requests_per_s: float
    assigned_requests_per_s: float
    reason: str
    """Why it cannot serve; empty where it can."""


@document("fleet-load", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLoadDocument:
    """How a load is distributed over hosts."""

    request_rate: float
    """Requests per second, as requested."""
    assigned_requests_per_s: float
    served: bool
    """Whether the hosts serve all of it."""
    hosts: tuple[HostLoad, ...]


@document("gpus", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class GpusDocument:
    """The catalogue."""

    gpus: tuple[GpuSpec, ...]


@document("sweep", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDocument:
    """Configurations with their verdicts."""

    vllm_version: str
    rows: tuple[dict[str, Any], ...]
    """One a configuration; its keys are the columns of ``--csv``."""


document("gpu", "1.0")(GpuSpec)


def write_list_document(kind: str, body: Mapping[str, object], name: str, items: Iterable[str]) -> None:
    """Write one document under its head whose last key is a long list, item by item."""
    _, version = head(documents()[kind])
    write_list({"kind": kind, "schema_version": version, **body}, name, items)
