"""A running server at a glance, each figure beside what was planned or forecast; it draws a `Serving`."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from hw_specs.detect.activity import GpuActivity
from hw_specs.units import GIB, format_tokens
from planner import Estimate, Plan
from planner.serve.verification.live_metrics import LiveMetrics
from planner.serve.verification.window import Sample
from tui.serving import Serving
from tui.widgets.columns import fit
from tui.widgets.plan_panel import blocks, wrapped
from tui.widgets.speed_lines import load_words, number

_STEPS = "▁▂▃▄▅▆▇█"
LABEL, FIGURE, LEAST_SPARK = 14, 11, 8
ROOMY = 100
"""Columns from which power limits have room."""
PLANNED = 38
"""Cells of what stands beside a figure."""
GPU_BAR = 10


def spark(values: Sequence[float | None], *, width: int) -> str:
    """Return values as a line of small bars, oldest first; the largest is as high as a cell.

    >>> spark([0, 1, None, 2], width=8)
    '▁▄ █'
    """
    size = max(1, -(-len(values) // max(1, width)))
    groups = [[one for one in values[start : start + size] if one is not None] for start in range(0, len(values), size)]
    shown = [sum(group) / len(group) if group else None for group in groups]
    most = max((value for value in shown if value is not None), default=0) or 1
    return "".join(" " if value is None else _STEPS[min(7, round(value / most * 7))] for value in shown)


def dashboard_lines(serving: Serving, *, width: int) -> list[Content]:
    """Return what is not as planned, then every figure with its history and what was planned."""
    window = serving.shown
    sample = window.sample()
    if sample is None:
        return [Content.styled("asking /metrics …", "$secondary")]
    history = window.rates()
    lines = []
    for remark in serving.remarks:
        lines += wrapped(f"! {remark.message}", width=width, style="bold $text-warning", indent="  ")
        lines += wrapped(f"→ {remark.change}", width=width, style="$secondary", indent="  ")
    if lines:
        lines.append(Content(""))
    lines += [_requests(sample, serving.span_s, width), *_figures(sample, history, serving, width=width)]
    if sample.gpus:
        lines += [Content(""), *_gpus(sample.gpus, serving.plan, width=width)]
    return [*lines, Content(""), _told(serving, width)]


def _requests(sample: Sample, span_s: int, width: int) -> Content:
    parts = []
    preempted = f"preempted in {_span(span_s)}"
    for label, value in (
        ("running", sample.running), ("waiting", sample.waiting), ("finished", sample.finished),
        (preempted, sample.preempted),
    ):  # fmt: skip
        loud = bool(value) and label in ("waiting", preempted)
        style = "bold $text-warning" if loud else "bold"
        parts.append(Content.assemble((f"{label} ", "$secondary"), ("?" if value is None else f"{value:,}", style)))
    line = Content("    ").join(parts)
    return line if line.cell_length <= width else Content("  ").join(parts)


def _figures(sample: Sample, history: Sequence[LiveMetrics], serving: Serving, *, width: int) -> list[Content]:
    plan, forecast = serving.plan, serving.forecast
    pool = f"of {format_tokens(plan.kv_cache.tokens)} planned tokens" if plan else ""
    use = None if sample.kv_use_fraction is None else 100 * sample.kv_use_fraction
    rows: list[tuple[str, str, Sequence[float | None], str, bool]] = [
        ("KV cache, %", _number(use), [one.kv_use_fraction for one in history], pool, False),
        _row("tokens/s out", sample.output_tokens_per_s, [one.generated_tokens_per_s for one in history],
             forecast.output_tokens_per_s if forecast else None, low=True),
        _row("tokens/s in", sample.prompt_tokens_per_s, [one.prompt_tokens_per_s for one in history], None),
        _row("TTFT mean, ms", sample.ttft_ms, [one.ttft_ms for one in history], forecast.ttft_ms if forecast else None),
        _pair("TTFT p50, p99", sample.ttft_p50_ms, sample.ttft_p99_ms, forecast.ttft_p99_ms if forecast else None),
        _row("ITL mean, ms", sample.itl_ms, (), forecast.itl_ms if forecast else None),
        _pair("ITL p50, p99", sample.itl_p50_ms, sample.itl_p99_ms, forecast.itl_p99_ms if forecast else None),
    ]  # fmt: skip
    room = max(LEAST_SPARK, width - LABEL - FIGURE - PLANNED - 3)
    lines = []
    for label, figure, past, planned, loud in rows:
        lines.append(
            Content.assemble(
                (f"{label:<{LABEL}}", "$secondary"),
                (f"{figure:>{FIGURE}}", "bold $text-warning" if loud else "bold"),
                " ",
                (fit(spark(past, width=room), room), "$accent"),
                "  ",
                (fit(planned, PLANNED), "$text-warning" if loud else "$secondary"),
            )
        )
    return lines


def _row(
    label: str, value: float | None, past: Sequence[float | None], planned: Estimate | None, *, low: bool = False
) -> tuple[str, str, Sequence[float | None], str, bool]:
    """A figure beside its forecast; loud where it is outside on the bad side."""
    if planned is None:
        return label, _number(value), past, "", False
    words = f"forecast {number(planned.expected)} ({number(planned.low)} to {number(planned.high)})"
    loud = value is not None and (value < planned.low if low else value > planned.high)
    return label, _number(value), past, words, loud


def _pair(
    label: str, half: float | None, most: float | None, planned: Estimate | None
) -> tuple[str, str, Sequence[float | None], str, bool]:
    """Two percentiles in one row, the upper one beside its forecast."""
    _, upper, _, words, loud = _row(label, most, (), planned)
    return label, f"{_number(half)} {upper}", (), words and f"p99 {words}", loud


def _gpus(gpus: Sequence[GpuActivity], plan: Plan | None, *, width: int) -> list[Content]:
    budget = f", planned {plan.ledger.budget_bytes / GIB:.1f}" if plan else ""
    roomy = width >= ROOMY
    head = Content.styled(fit(f"GPU, use in %, memory in GiB{budget}, power", width), "$secondary")
    cells = [_gpu(gpu, plan, roomy=roomy) for gpu in gpus]
    size = max(cell.cell_length for cell in cells) + 3
    columns = max(1, min(2, width // size)) if len(cells) > 4 else 1
    rows = -(-len(cells) // columns)
    lines = []
    for index in range(rows):
        line = cells[index::rows]
        lines.append(Content("   ").join([cell.pad_right(size - 3 - cell.cell_length) for cell in line]))
    return [head, *lines]


def _gpu(gpu: GpuActivity, plan: Plan | None, *, roomy: bool) -> Content:
    use, cells = gpu.use_fraction, GPU_BAR if roomy else GPU_BAR - 2
    bar = blocks((use or 0.0) * cells)
    over = plan is not None and gpu.used_bytes is not None and gpu.used_bytes > plan.ledger.total_bytes
    memory = "?" if gpu.used_bytes is None else f"{gpu.used_bytes / GIB:.1f}"
    power = "" if gpu.power_w is None else f"{gpu.power_w:>6,.0f} W"
    power += f" of {gpu.power_limit_w:,.0f}" if roomy and gpu.power_w is not None and gpu.power_limit_w else ""
    return Content.assemble(
        (f"{gpu.index:>3} ", "$secondary"),
        (f"{'?' if use is None else f'{100 * use:.0f}':>5} ", "bold"),
        (bar, "$accent"),
        ("·" * (cells - len(bar)), "$secondary"),
        (f" {memory:>7}", "bold $text-warning" if over else "bold"),
        (power, "$secondary"),
    )


def _told(serving: Serving, width: int) -> Content:
    """What the figures are of."""
    words = f"the last {_span(serving.span_s)}"
    if serving.forecast is not None:
        words += f"; forecast for what it is asked now: {load_words(serving.forecast.workload)}"
    elif serving.plan is not None and serving.load is None:
        words += "; a forecast stands beside the figures as soon as some requests have ended"
    return Content.styled(fit(words, width), "$secondary")


def _span(span_s: int) -> str:
    return f"{span_s // 60} min" if span_s < 3600 else f"{span_s // 3600} h"


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)
