"""A plan as text: the answer on one screen, or every line of it; it lays out what `planner.rendering` says."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs.units import format_gib
from planner.cli.output import style
from planner.cli.page import COLUMN, fold, noted_table, paragraph
from planner.planning.answer import Plan
from planner.rendering import report
from planner.rendering.command import wrapped
from planner.rendering.headline import headline, summary, verdict_words
from planner.rendering.multi_node import first_command, nodes_note
from planner.rendering.picture import LEGEND, MARKS, Bar, gpu_bar, group_rows

WIDE_PAGE = 80
"""A narrower page has no air around the ledger's columns."""
GROUP_WIDTH = 24
VERDICT_STYLE = {"fits": "32;1", "tight": "33;1", "does-not-fit": "31;1"}
CUT_STYLE = "33;1"
BAR_STYLES = {
    "weights": "34",
    "activations": "36",
    "outside torch": "35",
    "graphs": "35",
    "KV cache": "32",
    "held by others": "33",
    "slack": "2",
    "missing": "31;1",
}
"""Group → its colour in the bar."""
NO_BREAK = "\u00a0"
"""Keeps a mark beside its name where the legend folds."""
FEW_LEVERS = 2
ROOM = 22
"""Lines of a terminal's 24 that the page may take beside a warning and the prompt."""
MOST_LEVERS = 8


def short_text(plan: Plan, *, width: int) -> str:
    """Return the answer on one screen: verdict, memory, what it holds, the best levers and the command."""
    lines = [_head(plan, width, brief=True), _groups(plan, width)]
    if plan.feasible:
        lines.append(fold("holds", report.holds(plan), width=width))
    lines.append(fold("choice" if plan.feasible else "tried", report.choice_line(plan), width=width))
    if plan.speed is not None:
        from planner.cli.speed_table import brief_speed

        lines += [fold(label, text, width=width) for label, text in brief_speed(plan.speed)]
    lines += [fold("note", remark, width=width) for remark in report.remarks(plan)]
    lines += _few_levers(plan, width)
    if plan.feasible:
        lines.append(_run(plan, width))
        rows = "\n".join(lines).count("\n") + 1
        if rows < ROOM:
            lines.insert(-1, "")  # air above the command, where a terminal has a line left for it
    return "\n".join(lines)


def full_text(plan: Plan, *, width: int, explain: bool) -> str:
    """Return all of the plan; with `explain`, every ledger line with formula, bounds and source."""
    parts = [_head(plan, width), _ledger(plan, width)]
    if explain:
        parts.append(_explained(plan, width))
    lines = [fold("choice" if plan.feasible else "tried", _choice(plan), width=width)]
    if plan.feasible:
        lines.append(fold("holds", report.holds(plan), width=width))
    for index, reason in enumerate((*plan.reasons, *report.remarks(plan))):
        lines.append(fold("why" if index == 0 else "", reason, width=width))
    parts.append("\n".join(lines))
    if plan.levers:
        rows = [
            (f"{row.mark:<2}{row.flag}", row.gib, row.tokens, row.note)
            for row in report.lever_rows(plan, most=MOST_LEVERS)
        ]
        parts.append(noted_table(("levers", "GiB", "tokens"), rows, width=width))
    if plan.alternatives or plan.rejected:
        rows = [("  " + row.layout, row.context, row.requests, row.note) for row in report.layout_rows(plan)]
        parts.append(noted_table(("other layouts", "context", "requests"), rows, width=width))
    if plan.feasible:
        parts.append(_run(plan, width))
    return "\n\n".join(parts)


def _head(plan: Plan, width: int, *, brief: bool = False) -> str:
    words = verdict_words(plan)
    colour = CUT_STYLE if plan.verdict == "fits" and words != "fits" else VERDICT_STYLE[plan.verdict]
    lines = [paragraph(f"{words}: {headline(plan, brief=brief)}", width=width, indent="  ").lstrip()]
    if second := summary(plan):
        lines.append(paragraph(second, width=width))
    first, *rest = "\n".join(lines).split("\n")
    told = first[: len(words)]
    return "\n".join([style(told, colour) + first[len(told) :], *rest])


def _title(plan: Plan) -> str:
    ranks = plan.settings.layout.gpus_per_replica
    return f"{'one GPU' if ranks == 1 else f'one GPU of {ranks}'}, {format_gib(plan.ledger.total_bytes)} GiB"


def _groups(plan: Plan, width: int) -> str:
    lines = [f"{_title(plan):<{GROUP_WIDTH + 2}}{'GiB':>8}  {'low to high':<16}"]
    for row in group_rows(plan):
        name = f"{MARKS[row.label]} {row.label}{_beside_text(plan) if row.label == 'weights' else ''}"
        lines.append(f"  {name:<{GROUP_WIDTH}}{row.gib:>8}  {row.bounds:<16}")
    lines.append("  " + _coloured(gpu_bar(plan, width=min(width, 100) - 5)))
    return "\n".join(line.rstrip() for line in lines)


def _beside_text(plan: Plan) -> str:
    """What the row of the weights holds beside the text model; a draft is said elsewhere."""
    sees = plan.model.vision is not None and not plan.settings.language_model_only
    held = [name for name, is_held in (("vision", sees), ("LoRA", plan.settings.lora is not None)) if is_held]
    return f" with {held[0]}" if len(held) == 1 else "".join(f", {name}" for name in held)


def _coloured(bar: Bar) -> str:
    """The bar in colours, with a line where the budget ends."""
    text, place = "", 0
    for name, count in bar.cells:
        code = BAR_STYLES.get(name, "0")
        before = max(0, min(count, bar.budget_at - place))
        if place <= bar.budget_at < place + count:
            text += _piece(name, before, code) + style("│", "1") + _piece(name, count - before, code)
        else:
            text += _piece(name, count, code)
        place += count
    return text + (style("│", "1") if bar.budget_at >= place else "")


def _piece(name: str, count: int, code: str) -> str:
    return style(MARKS[name] * count, code) if count else ""


def _ledger(plan: Plan, width: int) -> str:
    names, numbers, gap = (42, 9, "  ") if width >= WIDE_PAGE else (30, 7, "")

    def line(name: str, size: str, low: str, high: str, basis: str) -> str:
        return f"{name:<{names}}{size:>{numbers}}{low:>{numbers}}{high:>{numbers}}{gap or ' '}{basis}"

    lines = [line(_title(plan), "GiB", "low", "high", "basis")]
    for row in report.ledger_rows(plan):
        if row.name == "slack":
            share = plan.settings.gpu_memory_utilization
            by_hand = plan.settings.kv_cache_memory_bytes is not None
            label = "── budget, the whole GPU" if by_hand else f"── budget, {share:g} of the GPU"
            lines.append(line(gap + label, format_gib(plan.ledger.budget_bytes), "", "", "exact"))
        lines.append(line(gap + row.label, row.gib, row.low, row.high, row.basis))
    legend = "  ".join(words.replace(" ", NO_BREAK) for words in LEGEND.split("  "))
    lines += ["  " + _coloured(gpu_bar(plan, width=min(width, 100) - 5)), paragraph(legend, width=width)]
    return "\n".join(one.rstrip() for one in lines).replace(NO_BREAK, " ")


def _explained(plan: Plan, width: int) -> str:
    lines = []
    outside = [(f"slack: {line.name}", line) for line in plan.ledger.outside_budget]
    for name, line in [*((line.name, line) for line in plan.ledger.lines), *outside]:
        lines.append(f"{style(name, '1')} {format_gib(line.bytes)} GiB, {line.bytes:,} bytes, {line.basis}")
        for label, text in (("formula", line.formula), ("bounds", line.bounds), ("source", line.source)):
            if text:
                lines.append(fold("  " + label, text, width=width, column=12))
    return "\n".join(lines)


def _choice(plan: Plan) -> str:
    return "   ".join(f"{name} {value}" for name, value in report.choice(plan))


def _few_levers(plan: Plan, width: int) -> Sequence[str]:
    """The best levers, each on one line where the flag, what it wins and what it costs have room there."""
    lines = []
    for index, row in enumerate(report.lever_rows(plan, most=FEW_LEVERS)):
        label, change = "levers" if index == 0 else "", f"{row.mark} {row.flag}".strip()
        gain = f"{row.tokens} tokens" if row.tokens else f"{row.gib} GiB" if row.gib else ""
        said = "  ".join(filter(None, (gain, row.note)))
        if COLUMN + len(change) + 2 + len(said) <= width:
            lines.append(fold(label, f"{change}  {said}", width=width))
        else:
            lines += [fold(label, change, width=width), fold("", said, width=width, column=COLUMN + 2)]
    return lines


def _run(plan: Plan, width: int) -> str:
    command = first_command(plan)
    text = wrapped((*(f"{name}={value}" for name, value in command.env.items()), *command.argv), width=width)
    note = nodes_note(plan)
    return paragraph(note, width=width, indent="# ") + "\n" + text if note else text
