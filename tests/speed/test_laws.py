"""What more of something must do to a forecast, whatever the numbers of a build are.

A load that is replayed request by request has ends and waves that fall here or there, so a figure may go the wrong way
by what one such step is worth. The table of tiles that FP8 products fill badly is left out: with it a step of 17
requests takes longer than one of 64, as measured.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs import get_gpu
from planner.checkpoint.preset import load_preset
from planner.memory.graph_sizes import captured_tokens
from planner.speed.hardware import hardware_of
from planner.speed.limits import EngineLimits
from planner.speed.profile import engine_profile
from planner.speed.simulation import simulate
from planner.speed.step import Batch, StepModel
from planner.speed.trace import mean
from planner.speed.work import rank_work
from planner.speed.workload import Workload

CHANCE = 1.01
BUILDS = {"mi300x": "rocm-2026-05", "h200": "cuda-fp8-hopper", "b200": "cuda"}
LIMITS = EngineLimits(max_num_seqs=256, max_num_batched_tokens=8192, num_blocks=40_000)
MODEL = load_preset()

gpus = st.sampled_from(sorted(BUILDS))
loads = st.builds(
    lambda prompt, output, most, rate: Workload(
        prompt_tokens=prompt, output_tokens=output, concurrency=None if rate else most, request_rate=rate,
        num_requests=100 if rate else 4 * most,
    ),
    st.sampled_from([128, 500, 1024, 3000, 20_000]), st.sampled_from([16, 128, 512]), st.sampled_from([1, 2, 8, 32]),
    st.sampled_from([None, 0.1, 1.0]),
)  # fmt: skip


def model(gpu: str, tp: int = 4, *, faster: float = 1.0, max_num_seqs: int = 256) -> StepModel:
    hardware = hardware_of(get_gpu(gpu))
    hardware = replace(
        hardware, bandwidth_bytes_per_s=faster * hardware.bandwidth_bytes_per_s,
        flops_per_s={name: faster * peak for name, peak in hardware.flops_per_s.items()},
    )  # fmt: skip
    return StepModel(
        work=rank_work(MODEL, tensor_parallel_size=tp, language_model_only=True), hardware=hardware,
        profile=replace(engine_profile(BUILDS[gpu]), row_excess=()), tensor_parallel_size=tp,
        graph_tokens=captured_tokens(512, max_num_seqs),
    )  # fmt: skip


def figures(step: StepModel, load: Workload, limits: EngineLimits = LIMITS) -> tuple[float, float, float]:
    """TTFT and TPOT in seconds, and seconds per token of all answers: the smaller, the better."""
    trace = simulate(step, limits, load)
    return mean(trace.ttft_s), mean(trace.tpot_s), 1 / trace.output_tokens_per_s


def holds(less: tuple[float, ...], more: tuple[float, ...]) -> bool:
    return all(first <= CHANCE * second for first, second in zip(less, more, strict=True))


@settings(max_examples=25)
@given(gpus, loads)
def test_faster_gpus_slow_nothing_down(gpu: str, load: Workload) -> None:
    assert holds(figures(model(gpu, faster=1.3), load), figures(model(gpu), load))


@settings(max_examples=25)
@given(gpus, loads)
def test_more_gpus_of_a_kind_slow_nothing_down(gpu: str, load: Workload) -> None:
    assert holds(figures(model(gpu, 8), load), figures(model(gpu), load))


@settings(max_examples=25)
@given(gpus, loads)
def test_longer_prompts_speed_nothing_up(gpu: str, load: Workload) -> None:
    longer = replace(load, prompt_tokens=load.prompt_tokens * 3 // 2)
    assert holds(figures(model(gpu), load), figures(model(gpu), longer))


@settings(max_examples=25)
@given(gpus, loads)
def test_more_load_gives_more_tokens_and_later_ones(gpu: str, load: Workload) -> None:
    more = replace(
        load,
        concurrency=load.concurrency and 2 * load.concurrency,
        request_rate=load.request_rate and 1.5 * load.request_rate,
        num_requests=2 * load.total_requests if load.concurrency else load.num_requests,
    )
    few, many = figures(model(gpu), load), figures(model(gpu), more)
    assert holds(few[:2], many[:2])
    assert holds(many[2:], few[2:])


@given(st.sampled_from([64, 256, 1024]), st.integers(1024, 16_000), st.integers(1, 40))
def test_larger_steps_delay_a_lone_prompt_only_where_they_leave_the_graphs(
    max_num_seqs: int, prompt: int, eighths: int
) -> None:
    """Eight H200 compute 100 tokens in less than it takes to launch their kernels one by one."""
    step = model("h200", 8, max_num_seqs=max_num_seqs)
    limit = 64 * eighths
    small, large = (replace(LIMITS, max_num_batched_tokens=tokens) for tokens in (limit, 2 * limit))
    load = Workload(prompt_tokens=prompt, output_tokens=2, concurrency=1, num_requests=1)
    edge = step.graph_tokens
    if limit <= edge < 2 * limit:
        return
    assert figures(step, load, large)[0] <= CHANCE * figures(step, load, small)[0]


def test_a_server_for_few_sequences_captures_smaller_steps() -> None:
    """vLLM captures up to twice ``--max-num-seqs``: with 128 a step of 512 tokens is launched kernel by kernel."""
    step = Batch(prefill_tokens=512)
    many, few = (model("h200", 8, max_num_seqs=count).launch_floor(step) for count in (256, 128))
    assert many == 0 < few
