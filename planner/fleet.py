"""Many machines, one question: a plan for each snapshot, one row per host. It probes nothing and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_specs.errors import M35Error
from hw_specs.resolve import gpus_of
from planner.answer import Plan
from planner.choose import plan
from planner.request import PlanRequest

if TYPE_CHECKING:
    from hw_specs import DetectionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One host: a plan, or the reason why there is none."""

    host: str
    """Host name in the snapshot; the file's name where it cannot be read."""
    path: str
    plan: Plan | None = None
    problem: str | None = None
    hint: str | None = None
    unreadable: bool = False
    """Whether the file is no snapshot at all."""

    @property
    def feasible(self) -> bool:
        """Whether the model is expected to start there."""
        return self.plan is not None and self.plan.feasible


def plan_fleet(
    paths: Iterable[Path], *, settings: Mapping[str, Any], memory_override_bytes: int | None = None
) -> tuple[FleetRow, ...]:
    """Plan for every snapshot in `paths`; one bad file or host never stops the others.

    Args:
        paths: files that ``m35-plan detect --json`` wrote.
        settings: fields of :class:`PlanRequest` other than `gpus`, the same for all hosts.
        memory_override_bytes: engine-visible bytes of one GPU, on every host.
    """
    return tuple(_row(path, settings, memory_override_bytes) for path in paths)


def _row(path: Path, settings: Mapping[str, Any], memory_override_bytes: int | None) -> FleetRow:
    from hw_specs.detect.snapshot import load_report

    try:
        report = load_report(path)
    except M35Error as error:
        return FleetRow(host=path.stem, path=str(path), problem=str(error), hint=error.hint, unreadable=True)
    return _planned(report, path, settings, memory_override_bytes)


def _planned(
    report: DetectionReport, path: Path, settings: Mapping[str, Any], memory_override_bytes: int | None
) -> FleetRow:
    try:
        gpus = gpus_of(report, memory_override_bytes=memory_override_bytes)
        answer = plan(PlanRequest(gpus=gpus, **settings))
    except M35Error as error:
        return FleetRow(host=report.hostname, path=str(path), problem=str(error), hint=error.hint)
    return FleetRow(host=report.hostname, path=str(path), plan=answer)
