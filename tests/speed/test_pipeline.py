"""Pipelines: stages that wait for each other, and prompts of one wave beside those of the next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.speed.pipeline import Pipeline
from planner.speed.workload import Workload
from tests.speed.test_simulation import LIMITS, run


@given(st.integers(1, 5), st.lists(st.floats(0.001, 2.0), min_size=1, max_size=40))
def test_no_stage_takes_two_waves_and_no_wave_overtakes(stages: int, seconds: list[float]) -> None:
    pipeline = Pipeline(stages)
    outs = [pipeline.send(number % stages, 0.0, one) for number, one in enumerate(seconds)]
    assert outs == sorted(outs)
    # The last stage works on each in turn, and no wave is faster than its own way.
    for before, after, one in zip(outs, outs[1:], seconds[1:], strict=False):
        assert after - before >= one / stages - 1e-9
    for number, out in enumerate(outs):
        earlier = outs[number - stages] if number >= stages else 0.0
        assert out - earlier >= seconds[number] - 1e-9


@given(st.integers(1, 5), st.floats(0.01, 1.0))
def test_equal_waves_fill_all_stages(stages: int, seconds: float) -> None:
    pipeline = Pipeline(stages)
    outs = [pipeline.send(number % stages, 0.0, seconds) for number in range(4 * stages)]
    assert outs[-1] == pytest.approx(seconds * (4 * stages - 1) / stages + seconds)


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_skipping_ahead_changes_next_to_nothing(stages: int, asynchronous: bool) -> None:
    load = Workload(prompt_tokens=700, output_tokens=60, length_range_ratio=0.5, concurrency=9, num_requests=40)
    fast, slow = (run(load, skip_ahead=ahead, asynchronous=asynchronous, stages=stages) for ahead in (True, False))
    assert fast.finished_s == pytest.approx(slow.finished_s, rel=0.01)
    assert fast.first_token_s == pytest.approx(slow.first_token_s, rel=0.01)


def test_prompts_take_as_long_as_on_one_gpu_but_follow_each_other_closely() -> None:
    """One prompt is no faster through two stages; sixteen full steps of prompts take little more than half."""
    one, many = (Workload(prompt_tokens=8000, output_tokens=1, concurrency=n, num_requests=n) for n in (1, 16))
    limits = replace(LIMITS, max_num_batched_tokens=8000)
    alone, staged = run(one, limits), run(one, limits, stages=2)
    assert staged.duration_s == pytest.approx(alone.duration_s, rel=0.02)
    whole, halved = run(many, limits), run(many, limits, stages=2)
    assert halved.duration_s == pytest.approx(17 / 32 * whole.duration_s, rel=0.02)
    first = sorted(halved.first_token_s)
    assert first[1] - first[0] == pytest.approx((first[0] - 0.003) / 2, rel=0.1)
