"""A forecast as text on the page; it lays out :class:`planner.speed.answer.SpeedSection`."""

from __future__ import annotations

from planner.cli.output import Align, number, table
from planner.cli.page import paragraph
from planner.settings import draft_words
from planner.speed.answer import Cost, Energy, Estimate, LayoutSpeed, SpeedForecast, SpeedSection

_FIGURES = (
    ("output tokens/s", "output_tokens_per_s"), ("output tokens/s per GPU", "output_tokens_per_s_per_gpu"),
    ("TTFT, ms", "ttft_ms"), ("TTFT p99, ms", "ttft_p99_ms"), ("TPOT, ms", "tpot_ms"),
    ("ITL p99, ms", "itl_p99_ms"), ("end-to-end latency, ms", "latency_ms"),
)  # fmt: skip
_RIGHT: tuple[Align, ...] = ("<", ">", ">", ">", ">", "<")


def speed_text(section: SpeedSection) -> str:
    """Return the forecast: load, figures with bounds, why, layouts, cost."""
    parts = [_figures(section), _layouts(section)]
    if section.cost is not None:
        parts.append(_cost(section.cost))
    if section.energy is not None:
        parts.append(_energy(section.energy))
    return "\n\n".join(parts)


def brief_speed(section: SpeedSection) -> tuple[tuple[str, str], ...]:
    """The load and its forecast in a line each, under their labels."""
    forecast = section.forecast
    rate = _spread(forecast.output_tokens_per_s, "tokens/s") + _of_what_is_offered(forecast)
    times = f"TTFT {_spread(forecast.ttft_ms, 'ms')}"
    if forecast.tpot_ms.expected:
        times += f", TPOT {_spread(forecast.tpot_ms, 'ms')}"
    return ("load", f"{load_words(section)}: {rate}"), ("speed", times)


def _of_what_is_offered(forecast: SpeedForecast) -> str:
    """How much of the tokens that a request rate asks for are made, and why it is less; empty where it is not."""
    load = forecast.workload
    offered = (load.request_rate or 0.0) * load.output_tokens
    if not offered or forecast.output_tokens_per_s.expected >= 0.995 * offered:
        return ""
    why = "start and end of the run count" if forecast.keeps_up else "the queue grows"
    why = why if load.concurrency is None else f"{load.concurrency:,} at once are the most"
    return f", {forecast.output_tokens_per_s.expected / offered:.0%} of the {number(offered)} offered: {why}"


def _spread(estimate: Estimate, unit: str) -> str:
    expected, low, high = _bounds(estimate)
    return f"{expected} {unit} ({low} to {high})"


def load_words(section: SpeedSection) -> str:
    """The load in words."""
    load = section.forecast.workload
    flow = []
    if load.concurrency is not None:
        flow.append(f"{load.concurrency} in flight")
    if load.request_rate is not None:
        flow.append(f"{load.request_rate:g} requests/s")
    more = f", {load.prefix_cache_hit_rate:.0%} of prompts cached" if load.prefix_cache_hit_rate else ""
    more += f", {load.images_per_request} images each" if load.images_per_request else ""
    return f"{load.lengths_in_words}, {' and '.join(flow) or 'all at once'}{more}"


def _figures(section: SpeedSection) -> str:
    forecast = section.forecast
    rows = [[label, *_bounds(getattr(forecast, name))] for label, name in _FIGURES]
    rows.append(["KV cache in use at most", f"{forecast.kv_cache_peak_use:.0%}", "", ""])
    if forecast.prefix_cache_hit_rate:
        rows.append(["prompt tokens found in the cache", f"{forecast.prefix_cache_hit_rate:.0%}", "", ""])
    body = table(
        ["speed", "expected", "low", "high"], [["  " + row[0], *row[1:]] for row in rows], ("<", ">", ">", ">")
    )
    said = [f"load: {load_words(section)}", *section.reasons]
    said.append(f"bounds: {forecast.territory} ({'; '.join(forecast.notes)})")
    if forecast.preemptions:
        said.append(
            f"the cache is too small for this load: {forecast.preemptions:,} requests are preempted and recomputed"
        )
    return "\n".join([body, *(_fold(line) for line in said)])


def _bounds(estimate: Estimate) -> list[str]:
    if not estimate.expected:  # answers of one token have no time per further token
        return ["-"] * 3
    return [number(estimate.expected), number(estimate.low), number(estimate.high)]


def _fold(text: str) -> str:
    return paragraph(text, rest="    ")


def _layouts(section: SpeedSection) -> str:
    rows = [
        [
            "  " + layout_name(row),
            f"{row.max_num_batched_tokens:,}",
            number(row.output_tokens_per_s),
            f"{row.ttft_ms:,.0f}",
            number(row.tpot_ms or None),
            _marks(row, section),
        ]
        for row in section.layouts
    ]
    text = table(["layouts", "batched", "tok/s", "TTFT", "TPOT", ""], rows, _RIGHT)
    legend = "* on the Pareto front of tok/s, TTFT, TPOT and length"
    if any(row.num_speculative_tokens for row in section.layouts):
        known = section.forecast.workload.acceptance_length
        legend += f"; drafts at {known:g} tokens a step" if known else "; drafts at an assumed acceptance rate"
    return f"{text}\n{_fold(legend)}"


def layout_name(row: LayoutSpeed) -> str:
    """``TP4 x 2``, with stages and draft where there are any."""
    return ", ".join(filter(None, (str(row.layout), draft_words(row.spec_method, row.num_speculative_tokens))))


def _marks(row: LayoutSpeed, section: SpeedSection) -> str:
    marks = ["*" if row.on_front else " "]
    if row.chosen:
        marks.append("chosen")
    demands = (section.targets.ttft_ms, section.targets.tpot_ms, section.targets.tokens_per_s)
    if any(value is not None for value in demands) and not row.meets_targets:
        marks.append("misses a target")
    return " ".join(marks).rstrip()


def _cost(cost: Cost) -> str:
    rows = [
        ["  per million output tokens", *(f"{value:,.2f}" for value in _triple(cost.per_million_output_tokens))],
        ["  per million tokens in and out", *(f"{value:,.2f}" for value in _triple(cost.per_million_total_tokens))],
    ]
    head = [f"cost at {cost.price_per_gpu_hour:g} per GPU and hour", "expected", "low", "high"]
    return table(head, rows, ("<", ">", ">", ">"))


def _energy(energy: Energy) -> str:
    rows = [
        ["  watts, all GPUs", *_bounds(energy.gpu_watts)],
        ["  joules per output token", *_bounds(energy.joules_per_output_token)],
        ["  output tokens per kWh", *_bounds(energy.output_tokens_per_kwh)],
    ]
    if energy.per_million_output_tokens is not None:
        name = f"  per million output tokens at {energy.price_per_kwh:g} per kWh"
        rows.append([name, *(f"{value:,.2f}" for value in _triple(energy.per_million_output_tokens))])
    return table(["energy of the GPU boards", "expected", "low", "high"], rows, ("<", ">", ">", ">"))


def _triple(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.expected, estimate.low, estimate.high
