"""The roofline: what it reads, multiplies and sends, and that more never costs less."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import get_gpu, list_gpus
from planner.checkpoint import load_preset
from planner.facts.speed import speed_facts
from planner.speed.hardware import Hardware, allreduce_seconds, hardware_of, usable_link_bytes_per_s
from planner.speed.profile import engine_profile
from planner.speed.step import Batch, StepClock, StepModel
from planner.speed.work import rank_work

M35 = load_preset()


def batch(*, prefill: float = 0, decode: float = 0, context: float = 0, images: float = 0) -> Batch:
    return Batch(
        prefill_tokens=prefill, prefill_pairs=prefill**2 / 2, decode_sequences=decode,
        decode_context_tokens=context, sampled_rows=decode + (prefill > 0), images=images,
    )  # fmt: skip


def model(tp: int = 1, gpu: str = "mi300x", **more: object) -> StepModel:
    work = rank_work(M35, tensor_parallel_size=tp, with_draft=bool(more.get("num_speculative_tokens")))
    return StepModel(
        work=work, hardware=hardware_of(get_gpu(gpu)), profile=engine_profile("rocm-2026-05"), tensor_parallel_size=tp,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_step_reads_what_the_checkpoint_holds_for_it() -> None:
    """88 layers in FP8 and the head in BF16: 125.02e9 bytes, norms apart."""
    work = rank_work(M35, language_model_only=True)
    assert sum(linear.weight_bytes for linear in work.linears) == 121_802_588_160
    assert work.head_bytes == 3_221_225_472
    assert work.kv_bytes_per_token == 360_448


def test_there_are_177_all_reduces_of_24_kib_per_token() -> None:
    work = rank_work(M35, tensor_parallel_size=8)
    assert work.allreduces == 177
    assert work.message_bytes_per_token == 24 * 1024
    assert rank_work(M35).allreduces == 0


@pytest.mark.parametrize(
    ("gpu", "held"), [("rtx-pro-6000-server", True), ("a100", True), ("t4", False), ("gb10", False)]
)
def test_a_head_is_read_together_where_one_layers_share_fits_the_cache(gpu: str, held: bool) -> None:
    """3,000 tokens of this model are 12.3 MB a layer; the cache of a T4 has 4, that of GB10 is not known."""
    asked = replace(model(gpu=gpu), profile=engine_profile("cuda"))
    assert 3000 * asked.work.kv_bytes_per_token / asked.work.num_layers == 12_288_000
    assert (asked.shared_reading_saved(3000) > 0) == held


def test_each_known_cache_is_of_gpus_of_the_catalogue_and_of_one_group() -> None:
    named = [gpu for cache in speed_facts().last_cache.values() for gpu in cache.gpus]
    assert len(named) == len(set(named))
    assert set(named) <= {gpu.id for gpu in list_gpus()}


def test_the_all_reduce_table_of_the_catalogue_is_used() -> None:
    h200 = hardware_of(get_gpu("h200"))
    seconds = allreduce_seconds(h200, 2.0**20, 8, link_share=0.8, custom_bytes_per_s=1e11)
    assert seconds == pytest.approx(14.1e-6)


def test_only_messages_under_the_limit_are_fused() -> None:
    h200 = hardware_of(get_gpu("h200"))
    sizes = (2.0**19, 2.0**20)
    plain, fused = (
        [allreduce_seconds(h200, size, 8, link_share=0.8, custom_bytes_per_s=1e11, fused_share=share) for size in sizes]
        for share in (1.0, 0.5)
    )
    assert [after / before for after, before in zip(fused, plain, strict=True)] == [0.5, 1.0]


@given(st.integers(1, 2**31), st.sampled_from([2, 4, 8]), st.sampled_from(["h200", "mi300x", "mi355x", "h20", "l40s"]))
def test_larger_messages_never_take_much_less(size: int, tp: int, gpu: str) -> None:
    """Measured tables dip where the kernel changes (B200 halves at 1 MiB); elsewhere time grows."""
    hardware = hardware_of(get_gpu(gpu))
    small, large = (
        allreduce_seconds(hardware, bytes_, tp, link_share=0.7, custom_bytes_per_s=4e11)
        for bytes_ in (size, size * 1.5)
    )
    assert large >= 0.7 * small > 0


def test_a_mesh_gives_a_pair_one_link_and_a_switch_all() -> None:
    mesh, switched = hardware_of(get_gpu("mi300x")), hardware_of(get_gpu("h200"))
    assert usable_link_bytes_per_s(mesh, 2) == 64e9
    assert usable_link_bytes_per_s(mesh, 8) == 448e9
    assert usable_link_bytes_per_s(switched, 2) == 450e9


@given(st.integers(0, 16384), st.integers(0, 256), st.integers(0, 100_000), st.sampled_from([1, 2, 4, 8]))
def test_more_work_never_takes_less_time(prefill: int, decode: int, context: int, tp: int) -> None:
    step = model(tp)
    before = step.seconds(batch(prefill=prefill, decode=decode, context=context))
    assert step.seconds(batch(prefill=prefill + 16, decode=decode, context=context)) >= before
    assert step.seconds(batch(prefill=prefill, decode=decode + 1, context=context + 100)) >= before


@given(st.integers(1, 8192), st.integers(1, 64))
def test_the_parts_sum_to_the_step(prefill: int, decode: int) -> None:
    step = model(8)
    work = batch(prefill=prefill, decode=decode, context=decode * 500)
    assert sum(step.parts(work).values()) == pytest.approx(step.seconds(work))


def test_an_empty_step_takes_no_time() -> None:
    assert model(8).seconds(batch()) == 0


def test_eager_steps_have_a_floor() -> None:
    step = model(8)
    profile = replace(step.profile, eager_layer_s=1e-3)
    graphs, eager = replace(step, profile=profile), replace(step, profile=profile, enforce_eager=True)
    assert eager.seconds(batch(decode=1, context=100)) == pytest.approx(88e-3)
    assert graphs.seconds(batch(decode=1, context=100)) < 88e-3


def test_a_compiled_step_beyond_the_graphs_launches_less_than_an_eager_one() -> None:
    step = replace(model(8), graph_tokens=512)
    step = replace(step, profile=replace(step.profile, eager_layer_s=1e-3, compiled_launch=0.5))
    eager = replace(step, enforce_eager=True)
    assert step.launch_floor(batch(prefill=512)) == 0
    assert step.launch_floor(batch(prefill=513)) == pytest.approx(0.5 * eager.launch_floor(batch(prefill=513)))


def test_a_format_the_hardware_lacks_is_unpacked_and_computes_in_bf16() -> None:
    a100 = hardware_of(get_gpu("a100-sxm"))
    step = replace(model(8), hardware=a100)
    prefill = step.parts(batch(prefill=8192))["linears"]
    flops = 8192 * step.work.linears[0].flops_per_token
    share = step.profile.matmul_bf16 * step.profile.unpacking
    assert prefill == pytest.approx(flops / (a100.flops_per_s["bf16"] * share))


def test_images_cost_time_only_when_the_tower_is_loaded() -> None:
    assert model(1).parts(batch(prefill=100, images=1))["vision"] > 0
    blind = replace(model(1), work=rank_work(M35, language_model_only=True))
    assert blind.parts(batch(prefill=100, images=1))["vision"] == 0


def test_a_way_through_a_pipeline_is_as_long_as_through_one_gpu() -> None:
    one, two = model(1), model(1, pipeline_parallel_size=2)
    for work in (batch(decode=1, context=1000), batch(prefill=8192)):
        assert two.seconds(work) == pytest.approx(one.seconds(work) + one.profile.step_s)


@given(st.integers(1, 500), st.integers(1, 8))
def test_the_largest_wave_holds_its_share_and_no_more_than_there_are(sequences: int, stages: int) -> None:
    wave = StepClock(model(1, pipeline_parallel_size=stages)).wave(sequences)
    assert -(-sequences // stages) <= wave <= sequences
    if stages == 1:
        assert wave == sequences


def test_waves_are_as_uneven_as_the_public_example() -> None:
    assert StepClock(model(1, pipeline_parallel_size=4)).wave(32) == 13


def test_no_link_speed_is_said() -> None:
    bare = Hardware(
        name="bare", vendor="amd", bandwidth_bytes_per_s=1e12, flops_per_s={"bf16": 1e14},
        link_bytes_per_s=None, pair_bytes_per_s=None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no link speed"):
        allreduce_seconds(bare, 1.0, 2, link_share=1, custom_bytes_per_s=1)


def test_a_round_corner_lies_between_the_larger_time_and_the_sum() -> None:
    sharp = model(gpu="h200")
    tokens = 200.0
    times = [
        replace(sharp, profile=replace(sharp.profile, roofline_power=power)).parts(batch(prefill=tokens))["linears"]
        for power in (inf, 3.0, 2.0, 1.0)
    ]
    assert times == sorted(times)
    (linear,) = sharp.work.linears
    eff, gpu = sharp.profile, sharp.hardware
    reading = linear.weight_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
    computing = tokens * linear.flops_per_token / (gpu.peak("fp8") * eff.matmul_fp8)
    assert times[0] == pytest.approx(max(reading, computing))
    assert times[-1] == pytest.approx(reading + computing)
