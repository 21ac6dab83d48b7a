"""The values that a shared plan shows, for the Markdown and the HTML form. It never marks anything up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field

from hw_specs.frozen import dataclass
from hw_specs.units import format_gib
from planner.facts.release import newest_version
from planner.planning.answer import Plan
from planner.planning.context_curve import CurvePoint, context_curve
from planner.rendering import report
from planner.rendering.emitters.shell import command_lines
from planner.rendering.envelope import entry
from planner.rendering.headline import headline, summary, verdict_words, where
from planner.rendering.multi_node import first_command, nodes_note
from planner.speed.answer import SpeedForecast

COMMAND_WIDTH = 100
MOST_LEVERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow(report.LedgerRow):
    """One ledger line with everything that can be said of it."""

    measured: str
    """Empty where nothing was measured."""
    formula: str
    bounds: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One check of the running server."""

    name: str
    status: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What a real start of the plan came to."""

    run: str
    measured_gib: Mapping[str, str] = field(hash=False)
    """Ledger line → measured GiB."""
    verdict: str
    """What the comparison of predicted and measured says, in a sentence."""
    checks: tuple[CheckRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A plan as a page."""

    plan: Plan
    title: str
    verdict: str
    headline: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    """Model, GPUs, versions, id."""
    memory: tuple[MemoryRow, ...]
    settings: tuple[tuple[str, str], ...]
    holds: str
    reasons: tuple[str, ...]
    levers: tuple[report.LeverRow, ...]
    layouts: tuple[report.LayoutRow, ...]
    warnings: tuple[str, ...]
    command: str
    """Empty for a plan that does not fit."""
    curve: tuple[CurvePoint, ...]
    speeds: tuple[tuple[int, SpeedForecast], ...]
    """Requests in flight → forecast; empty where none can be made."""
    acceptance: Acceptance | None


def plan_id(plan: Plan) -> str:
    """Return twelve characters that change with the settings, the rules or the ledger of a plan."""
    settings = {name: getattr(plan.settings, name) for name in plan.settings.__slots__}
    ledger = [(line.name, line.bytes, line.low_bytes, line.high_bytes) for line in plan.ledger.lines]
    words = [plan.model.name, str(plan.gpus), plan.vllm_version, plan.rules_version, settings, ledger]
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()[:12]


def sheet(
    plan: Plan,
    *,
    speeds: Sequence[tuple[int, SpeedForecast]] = (),
    acceptance: Acceptance | None = None,
) -> Sheet:
    """Return everything a shared page says of `plan`; `speeds` are forecasts by requests in flight."""
    from importlib.metadata import version
    from textwrap import fill

    command = ""
    if plan.feasible:
        words = first_command(plan)
        command = command_lines(words.argv, words.env, width=COMMAND_WIDTH)
        if note := nodes_note(plan):
            comment = fill(note, COMMAND_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
            command = f"{comment}\n{command}"
    rules = "" if plan.rules_version == plan.vllm_version else f" (rules of {plan.rules_version})"
    return Sheet(
        plan=plan,
        title=f"{plan.model.name} on {where(plan)}",
        verdict=verdict_words(plan),
        headline=headline(plan),
        summary=summary(plan),
        facts=(
            ("model", plan.model.name),
            ("GPUs", f"{plan.gpus.nodes} x {plan.gpus.count}" if plan.gpus.nodes > 1 else str(plan.gpus.count)),
            ("GPU", f"{plan.gpus.spec.name}, {format_gib(plan.gpus.memory_bytes)} GiB"),
            ("vLLM", f"{plan.vllm_version}{rules}"),
            ("newest release known", newest_version()),
            ("m35-plan", version("m35-plan")),
            ("plan id", plan_id(plan)),
        ),
        memory=tuple(_memory(plan, acceptance)),
        settings=report.choice(plan),
        holds=report.holds(plan) if plan.feasible else "",
        reasons=(*plan.reasons, *report.remarks(plan)),
        levers=report.lever_rows(plan, most=MOST_LEVERS),
        layouts=report.layout_rows(plan),
        warnings=tuple(warning.message for warning in plan.warnings),
        command=command,
        curve=context_curve(plan) if plan.feasible else (),
        speeds=tuple(speeds),
        acceptance=acceptance,
    )


def _memory(plan: Plan, acceptance: Acceptance | None) -> Iterator[MemoryRow]:
    measured = acceptance.measured_gib if acceptance else {}
    for row in report.ledger_rows(plan):
        yield entry(MemoryRow, plan.ledger.line(row.name), measured=measured.get(row.name, ""), **asdict(row))
