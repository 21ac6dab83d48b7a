"""A sample of a running server as one line of at most 80 columns; it lays out and judges nothing."""

from __future__ import annotations

import time

from hw_specs.units import GIB
from planner.serve.verification.window import Sample

_COLUMNS = (
    ("time", 8), ("run", 5), ("wait", 5), ("KV", 5), ("tok/s", 7), ("TTFT", 7), ("p99", 7), ("ITL", 6), ("p99", 6),
    ("GPU", 5), ("GiB", 6),
)  # fmt: skip


def head(sample: Sample) -> str:
    """Return the names of the columns; those of the GPUs only where this machine has them."""
    return " ".join(f"{name:>{width}}" for name, width in _columns(sample))


def line(sample: Sample) -> str:
    """Return one look: milliseconds, percentages, and the busiest and the fullest GPU."""
    gpus = sample.gpus
    use = [gpu.use_fraction for gpu in gpus if gpu.use_fraction is not None]
    held = [gpu.used_bytes for gpu in gpus if gpu.used_bytes is not None]
    cells = [
        time.strftime("%H:%M:%S", time.localtime(sample.at_s)), _whole(sample.running), _whole(sample.waiting),
        _percent(sample.kv_cache_use), _rate(sample.output_tokens_per_s), _rate(sample.ttft_p50_ms),
        _rate(sample.ttft_p99_ms), _rate(sample.itl_p50_ms), _rate(sample.itl_p99_ms),
        _percent(max(use) if use else None), f"{max(held) / GIB:.1f}" if held else "–",
    ]  # fmt: skip
    return " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _columns(sample), strict=False))


def _columns(sample: Sample) -> tuple[tuple[str, int], ...]:
    return _COLUMNS if sample.gpus else _COLUMNS[:-2]


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
