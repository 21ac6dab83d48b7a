"""What a plan says of other plans is what those say: levers, other layouts, its own settings typed in full."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_specs.spec import GpuSet
from planner import InvalidRequest, Plan, PlanRequest, plan
from planner.planning.answer import VERDICTS
from tests.property import strategies as our

pytestmark = pytest.mark.slow

HERE = st.sampled_from([1, 2, 3, 4, 6, 8])


@st.composite
def questions(draw: st.DrawFn) -> PlanRequest:
    """As people ask: most of it open, on any number of GPUs and nodes."""
    spec = draw(our.specs)
    return PlanRequest(
        gpus=GpuSet(
            spec=spec, count=min(draw(HERE), spec.max_gpus_per_node), nodes=draw(st.sampled_from([1, 1, 1, 2, 3]))
        ),
        max_model_len=draw(st.none() | st.none() | our.lengths),
        concurrency=draw(st.none() | st.none() | st.integers(1, 64)),
        gpu_memory_utilization=draw(st.none() | st.sampled_from([0.85, 0.95, 0.98])),
        language_model_only=draw(st.booleans()),
        num_speculative_tokens=draw(st.sampled_from([0, 0, 3])),
        tensor_parallel_size=draw(st.sampled_from([None, None, None, 1, 2])),
    )


def planned(request: PlanRequest, *, with_levers: bool = False) -> Plan:
    """The plan; its levers, which take most of its time, where a test looks at them."""
    try:
        return plan(request, with_levers=with_levers)
    except InvalidRequest:
        assume(False)
        raise


def tokens_held(found: Plan) -> int:
    return found.kv_cache.num_gpu_blocks * found.kv_cache.block_size * found.settings.replicas


@given(st.one_of(questions(), our.requests()))
@settings(max_examples=60)
def test_a_lever_is_the_plan_that_one_gets_with_it(request: PlanRequest) -> None:
    found = planned(request, with_levers=True)
    for lever in found.levers:
        after = planned(lever.apply(request))
        assert VERDICTS.index(after.verdict) >= VERDICTS.index(found.verdict), lever
        assert lever.fits == (after.verdict == "fits"), lever
        if lever.name == "gpus" or after.verdict != found.verdict:
            assert lever.gain_tokens == lever.gain_bytes == 0
            assert f"{after.settings.max_model_len:,} tokens" in lever.note, lever
        else:
            assert lever.gain_tokens == tokens_held(after) - tokens_held(found), lever
            assert lever.gain_bytes == after.kv_cache.available_bytes - found.kv_cache.available_bytes, lever
            assert lever.gain_tokens >= 0 or not found.feasible, lever


@given(questions())
@settings(max_examples=60)
def test_other_gpus_are_offered_only_where_they_are_worth_it(request: PlanRequest) -> None:
    found = planned(request, with_levers=True)
    for lever in (lever for lever in found.levers if lever.name == "gpus"):
        after = planned(lever.apply(request))
        whole = request.max_model_len or after.model.max_position_embeddings
        assert after.gpus.nodes == found.gpus.nodes
        assert (
            found.verdict != "fits"
            or after.settings.max_model_len == whole > found.settings.max_model_len
            or after.settings.max_model_len >= 2 * found.settings.max_model_len
        ), lever


@given(questions())
def test_its_own_settings_typed_in_full_get_the_same_verdict(request: PlanRequest) -> None:
    found = planned(request)
    chosen = found.settings
    typed = dataclasses.replace(
        request.with_layout(chosen.layout),
        max_model_len=chosen.max_model_len,
        max_num_seqs=chosen.max_num_seqs,
        max_num_batched_tokens=chosen.max_num_batched_tokens,
        gpu_memory_utilization=chosen.gpu_memory_utilization,
    )
    again = planned(typed)
    if found.verdict == "does-not-fit" and again.verdict == "tight":
        assert f"with `--max-model-len {chosen.max_model_len}` it is tight" in found.reasons[0]
    else:
        assert again.verdict == found.verdict


@given(questions())
@settings(max_examples=60)
def test_another_layout_asked_for_is_what_the_list_says(request: PlanRequest) -> None:
    found = planned(request)
    for other in found.alternatives:
        asked = planned(request.with_layout(other.layout))
        assert (asked.verdict, asked.settings.max_model_len) == (other.verdict, other.max_model_len), other
        assert asked.kv_cache.tokens == other.kv_cache_tokens, other
    for no in found.rejected:
        try:
            asked = plan(request.with_layout(no.layout), with_levers=False)
        except InvalidRequest:
            continue
        assert asked.verdict == "does-not-fit", no
