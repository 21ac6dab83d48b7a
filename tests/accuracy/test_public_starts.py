"""Public starts of other models, cards and releases: bounds that nothing was read from have to hold."""

from __future__ import annotations

from statistics import median

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


def test_pools_that_nothing_was_read_from_are_within_a_percent_in_the_median() -> None:
    rows = [row for row in public_rows() if row.plan and not row.plan.fitted]
    pools = [one for row in rows for one in public_comparisons(row) if one.component == "kv_pool"]
    assert len(pools) >= 22
    assert median(abs(one.predicted_gib / one.measured_gib - 1) for one in pools) <= 0.01
    groups = {(group.name, group.component): group for group in public_groups()}
    assert groups["public starts: nothing read from them", "kv_pool"].count == len(pools)
