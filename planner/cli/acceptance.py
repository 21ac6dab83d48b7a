"""The acceptance report: a run's plan as a page, with what was measured and what the checks saw. It writes one file."""

from __future__ import annotations

import os
from pathlib import Path

from hw_specs.units import format_gib
from planner.cli.output import write_file
from planner.cli.sheet import sheet_text
from planner.errors import InvalidRequest, PlannerError
from planner.planning.answer import Plan
from planner.rendering.sheet.content import Acceptance, CheckRow
from planner.serve.log.comparison import Comparison
from planner.serve.process.run import Run
from planner.serve.start_report import plan_of, report_start
from planner.serve.verification.smoke import SmokeReport

FORMS = {".html": "html", ".md": "markdown"}
LEDGER_LINE = {
    "outside_torch": "outside_torch", "activations": "activations", "graphs": "graphs", "graphs.actual": "graphs",
    "kv_available": "kv_cache",
}  # fmt: skip
"""Component of a comparison → the ledger line beside which it stands."""


def form_of(path: Path) -> str:
    """Return ``html`` or ``markdown`` by the ending of `path`.

    Raises:
        InvalidRequest: for any other ending, and where no file can be.
    """
    if path.suffix not in FORMS:
        raise InvalidRequest(
            "report", f"an acceptance report cannot be `{path.name}`", hint="name a file that ends in .html or .md"
        )
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidRequest("report", f"no file can be written at `{path}`", hint="name one in a folder that is there")
    return FORMS[path.suffix]


def comparison_of(run: Run) -> tuple[Plan, Comparison]:
    """Return the plan of `run` and what was measured beside it.

    Raises:
        PlannerError: for a run that was started without a plan.
    """
    plan, comparison = plan_of(run), report_start(run).comparison
    if plan is None or comparison is None:
        raise PlannerError(
            f"run `{run.id}` was started without a plan, so nothing was predicted of it",
            hint="leave `--report` out, or start with `m35-plan launch --gpus ...`",
        )
    return plan, comparison


def write_acceptance(path: Path, run: Run, report: SmokeReport) -> None:
    """Write the page of `run` to `path`.

    Raises:
        PlannerError: for a run that was started without a plan.
    """
    plan, comparison = comparison_of(run)
    acceptance = Acceptance(
        run=run.id,
        measured_gib=measured_lines(plan, comparison),
        verdict=_verdict(comparison, report),
        checks=tuple(CheckRow(name=one.name, status=one.status, seen=one.seen) for one in report.checks),
    )
    write_file(path, sheet_text(plan, form_of(path), acceptance=acceptance))


def measured_lines(plan: Plan, comparison: Comparison) -> dict[str, str]:
    """Return what was measured of each line of the plan's ledger that a log can tell, GiB.

    Where the engine subtracts its graph estimate the line is that estimate; what it captured lives outside the budget.
    """
    estimated = any(term.name == "graphs" for term in plan.ledger.outside_budget)
    return {
        LEDGER_LINE[item.name]: format_gib(item.measured)
        for item in comparison.differences
        if item.name in LEDGER_LINE and not (estimated and item.name == "graphs.actual")
    }


def _verdict(comparison: Comparison, report: SmokeReport) -> str:
    said = [
        f"{item.title} {format_gib(item.measured)} GiB, predicted {format_gib(item.predicted)}"
        if item.unit == "bytes"
        else f"{item.title} {item.measured:,}, predicted {item.predicted:,}"
        for item in comparison.differences
        if item.name in ("weights", "tokens")
    ]
    failed = ", ".join(one.name for one in report.failed)
    checks = f"failed: {failed}" if failed else f"{report.count('pass')} checks passed"
    return "; ".join([comparison.summary, *said, checks])
