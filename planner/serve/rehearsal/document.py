"""A rehearsal's report as a JSON document. It prints nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.rendering.envelope import document, entry
from planner.serve.rehearsal.full_size_plan import Change
from planner.serve.start_report import Compared, Failure
from planner.serve.verification.smoke import VerificationDocument

if TYPE_CHECKING:
    from planner.serve.rehearsal.rehearse import RehearsalReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedEngine:
    """What was rehearsed on."""

    executable: str
    version: str | None
    cpu: bool


@document("rehearsal", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalDocument:
    """How a rehearsal went."""

    passed: bool
    engine: RehearsedEngine
    argv: tuple[str, ...]
    env: dict[str, str]
    changes: tuple[Change, ...]
    unproved: tuple[str, ...]
    """What it says nothing about."""
    run_directory: str
    full_size: bool
    twin_bytes: int
    start_s: float | None
    """Seconds to readiness; null when it never came up."""
    duration_s: float
    timed_out: bool
    smoke: VerificationDocument | None
    comparison: Compared | None
    failure: Failure | None

    @classmethod
    def of(cls, report: RehearsalReport) -> RehearsalDocument:
        """Return `report` as it is written."""
        return entry(
            cls,
            report,
            engine=entry(RehearsedEngine, report.engine, executable=str(report.engine.executable)),
            run_directory=str(report.run_directory),
            smoke=None if report.smoke is None else VerificationDocument.of(report.smoke),
            comparison=None if report.comparison is None else Compared.of(report.comparison),
            failure=None if report.diagnosis is None else Failure.of(report.diagnosis),
        )
