"""A running server at a glance, each figure beside what was planned or forecast; it draws a `Serving`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from textual.content import Content

from hw_specs.detect.activity import GpuActivity
from hw_specs.units import GIB, format_tokens
from planner import Estimate, Plan
from planner.serve.verification.window import Sample
from tui.serving import Serving
from tui.widgets.columns import fit, wrapped
from tui.widgets.history import ceiling, history, over_time
from tui.widgets.plan_panel import blocks
from tui.widgets.speed_lines import load_words, number

LABEL, FIGURE, LEAST_CHART = 14, 11, 8
HIGH, MOST_ROWS = 28, 6
"""Lines from which what runs has a history of its own, and the most that one history takes."""
ROOMY = 100
"""Columns from which power limits have room."""
PLANNED = 38
"""Cells of what stands beside a figure."""
GPU_BAR = 10


@dataclass(frozen=True, slots=True)
class _Figure:
    """One row: what it is called, what it is now, how it went, and what was planned."""

    label: str
    now: str
    past: Sequence[float | None]
    planned: str
    loud: bool = False
    top: float | None = None
    """Where its history ends; None is the next round number above everything that is drawn."""
    forecast: Estimate | None = None

    @property
    def drawn(self) -> bool:
        """Whether there is a history to draw."""
        return any(value is not None for value in self.past)


def dashboard_lines(serving: Serving, *, width: int, height: int = 0) -> list[Content]:
    """Return what is not as planned, then every figure with its history and what was planned.

    Histories grow until everything is `height` lines.
    """
    sample = serving.shown.sample()
    if sample is None:
        return [Content.styled("asking /metrics …", "$secondary")]
    head = []
    for remark in serving.remarks:
        head += wrapped(f"! {remark.message}", width=width, style="bold $text-warning", indent="  ")
        head += wrapped(f"→ {remark.cure}", width=width, style="$secondary", indent="  ")
    if head:
        head.append(Content(""))
    figures = _figures(sample, serving, with_running=height >= HIGH)
    head.append(_requests(sample, serving.span_s, width, running=height < HIGH))
    foot = [Content(""), *_gpus(sample.gpus, serving.plan, width=width)] if sample.gpus else []
    foot += [Content(""), _told(serving, width)]
    grown = sum(figure.drawn for figure in figures)
    spare = height - len(head) - len(foot) - len(figures) - 1
    rows = max(1, min(MOST_ROWS, 1 + spare // grown)) if grown else 1
    times_s = [look.counters.at_s for look in serving.shown.looks]
    lines = [line for figure in figures for line in _figure(figure, times_s, serving.span_s, width=width, rows=rows)]
    if grown and spare > 0:
        lines.insert(0, _axis(serving.span_s, width=_room(width)))
    return [*head, *lines, *foot]


def _room(width: int) -> int:
    """Cells of a history."""
    return max(LEAST_CHART, width - LABEL - FIGURE - PLANNED - 3)


def _axis(span_s: int, *, width: int) -> Content:
    """When what was: the beginning of the histories, their middle and now."""
    begin, middle, now = f"-{_span(span_s)}", f"-{_half(span_s)}", "now"
    gap = width // 2 - len(begin)
    if gap < len(middle):
        middle, gap = "", 1
    line = f"{begin}{middle:>{gap}}"
    return Content.assemble(" " * (LABEL + FIGURE + 1), (f"{line}{now:>{max(0, width - len(line))}}", "$secondary"))


def _requests(sample: Sample, span_s: int, width: int, *, running: bool) -> Content:
    parts = []
    preempted = f"preempted in {_span(span_s)}"
    for label, value in (
        ("running", sample.running), ("waiting", sample.waiting), ("finished", sample.finished),
        (preempted, sample.preemptions),
    ):  # fmt: skip
        if label == "running" and not running:
            continue
        loud = bool(value) and label in ("waiting", preempted)
        style = "bold $text-warning" if loud else "bold"
        parts.append(Content.assemble((f"{label} ", "$secondary"), ("?" if value is None else f"{value:,}", style)))
    line = Content("    ").join(parts)
    return line if line.cell_length <= width else Content("  ").join(parts)


def _figures(sample: Sample, serving: Serving, *, with_running: bool) -> list[_Figure]:
    plan, forecast, past = serving.plan, serving.forecast, serving.shown.rates()
    pool = f"of {format_tokens(plan.kv_cache.tokens)} planned tokens" if plan else ""
    use = None if sample.kv_cache_use is None else 100 * sample.kv_cache_use
    seats = f"of {plan.settings.max_num_seqs:,} at most" if plan else ""
    runs = "–" if sample.running is None else f"{sample.running:,}"
    running = _Figure("running", runs, [one.running for one in past], seats)
    busy = [_mean_use(look.gpus) for look in serving.shown.looks]
    gpus = [_Figure("GPU use, %", _number(busy[-1]), busy, "mean of all", top=100.0)]
    return [
        *([running] if with_running else []),
        _Figure("KV cache, %", _number(use), [_percent(one.kv_cache_use) for one in past], pool, top=100.0),
        _beside("tokens/s out", sample.output_tokens_per_s, [one.output_tokens_per_s for one in past],
                forecast.output_tokens_per_s if forecast else None, low=True),
        _beside("tokens/s in", sample.prompt_tokens_per_s, [one.prompt_tokens_per_s for one in past], None),
        _beside("TTFT mean, ms", sample.ttft_ms, [one.ttft_ms for one in past],
                forecast.ttft_ms if forecast else None),
        _pair("TTFT p50, p99", sample.ttft_p50_ms, sample.ttft_p99_ms, forecast.ttft_p99_ms if forecast else None),
        _beside("ITL mean, ms", sample.itl_ms, (), forecast.itl_ms if forecast else None),
        _pair("ITL p50, p99", sample.itl_p50_ms, sample.itl_p99_ms, forecast.itl_p99_ms if forecast else None),
        *(gpus if with_running and busy[-1] is not None else []),
    ]  # fmt: skip


def _mean_use(gpus: Sequence[GpuActivity]) -> float | None:
    """Mean use of the GPUs that tell it, in percent."""
    told = [gpu.use_fraction for gpu in gpus if gpu.use_fraction is not None]
    return 100 * sum(told) / len(told) if told else None


def _figure(figure: _Figure, times_s: Sequence[float], span_s: float, *, width: int, rows: int) -> list[Content]:
    """One figure: what it is now, how it went, what was planned; with more rows its history is higher."""
    room = _room(width)
    style = "bold $text-warning" if figure.loud else "bold"
    drawn, told = [Content(" " * room)], [""]
    if figure.drawn:
        seen = [value for value in figure.past if value is not None]
        expected = [figure.forecast.expected] if figure.forecast is not None else []
        top = figure.top or ceiling([*seen, *expected])
        values = over_time(times_s, figure.past, span_s=span_s, cells=room)
        # High ones would run into each other.
        height = rows - (rows > 2)
        drawn = history(values, height=height, top=top, forecast=figure.forecast) + [Content("")] * (rows > 2)
        told = ["", f"max {number(max(seen))}", f"from 0 to {number(top)}"][:height]
    lines = [
        Content.assemble(
            (f"{figure.label:<{LABEL}}", "$secondary"),
            (f"{figure.now:>{FIGURE}}", style),
            " ",
            drawn[0],
            "  ",
            (fit(figure.planned, PLANNED), "$text-warning" if figure.loud else "$secondary"),
        )
    ]
    for words, row in list(zip_longest(told, drawn, fillvalue=""))[1:]:
        lines.append(Content.assemble((f"{words:>{LABEL + FIGURE}} ", "$secondary"), row))
    return lines


def _beside(
    label: str, value: float | None, past: Sequence[float | None], planned: Estimate | None, *, low: bool = False
) -> _Figure:
    """A figure beside its forecast; loud where it is outside on the bad side."""
    if planned is None:
        return _Figure(label, _number(value), past, "")
    words = f"forecast {number(planned.expected)} ({number(planned.low)} to {number(planned.high)})"
    loud = value is not None and (value < planned.low if low else value > planned.high)
    return _Figure(label, _number(value), past, words, loud, forecast=planned)


def _pair(label: str, half: float | None, most: float | None, planned: Estimate | None) -> _Figure:
    """Two percentiles in one row, the upper one beside its forecast."""
    upper = _beside(label, most, (), planned)
    return _Figure(label, f"{_number(half)} {upper.now}", (), upper.planned and f"p99 {upper.planned}", upper.loud)


def _gpus(gpus: Sequence[GpuActivity], plan: Plan | None, *, width: int) -> list[Content]:
    budget = f", planned {plan.ledger.budget_bytes / GIB:.1f}" if plan else ""
    roomy = width >= ROOMY
    head = Content.styled(fit(f"GPU, use in %, memory in GiB{budget}, power", width), "$secondary")
    cells = [_gpu(gpu, plan, roomy=roomy) for gpu in gpus]
    size = max(cell.cell_length for cell in cells) + 3
    columns = max(1, min(4, (width + 3) // size)) if len(cells) > 4 else 1
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


def _half(span_s: int) -> str:
    """Half of what is shown: 30 s, 5 min, 30 min."""
    return f"{span_s // 2} s" if span_s < 120 else f"{span_s // 120} min"


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
