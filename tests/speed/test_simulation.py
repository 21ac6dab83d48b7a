"""The scheduler's books: every token once, every block returned, the tail as the benchmark shows it."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planner.checkpoint import load_preset
from planner.errors import InvalidRequest
from planner.speed.drafting import acceptance_length
from planner.speed.hardware import Hardware
from planner.speed.limits import EngineLimits
from planner.speed.profile import engine_profile
from planner.speed.simulation import draw_lengths, simulate
from planner.speed.step import StepModel
from planner.speed.trace import Trace, mean
from planner.speed.work import rank_work
from planner.speed.workload import Workload

GPU = Hardware(
    name="test", vendor="amd", bandwidth_bytes_per_s=5e12, flops_per_s={"bf16": 1e15, "fp8": 2e15},
    link_bytes_per_s=448e9, pair_bytes_per_s=64e9,
)  # fmt: skip


def step_model(
    *, asynchronous: bool = True, frontend_s: float = 0.003, drafted: int = 0, tp: int = 8, stages: int = 1
) -> StepModel:
    profile = replace(
        engine_profile("rocm-2026-05"),
        async_scheduling=asynchronous,
        frontend_s=frontend_s,
        first_token_s=0.0,
        streaming_s=0.0,
    )
    work = rank_work(load_preset(), tensor_parallel_size=tp, language_model_only=True, with_draft=drafted > 0)
    return StepModel(
        work=work, hardware=GPU, profile=profile, tensor_parallel_size=tp, num_speculative_tokens=drafted,
        pipeline_parallel_size=stages,
    )  # fmt: skip


LIMITS = EngineLimits(max_num_seqs=1024, max_num_batched_tokens=8192, num_blocks=100_000)


def run(workload: Workload, limits: EngineLimits = LIMITS, *, skip_ahead: bool = True, **model: object) -> Trace:
    return simulate(step_model(**model), limits, workload, skip_ahead=skip_ahead)  # type: ignore[arg-type]


def in_flight(trace: Trace, moment: float) -> int:
    return sum(sent <= moment < finished for sent, finished in zip(trace.sent_s, trace.finished_s, strict=True))


@pytest.mark.parametrize("threshold", [64, 512, 4096, 100_000])
def test_a_bound_on_a_prompts_part_of_a_step_moves_work_and_makes_none(threshold: int) -> None:
    workload = Workload(
        prompt_tokens=3000, output_tokens=40, concurrency=16, num_requests=40, length_distribution="exponential"
    )
    free, bound = run(workload), run(workload, replace(LIMITS, long_prefill_token_threshold=threshold))
    assert (bound == free) == (threshold > max(free.prompt_tokens))
    assert bound.prompt_tokens == free.prompt_tokens and bound.output_tokens == free.output_tokens
    # All tokens are computed as before; smaller parts only make more steps.
    assert bound.steps >= free.steps and bound.duration_s >= free.duration_s * 0.99


def test_a_short_prompt_beside_a_long_one_waits_less_with_a_bound() -> None:
    workload = Workload(prompt_tokens=20_000, output_tokens=8, concurrency=8, num_requests=8, length_range_ratio=0.99)
    free, bound = run(workload), run(workload, replace(LIMITS, long_prefill_token_threshold=1024))
    shortest = min(range(8), key=free.prompt_tokens.__getitem__)
    assert bound.ttft_s[shortest] < free.ttft_s[shortest]


def test_the_only_request_has_the_whole_step() -> None:
    """Nobody is starved by it: github.com/vllm-project/vllm v1/core/sched/scheduler.py, num_eligible_reqs."""
    alone = Workload(prompt_tokens=20_000, output_tokens=4, concurrency=1, num_requests=3)
    assert run(alone, replace(LIMITS, long_prefill_token_threshold=512)) == run(alone)


def test_a_hundred_requests_at_32_run_as_waves_of_32_32_32_and_4() -> None:
    trace = run(Workload(concurrency=32, num_requests=100))
    sent = sorted(trace.sent_s)
    spread = [max(sent[start : start + 32]) - sent[start] for start in range(0, 100, 32)]
    length = median(trace.latency_s)
    assert max(spread) < 0.1 * length
    assert trace.duration_s > 3.5 * length


def test_the_tail_costs_what_the_benchmark_shows() -> None:
    """Mean concurrency of 100 requests at 32 is about 26, so tok/s is about 0.82 of the ideal."""
    trace = run(Workload(concurrency=32, num_requests=100))
    ideal = 32 * 1024 / mean(trace.latency_s)
    assert 0.78 < trace.output_tokens_per_s / ideal < 0.86


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("drafted", [0, 3])
def test_skipping_ahead_changes_nothing(asynchronous: bool, drafted: int) -> None:
    workload = Workload(
        prompt_tokens=700, output_tokens=60, length_range_ratio=0.5, concurrency=7, request_rate=3.0, num_requests=40
    )
    limits = replace(
        LIMITS, max_num_batched_tokens=1024, num_blocks=300, tokens_per_step=acceptance_length(drafted, 0.6)
    )
    fast = run(workload, limits, asynchronous=asynchronous, drafted=drafted)
    slow = run(workload, limits, asynchronous=asynchronous, drafted=drafted, skip_ahead=False)
    assert fast.steps == slow.steps
    assert fast.preemptions == slow.preemptions
    # A draft's tokens come in whole numbers; a stretch takes their mean.
    exact = 1e-9 if not drafted else 1e-3
    assert fast.finished_s == pytest.approx(slow.finished_s, rel=exact)
    assert fast.first_token_s == pytest.approx(slow.first_token_s, rel=exact)
    assert fast.gaps.number == slow.gaps.number
    assert fast.gaps.mean_s == pytest.approx(slow.gaps.mean_s, rel=exact)
    assert fast.kv_peak_blocks == slow.kv_peak_blocks


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.integers(1, 3000), output=st.integers(1, 80), ratio=st.sampled_from([0.0, 0.5, 0.9]),
    concurrency=st.integers(1, 40), requests=st.integers(1, 60), seats=st.integers(1, 40),
    budget=st.sampled_from([64, 512, 8192]), blocks=st.integers(400, 2000), rate=st.sampled_from([None, 1.0, 50.0]),
    cached=st.sampled_from([0.0, 0.5, 1.0]), asynchronous=st.booleans(), drafted=st.sampled_from([0, 3]),
    stages=st.sampled_from([1, 2, 4]),
)  # fmt: skip
@example(
    prompt=1700, output=39, ratio=0.5, concurrency=13, requests=54, seats=12, budget=8192, blocks=1350, rate=None,
    cached=0.0, asynchronous=False, drafted=3, stages=1,
)  # fmt: skip
@example(
    prompt=63, output=1, ratio=0.5, concurrency=1, requests=2, seats=1, budget=64, blocks=400, rate=None,
    cached=0.0, asynchronous=False, drafted=0, stages=2,
)  # fmt: skip
def test_every_token_is_made_once_and_every_request_ends(
    prompt: int, output: int, ratio: float, concurrency: int, requests: int, seats: int, budget: int, blocks: int,
    rate: float | None, cached: float, asynchronous: bool, drafted: int, stages: int,
) -> None:  # fmt: skip
    workload = Workload(
        prompt_tokens=prompt, output_tokens=output, length_range_ratio=ratio, concurrency=concurrency,
        num_requests=requests, request_rate=rate, prefix_cache_hit_rate=cached,
    )  # fmt: skip
    limits = EngineLimits(
        max_num_seqs=seats,
        max_num_batched_tokens=max(budget, seats * (1 + drafted)),
        num_blocks=blocks,
        tokens_per_step=acceptance_length(drafted, 0.5),
    )
    trace = run(workload, limits, asynchronous=asynchronous, drafted=drafted, stages=stages)
    _, outputs = draw_lengths(workload)
    for sent, first, finished in zip(trace.sent_s, trace.first_token_s, trace.finished_s, strict=True):
        assert sent <= first <= finished
    assert trace.kv_peak_blocks <= blocks
    assert trace.output_tokens_per_s == pytest.approx(sum(outputs) / trace.duration_s)
    # Each answer is one first chunk and then gaps; without a draft a chunk is a token.
    if not drafted:
        assert trace.gaps.number == sum(outputs) - len(outputs)
    assert in_flight(trace, trace.sent_s[-1]) <= concurrency


def test_no_more_requests_are_in_flight_than_asked() -> None:
    trace = run(Workload(prompt_tokens=200, output_tokens=50, concurrency=5, num_requests=60, length_range_ratio=0.5))
    for moment in trace.sent_s:
        assert in_flight(trace, moment) <= 5


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
    assert first.sent_s == second.sent_s
    assert first.sent_s[-1] == pytest.approx(200, rel=0.1)
    assert run(replace(workload, seed=7)).sent_s != first.sent_s


def test_a_warm_prefix_cache_shortens_the_first_token() -> None:
    cold = run(Workload(prompt_tokens=4096, output_tokens=16, concurrency=8))
    warm = run(Workload(prompt_tokens=4096, output_tokens=16, concurrency=8, prefix_cache_hit_rate=0.9))
    assert mean(warm.ttft_s) < 0.5 * mean(cold.ttft_s)


def test_chunks_shorten_the_worst_gap() -> None:
    workload = Workload(prompt_tokens=8000, output_tokens=64, concurrency=8, length_range_ratio=0.5)
    small = run(workload, replace(LIMITS, max_num_batched_tokens=1024))
    large = run(workload, replace(LIMITS, max_num_batched_tokens=16384))
    assert small.gaps.percentile_s(99) < large.gaps.percentile_s(99)


@pytest.mark.parametrize(
    ("drafted", "rate", "expected"), [(0, 0.9, 1.0), (3, 0.0, 1.0), (3, 1.0, 4.0), (3, 0.5, 1.875)]
)
def test_expected_tokens_of_a_drafted_step(drafted: int, rate: float, expected: float) -> None:
    assert acceptance_length(drafted, rate) == expected


def test_a_useful_draft_lowers_the_time_per_token() -> None:
    workload = Workload(concurrency=1, num_requests=3, output_tokens=200)
    plain = run(workload)
    drafted = run(workload, replace(LIMITS, tokens_per_step=acceptance_length(3, 0.8)), drafted=3)
    useless = run(workload, drafted=3)
    assert mean(drafted.tpot_s) < mean(plain.tpot_s) < mean(useless.tpot_s)


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


def test_a_shared_prefix_is_held_once_and_computed_once() -> None:
    """Sixteen requests of 4,096 tokens, half of them common: 128 blocks shared and 128 of each one's own."""
    load = Workload(prompt_tokens=4096, output_tokens=16, concurrency=16, num_requests=16)
    alone, together = run(load), run(replace(load, prefix_cache_hit_rate=0.5))
    assert alone.kv_peak_blocks == 16 * 257
    assert together.kv_peak_blocks == 128 + 16 * 129
    assert together.duration_s < alone.duration_s


def test_a_prompt_that_does_not_fit_yet_waits_and_is_computed_once() -> None:
    """Two prompts that fill the cache each: the second is not begun before the first is over."""
    load = Workload(prompt_tokens=30_000, output_tokens=100, concurrency=4, num_requests=4)
    trace = run(load, replace(LIMITS, num_blocks=2_400))
    assert trace.preemptions == 0
    for ended, began in zip(sorted(trace.finished_s)[:-1], sorted(trace.first_token_s)[1:], strict=True):
        assert ended < began


def test_wide_lengths_keep_the_mean_and_lengthen_the_tail() -> None:
    load = Workload(prompt_tokens=200, output_tokens=200, concurrency=100, num_requests=400)
    wide = replace(load, length_distribution="exponential")
    prompts, outputs = draw_lengths(wide)
    assert mean(prompts) == pytest.approx(200, rel=0.01)
    assert mean(outputs) == pytest.approx(200, rel=0.01)
    assert run(wide).output_tokens_per_s < run(load).output_tokens_per_s


def test_heavy_loads_take_no_longer_than_light_ones() -> None:
    """Two thousand answers of 16,384 tokens in a cache for sixty: a sum a stretch, not a token."""
    load = Workload(prompt_tokens=1024, output_tokens=16_384, concurrency=256, num_requests=2_000)
    began = time.process_time()
    trace = run(load, replace(LIMITS, num_blocks=65_000))
    assert trace.preemptions > 0
    assert time.process_time() - began < 5
