"""The plan as text of at most 80 columns: the layout of what :mod:`planner.rendering.report` says; no sums."""

from __future__ import annotations

import textwrap

from hw_specs.units import format_gib
from planner.cli.output import style
from planner.planning.answer import Plan
from planner.rendering import report
from planner.rendering.command import serve_command
from planner.rendering.emitters.shell import wrapped

WIDTH = 80
NAME_WIDTH = 42
VERDICT_STYLE = {"fits": "32;1", "tight": "33;1", "does-not-fit": "31;1"}
MOST_LEVERS = 8


def plan_text(plan: Plan, *, explain: bool) -> str:
    """Return the whole answer; with `explain`, every ledger line with formula, bounds and source."""
    parts = [_head(plan), _ledger(plan)]
    if explain:
        parts.append(_explained(plan))
    parts.append(_choice(plan))
    if plan.levers:
        parts.append(_levers(plan))
    if plan.alternatives or plan.rejected:
        parts.append(_layouts(plan))
    if plan.feasible:
        parts.append(_run(plan))
    return "\n\n".join(parts)


def _head(plan: Plan) -> str:
    lines = [_fold(plan.verdict, report.headline(plan), gap=2)]
    second = report.summary(plan)
    if second:
        lines.append(textwrap.fill(second, WIDTH, initial_indent="  ", subsequent_indent="  "))
    text = "\n".join(lines)
    return text.replace(plan.verdict, style(plan.verdict, VERDICT_STYLE[plan.verdict]), 1)


def _ledger(plan: Plan) -> str:
    ranks = plan.settings.tensor_parallel_size * plan.settings.pipeline_parallel_size
    one = "one GPU" if ranks == 1 else f"one GPU of {ranks}"
    title = f"{one}, {format_gib(plan.ledger.total_bytes)} GiB"
    out = [f"{title:<{NAME_WIDTH}}{'GiB':>9}{'low':>9}{'high':>9}  basis"]
    for row in report.ledger_rows(plan):
        if row.name == "slack":
            share = plan.settings.gpu_memory_utilization
            by_hand = plan.settings.kv_cache_memory_bytes is not None
            label = "── budget, the whole GPU" if by_hand else f"── budget, {share:g} of the GPU"
            out.append(f"  {label:<{NAME_WIDTH - 2}}{format_gib(plan.ledger.budget_bytes):>9}{'':>18}  exact")
        out.append(f"  {row.label:<{NAME_WIDTH - 2}}{row.gib:>9}{row.low:>9}{row.high:>9}  {row.basis}")
    out += ["  " + report.bar(plan, width=WIDTH - 4), "  " + report.LEGEND]
    return "\n".join(line.rstrip() for line in out)


def _explained(plan: Plan) -> str:
    out = []
    outside = [(f"slack: {line.name}", line) for line in plan.ledger.outside_budget]
    for name, line in [*((line.name, line) for line in plan.ledger.lines), *outside]:
        out.append(f"{style(name, '1')} {format_gib(line.bytes)} GiB, {line.bytes:,} bytes, {line.basis}")
        for label, text in (("formula", line.formula), ("bounds", line.bounds), ("source", line.source)):
            if text:
                out.append(_fold("  " + label, text, gap=10 - len(label)))
    return "\n".join(out)


def _choice(plan: Plan) -> str:
    settings = "   ".join(f"{name} {value}" for name, value in report.choice(plan))
    out = [_fold("choice" if plan.feasible else "tried", settings)]
    if plan.feasible:
        out.append(_fold("holds", report.holds(plan)))
    for index, reason in enumerate(plan.reasons):
        out.append(_fold("why" if index == 0 else "", reason))
    return "\n".join(out)


def _levers(plan: Plan) -> str:
    rows = [("  " + row.flag, row.gib, row.tokens, row.note) for row in report.lever_rows(plan, most=MOST_LEVERS)]
    return _folded_table(("levers", "GiB", "tokens"), rows)


def _layouts(plan: Plan) -> str:
    rows = [("  " + row.layout, row.context, row.requests, row.note) for row in report.layout_rows(plan)]
    return _folded_table(("other layouts", "context", "requests"), rows)


def _folded_table(head: tuple[str, str, str], rows: list[tuple[str, str, str, str]]) -> str:
    """Three columns, the last two flush right, and a note that folds in what is left of the width."""
    widths = [max(len(row[i]) for row in [(*head, ""), *rows]) for i in range(3)]
    out = []
    for row in [(*head, ""), *rows]:
        left = f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}"
        out.append(_fold(left, row[3], gap=2) if row[3] else left.rstrip())
    return "\n".join(out)


def _run(plan: Plan) -> str:
    command = serve_command(plan)
    text = wrapped(command.argv, width=WIDTH - 9)
    if command.env:
        text = " ".join(f"{name}={value}" for name, value in command.env.items()) + " \\\n" + text
    out = [f"{'run':<9}{text.splitlines()[0]}", *(" " * 9 + line for line in text.splitlines()[1:])]
    return "\n".join(out)


def _fold(label: str, text: str, *, gap: int = 0) -> str:
    """A label in its column and the text beside it, folded at 80 columns."""
    column = len(label) + gap if gap else 9
    lines = textwrap.wrap(text, max(20, WIDTH - column), break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([f"{label:<{column}}{lines[0]}", *(" " * column + line for line in lines[1:])])
