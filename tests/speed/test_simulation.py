"""The scheduler's books: every token once, every block returned, the tail as the benchmark shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.checkpoint import load_preset
from planner.errors import InvalidRequest
from planner.speed.hardware import Hardware
from planner.speed.profile import engine_profile
from planner.speed.scheduler import Scheduler
from planner.speed.simulation import EngineLimits, draw_lengths, expected_tokens_per_step, simulate
from planner.speed.step import StepModel
from planner.speed.trace import Trace
from planner.speed.work import rank_work
from planner.speed.workload import Workload

GPU = Hardware(
    name="test", vendor="amd", bandwidth_bytes_per_s=5e12, flops_per_s={"bf16": 1e15, "fp8": 2e15},
    link_bytes_per_s=448e9, pair_bytes_per_s=64e9,
)  # fmt: skip


def step_model(*, asynchronous: bool = True, frontend_s: float = 0.003, drafted: int = 0, tp: int = 8) -> StepModel:
    profile = replace(engine_profile("rocm-2026-05"), async_scheduling=asynchronous, frontend_s=frontend_s)
    work = rank_work(load_preset(), tensor_parallel_size=tp, language_model_only=True, with_draft=drafted > 0)
    return StepModel(work=work, hardware=GPU, profile=profile, tensor_parallel_size=tp, num_speculative_tokens=drafted)


LIMITS = EngineLimits(max_num_seqs=1024, max_num_batched_tokens=8192, num_blocks=100_000)


def run(workload: Workload, limits: EngineLimits = LIMITS, **model: object) -> Trace:
    return simulate(step_model(**model), limits, workload)  # type: ignore[arg-type]


def test_a_hundred_requests_at_32_run_as_waves_of_32_32_32_and_4() -> None:
    trace = run(Workload(concurrency=32, num_requests=100))
    waves = np.round(np.argsort(np.argsort(trace.sent_s)) // 32)
    spread = [trace.sent_s[waves == wave].max() - trace.sent_s[waves == wave].min() for wave in range(4)]
    length = np.median(trace.latency_s)
    assert [int((waves == wave).sum()) for wave in range(4)] == [32, 32, 32, 4]
    assert max(spread) < 0.1 * length
    assert trace.duration_s > 3.5 * length


def test_the_tail_costs_what_the_benchmark_shows() -> None:
    """Mean concurrency of 100 requests at 32 is about 26, so tok/s is about 0.82 of the ideal."""
    trace = run(Workload(concurrency=32, num_requests=100))
    ideal = 32 * 1024 / trace.latency_s.mean()
    assert 0.78 < trace.output_tokens_per_s / ideal < 0.86


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("drafted", [0, 3])
def test_skipping_ahead_changes_nothing(monkeypatch: pytest.MonkeyPatch, asynchronous: bool, drafted: int) -> None:
    workload = Workload(
        prompt_tokens=700, output_tokens=60, length_range_ratio=0.5, concurrency=7, request_rate=3.0, num_requests=40
    )
    limits = replace(LIMITS, max_num_batched_tokens=1024, num_blocks=300, acceptance_rate=0.6)
    fast = run(workload, limits, asynchronous=asynchronous, drafted=drafted)
    monkeypatch.setattr(Scheduler, "_fast_forward", lambda self, pending, clock, lookahead: None)
    slow = run(workload, limits, asynchronous=asynchronous, drafted=drafted)
    assert fast.steps == slow.steps
    assert fast.preemptions == slow.preemptions
    np.testing.assert_allclose(fast.finished_s, slow.finished_s, rtol=1e-9)
    np.testing.assert_allclose(fast.first_token_s, slow.first_token_s, rtol=1e-9)
    assert fast.gap_count.sum() == slow.gap_count.sum()
    assert fast.mean_gap_s == pytest.approx(slow.mean_gap_s)
    assert fast.kv_peak_blocks == slow.kv_peak_blocks


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.integers(1, 3000), output=st.integers(1, 80), ratio=st.sampled_from([0.0, 0.5, 0.9]),
    concurrency=st.integers(1, 40), requests=st.integers(1, 60), seats=st.integers(1, 40),
    budget=st.sampled_from([64, 512, 8192]), blocks=st.integers(400, 2000), rate=st.sampled_from([None, 1.0, 50.0]),
    cached=st.sampled_from([0.0, 0.5, 1.0]), asynchronous=st.booleans(), drafted=st.sampled_from([0, 3]),
)  # fmt: skip
def test_every_token_is_made_once_and_every_request_ends(
    prompt: int, output: int, ratio: float, concurrency: int, requests: int, seats: int, budget: int, blocks: int,
    rate: float | None, cached: float, asynchronous: bool, drafted: int,
) -> None:  # fmt: skip
    workload = Workload(
        prompt_tokens=prompt, output_tokens=output, length_range_ratio=ratio, concurrency=concurrency,
        num_requests=requests, request_rate=rate, prefix_cache_hit_rate=cached,
    )  # fmt: skip
    limits = EngineLimits(
        max_num_seqs=seats,
        max_num_batched_tokens=max(budget, seats * (1 + drafted)),
        num_blocks=blocks,
        acceptance_rate=0.5,
    )
    trace = run(workload, limits, asynchronous=asynchronous, drafted=drafted)
    _, outputs = draw_lengths(workload)
    assert (trace.sent_s <= trace.first_token_s).all()
    assert (trace.first_token_s <= trace.finished_s).all()
    assert trace.kv_peak_blocks <= blocks
    assert trace.output_tokens_per_s == pytest.approx(outputs.sum() / trace.duration_s)
    # Each answer is one first chunk and then gaps; without a draft a chunk is a token.
    if not drafted:
        assert trace.gap_count.sum() == (outputs - 1).sum()
    in_flight = sum((trace.sent_s <= t) & (t < trace.finished_s) for t in trace.sent_s[:1])
    assert in_flight.sum() <= concurrency


def test_no_more_requests_are_in_flight_than_asked() -> None:
    trace = run(Workload(prompt_tokens=200, output_tokens=50, concurrency=5, num_requests=60, length_range_ratio=0.5))
    for moment in trace.sent_s:
        assert ((trace.sent_s <= moment) & (moment < trace.finished_s)).sum() <= 5


def test_a_small_cache_preempts_and_still_finishes() -> None:
    workload = Workload(prompt_tokens=512, output_tokens=512, concurrency=16, num_requests=32)
    tight = run(workload, replace(LIMITS, num_blocks=16 * 33 + 8))
    roomy = run(workload)
    assert tight.preemptions > 0
    assert roomy.preemptions == 0
    assert tight.duration_s > roomy.duration_s


def test_a_request_larger_than_the_cache_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="does not fit the KV cache"):
        run(Workload(prompt_tokens=4096, output_tokens=4096, concurrency=1), replace(LIMITS, num_blocks=100))


def test_arrivals_are_seeded_and_have_the_asked_rate() -> None:
    workload = Workload(prompt_tokens=100, output_tokens=20, request_rate=4.0, num_requests=800)
    first, second = run(workload), run(workload)
    assert (first.sent_s == second.sent_s).all()
    assert first.sent_s[-1] == pytest.approx(200, rel=0.1)
    assert (run(replace(workload, seed=7)).sent_s != first.sent_s).any()


def test_a_warm_prefix_cache_shortens_the_first_token() -> None:
    cold = run(Workload(prompt_tokens=4096, output_tokens=16, concurrency=8))
    warm = run(Workload(prompt_tokens=4096, output_tokens=16, concurrency=8, prefix_cache_hit_rate=0.9))
    assert warm.ttft_s.mean() < 0.5 * cold.ttft_s.mean()


def test_chunks_shorten_the_worst_gap() -> None:
    workload = Workload(prompt_tokens=8000, output_tokens=64, concurrency=8, length_range_ratio=0.5)
    small = run(workload, replace(LIMITS, max_num_batched_tokens=1024))
    large = run(workload, replace(LIMITS, max_num_batched_tokens=16384))
    assert small.gap_percentile_s(99) < large.gap_percentile_s(99)


@pytest.mark.parametrize(
    ("drafted", "rate", "expected"), [(0, 0.9, 1.0), (3, 0.0, 1.0), (3, 1.0, 4.0), (3, 0.5, 1.875)]
)
def test_expected_tokens_of_a_drafted_step(drafted: int, rate: float, expected: float) -> None:
    assert expected_tokens_per_step(drafted, rate) == expected


def test_a_useful_draft_lowers_the_time_per_token() -> None:
    workload = Workload(concurrency=1, num_requests=3, output_tokens=200)
    plain = run(workload)
    drafted = run(workload, replace(LIMITS, acceptance_rate=0.8), drafted=3)
    useless = run(workload, replace(LIMITS, acceptance_rate=0.0), drafted=3)
    assert drafted.tpot_s.mean() < plain.tpot_s.mean() < useless.tpot_s.mean()


def test_prompts_left_by_the_run_before_cost_their_last_block() -> None:
    """What the engine logged: of 1024 cached tokens 16 are computed again, since the last one must be."""
    load = Workload(concurrency=8, num_requests=16, output_tokens=8)
    cold, warm, half = (simulate(step_model(), LIMITS, load, cached_requests=count) for count in (0, 16, 8))
    assert warm.duration_s < half.duration_s < cold.duration_s
    one = Workload(concurrency=1, num_requests=1, output_tokens=1)
    short = simulate(step_model(), LIMITS, replace(one, prompt_tokens=16))
    again = simulate(step_model(), LIMITS, one, cached_requests=1)
    # The same step but for the 1008 tokens that the 16 attend to besides.
    assert again.duration_s == pytest.approx(short.duration_s, rel=2e-3)
