"""The two fitted terms, by rules that are stated and repeatable; it never sees the model that is judged.

Outside torch: the median over models, per tensor-parallel size. Graph estimate: a Theil-Sen line over the layers of a
rank. Bounds: the range of readings or misses, and a margin either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, median

from planner.accuracy.data import Startup
from planner.memory.weights import split_layers

MARGIN_GIB = 0.1
"""What another driver, library build or node may add; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A fitted term in GiB: a line over the layers of a rank, with bounds around it."""

    expected_gib: float
    per_layer_gib: float
    low_gib: float
    high_gib: float
    models: int
    """Models that it was fitted on."""

    def at(self, layers: int) -> tuple[float, float, float]:
        """Expected, low and high for a rank with `layers` layers."""
        grown = self.per_layer_gib * layers
        return self.expected_gib + grown, self.low_gib + grown, self.high_gib + grown


def most_layers(startup: Startup) -> int:
    """Layers of the fullest rank."""
    return max(split_layers(startup.model.num_hidden_layers, startup.settings.pipeline_parallel_size))


def _points(
    startups: Iterable[Startup], measured: str, key: Callable[[Startup], object]
) -> list[tuple[Startup, float]]:
    """One point per model and `key`: repeated start-ups of a model count once."""
    found: dict[object, list[tuple[Startup, float]]] = {}
    for startup in startups:
        if measured in startup.measured:
            found.setdefault((startup.base, key(startup)), []).append((startup, startup.measured[measured]))
    return [(group[0][0], mean(value for _, value in group)) for group in found.values()]


def fit_outside_torch(startups: Iterable[Startup], *, tensor_parallel_size: int) -> Term | None:
    """Fit the growth outside torch at one tensor-parallel size; None without a reading.

    Pipeline stages are left out: the line that prints it comes from a rank without sampler.
    """
    rows = [
        startup
        for startup in startups
        if startup.settings.tensor_parallel_size == tensor_parallel_size
        and startup.settings.pipeline_parallel_size == 1
    ]
    values = [value for _, value in _points(rows, "outside_torch_gib", lambda _: None)]
    if not values:
        return None
    printed = [startup.measured["outside_torch_gib"] for startup in rows]
    return Term(
        expected_gib=median(values),
        per_layer_gib=0.0,
        low_gib=min(printed) - MARGIN_GIB,
        high_gib=max(printed) + MARGIN_GIB,
        models=len(values),
    )


def fit_graphs(startups: Iterable[Startup]) -> Term | None:
    """Fit the engine's graph estimate over the layers of a rank; None without two different counts."""
    points = _points(
        startups, "graphs_estimated_gib", lambda one: (most_layers(one), one.settings.tensor_parallel_size)
    )
    line = [(most_layers(startup), value) for startup, value in points]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(line, 2) if a[0] != b[0]]
    if not slopes:
        return None
    slope = median(slopes)
    base = median(value - slope * layers for layers, value in line)
    misses = [value - base - slope * layers for layers, value in line]
    return Term(
        expected_gib=base,
        per_layer_gib=slope,
        low_gib=base + min(misses) - MARGIN_GIB,
        high_gib=base + max(misses) + MARGIN_GIB,
        models=len({startup.base for startup, _ in points}),
    )
