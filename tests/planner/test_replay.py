"""What torch keeps where FP8 weights are rewritten: a replay of its allocator, and where the budget counts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.facts.overheads import overhead_facts
from planner.memory.replay import Kept, Rewritten, _replayed, kept_beside

MIB = 1 << 20
sides = st.integers(8, 64).map(lambda n: n * 512)


def layer(hidden: int, inner: int, padding: int = 256) -> tuple[Rewritten, ...]:
    return (
        Rewritten((hidden, hidden // 4, hidden // 4), hidden, padding),
        Rewritten((hidden,), hidden, padding),
        Rewritten((inner, inner), hidden, padding),
        Rewritten((hidden,), inner, padding),
    )


@pytest.mark.parametrize("layers", [1, 12, 13, 40, 88])
@pytest.mark.parametrize(("hidden", "inner"), [(5120, 16384), (12288, 28672), (8192, 28672)])
def test_twelve_layers_tell_what_more_leave(layers: int, hidden: int, inner: int) -> None:
    rules, one = overhead_facts().allocator, layer(hidden, inner)
    whole = _replayed(one * layers, rules, masked=True, requantised=True)
    assert kept_beside(one, layers, rules, masked=True, requantised=True) == whole


@given(sides, sides)
def test_where_layers_take_turns_it_is_near(hidden: int, inner: int) -> None:
    rules, one = overhead_facts().allocator, layer(hidden, inner)
    whole = _replayed(one * 32, rules, masked=True, requantised=True)
    kept = kept_beside(one, 32, rules, masked=True, requantised=True)
    assert kept.holes == pytest.approx(whole.holes, rel=0.15, abs=300 * MIB)


@given(sides, sides, st.booleans())
def test_nothing_is_kept_where_nothing_is_rewritten(hidden: int, inner: int, masked: bool) -> None:
    """What was masked in place leaves a cached temporary, and no hole."""
    kept = kept_beside(layer(hidden, inner, 0), 3, overhead_facts().allocator, masked=masked, requantised=False)
    assert kept.holes == 0
    assert masked or kept == Kept(0, 0)


@given(sides, sides)
def test_an_emptied_cache_leaves_no_more_than_was_cached(hidden: int, inner: int) -> None:
    kept = kept_beside(layer(hidden, inner), 4, overhead_facts().allocator, masked=True, requantised=True)
    assert 0 <= kept.holes <= kept.cached


def test_ministral_on_a_mi300x_leaves_what_was_measured() -> None:
    """17.57 GiB were printed where the tensors are 15.20: 2.37 more, 0.1 of it outside torch."""
    one = (
        Rewritten((4096, 1024, 1024), 5120, 256),
        Rewritten((5120,), 4096, 256),
        Rewritten((16384, 16384), 5120, 256),
        Rewritten((5120,), 16384, 256),
    )
    kept = kept_beside(one, 40, overhead_facts().allocator, masked=True, requantised=True)
    assert kept.cached / 1024 / MIB == pytest.approx(2.37, abs=0.1)


@pytest.mark.parametrize(
    ("version", "counts"), [("0.20.0", True), ("0.21.0", False), ("0.26.0", False), ("0.27.0", True)]
)
def test_the_budget_counts_it_where_the_release_does(version: str, counts: bool) -> None:
    """Up to 0.20 by the load figure, from 0.27 on by what is reserved."""
    found = plan(PlanRequest(gpus=parse_gpus("4xMI300X"), vllm_version=version))
    assert (found.ledger.line("weights.rounding").bytes > 1 << 30) == counts


def test_nothing_is_rewritten_on_nvidia() -> None:
    line = plan(PlanRequest(gpus=parse_gpus("4xH200"))).ledger.line("weights.rounding")
    assert line.bytes < 256 * MIB
