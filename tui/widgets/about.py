"""What a large terminal has room for beside a plan: why it is so, what would help, and where its numbers come from."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from hw_specs.spec import GpuSpec
from hw_specs.units import format_gib, format_tokens
from planner import Lever, Plan
from planner.planning.request import SETTINGS, option_for
from planner.rendering import report
from planner.rendering.headline import verdict_words
from tui.widgets.columns import Column, Row, lay_out, wrapped
from tui.widgets.plan_panel import VERDICTS

LEVERS = (
    Column("what would free memory", flex=True, valued=True),
    Column("GiB", right=True),
    Column("tokens", right=True),
)
COUNTS = (
    Column("number of GPUs", flex=True),
    Column("context", right=True),
    Column("requests", right=True),
    Column("tokens in all", right=True),
)
QUIET_TERMS = ("free", "slack")
"""Lines of the ledger that are what the others leave."""
FLAGS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "tensor_parallel_size")


def explained(plan: Plan, name: str, *, width: int) -> list[Content]:
    """Return one line of the ledger with formula, bounds and source."""
    lines = []
    for label, text in report.explanation(plan, name):
        parts = wrapped(text, width=width - 9)
        lines += [
            Content.assemble((f"{'' if place else label:<9}", "$secondary"), part) for place, part in enumerate(parts)
        ]
    return lines


def terms_explained(plan: Plan, *, width: int, height: int) -> list[Content]:
    """Return as many lines of the ledger in full as `height` has room for: the KV cache, then the largest."""
    terms = [line for line in plan.ledger.lines if line.bytes > 0 and line.name not in QUIET_TERMS]
    terms.sort(key=lambda line: (line.name != "kv_cache", -line.bytes))
    labels = {row.name: row.label for row in report.ledger_rows(plan)}
    lines: list[Content] = []
    for term in terms:
        if term.name not in labels:
            continue
        block = [Content.styled(f"where from: {labels[term.name]}", "bold"), *explained(plan, term.name, width=width)]
        if len(lines) + len(block) > height:
            continue
        lines += [*block, Content("")]
    return lines[:-1]


def lever_lines(levers: Sequence[Lever], *, width: int) -> list[Content]:
    """Return what would give the KV cache more room, with what it gains; switched on in the Plan step."""
    if not levers:
        return []
    rows = [
        Row(
            cells=(
                lever.flag,
                format_gib(lever.gain_bytes, decimals=1) if lever.gain_bytes else "",
                f"{lever.gain_tokens:+,}" if lever.gain_tokens else "",
            )
        )
        for lever in levers
    ]
    head, lines = lay_out(LEVERS, rows, width=width)
    return [head, *lines]


def flag_lines(plan: Plan, *, width: int) -> list[Content]:
    """Return what the sizes of the command mean."""
    lines = [Content.styled("what the sizes mean", "$secondary")]
    for name in FLAGS:
        value = getattr(plan.settings, name)
        shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
        lines.append(Content.assemble((option_for(name), "bold"), f" {shown}"))
        lines += wrapped(f"  {SETTINGS[name].help}", width=width, style="$secondary", indent="  ")
    return lines


def gpu_lines(spec: GpuSpec, *, width: int) -> list[Content]:
    """Return what the catalogue knows of one GPU, with how far its memory is to be trusted."""
    seen = "not published"
    if spec.engine_memory_bytes:
        seen = f"{format_gib(spec.engine_memory_bytes)} GiB as the engine sees it"
        seen += f", {format_gib(spec.driver_memory_bytes)} in the driver"
    speeds = [("BF16", spec.bf16_flops_per_s), ("FP8", spec.fp8_flops_per_s), ("FP4", spec.fp4_flops_per_s)]
    rows = [
        ("memory", seen),
        ("bandwidth", f"{spec.bandwidth_bytes_per_s / 1e12:.2f} TB/s"),
        (
            "compute",
            ", ".join(f"{name} {rate / 1e12:,.0f}" for name, rate in speeds if rate) + " TFLOP/s, dense, vendor peak",
        ),
        ("link", " ".join(part for part in (spec.link.name, spec.link.topology) if part)),
        ("per node", str(spec.max_gpus_per_node)),
    ]
    fact = spec.facts.get("engine_memory_bytes") or spec.facts.get("*")
    if fact is not None:
        rows.append(("source", f"{fact.basis}: {fact.source}"))
    lines = [Content.styled(f"about {spec.name}", "$secondary")]
    for label, text in rows:
        lines += [
            Content.assemble((f"{'' if place else label:<10}", "$secondary"), part)
            for place, part in enumerate(wrapped(text, width=width - 10))
        ]
    return lines


def count_lines(plans: Sequence[Plan], *, width: int) -> list[Content]:
    """Return what more or fewer of the same GPUs would hold, one line each."""
    if not plans:
        return []
    rows = []
    for plan in plans:
        words, style = VERDICTS[plan.verdict]
        fits = plan.feasible
        replicas = plan.settings.replicas
        requests = f"{plan.kv_cache.max_concurrency * replicas:.1f}" if fits else ""
        rows.append(
            Row(
                cells=(
                    f"{words[0]} {plan.gpus}, {plan.settings.layout}" if fits else f"{words[0]} {plan.gpus}",
                    format_tokens(plan.settings.max_model_len) if fits else verdict_words(plan),
                    requests,
                    f"{plan.kv_cache.tokens * replicas:,}" if fits else "",
                ),
                style="" if plan.verdict == "fits" else style.removeprefix("bold "),
            )
        )
    head, lines = lay_out(COUNTS, rows, width=width)
    return [head, *lines]
