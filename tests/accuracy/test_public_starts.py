"""Public starts of other models, cards and releases: bounds that nothing was read from have to hold."""

from __future__ import annotations

import pytest

from planner.accuracy.public import public_comparisons, public_groups, public_rows
from planner.accuracy.rows import PublicStart

PRINTED = 0.006
"""Half of the last printed digit, and the same of the load figure."""


@pytest.mark.parametrize("row", public_rows(), ids=lambda row: row.id)
def test_the_pool_lies_between_its_bounds(row: PublicStart) -> None:
    pool = next(one for one in public_comparisons(row) if one.component == "kv_pool")
    assert pool.low_gib - PRINTED <= pool.measured_gib <= pool.high_gib + PRINTED


@pytest.mark.parametrize("row", [row for row in public_rows() if row.graph_actual], ids=lambda row: row.id)
def test_captured_graphs_lie_between_their_bounds(row: PublicStart) -> None:
    graphs = next(one for one in public_comparisons(row) if one.component == "graphs")
    assert graphs.low_gib - PRINTED <= graphs.measured_gib <= graphs.high_gib + PRINTED


def test_pools_that_nothing_was_read_from_are_within_a_percent_on_average() -> None:
    groups = {(group.name, group.component): group for group in public_groups()}
    pool = groups["public starts: nothing read from them", "kv_pool"]
    assert pool.count >= 7
    assert pool.mean_absolute_percent <= 1.0
    assert pool.safe_percent == 100
