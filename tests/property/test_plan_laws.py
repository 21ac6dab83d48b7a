"""Laws that hold for every plan."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hw_specs.spec import GpuSet
from planner import InvalidRequest, PlanRequest, emit, plan, plan_document, read_document
from planner.rendering.document import to_json_value
from tests.property import strategies as our


def planned(request: PlanRequest, *, with_levers: bool = False):  # type: ignore[no-untyped-def]
    """The plan; levers take most of its time, and most laws are not about them."""
    try:
        return plan(request, with_levers=with_levers)
    except InvalidRequest:
        assume(False)


@given(our.requests())
def test_ledger_lines_sum_to_the_gpu_and_only_corrections_may_be_negative(request: PlanRequest) -> None:
    found = planned(request)
    assert sum(line.bytes for line in found.ledger.lines) == found.gpus.memory_bytes
    for line in found.ledger.lines:
        assert line.low_bytes <= line.bytes <= line.high_bytes
        # What torch had free when the engine took stock may be more than what it keeps of its segments.
        if line.name not in {"free", "segments"}:
            assert line.bytes >= 0
    if found.ledger.line("free").bytes < 0:
        assert not found.feasible


@pytest.mark.slow
@given(our.requests())
def test_a_plan_is_reproducible_and_survives_json(request: PlanRequest) -> None:
    found = planned(request, with_levers=True)
    assert plan(request) == found
    document = plan_document(found)
    again = read_document(json.dumps(to_json_value(document)))
    assert again == document
    assert plan_document(plan(again.request)) == document


@given(our.requests())
def test_the_shell_reads_the_argv_back(request: PlanRequest) -> None:
    found = planned(request)
    document = plan_document(found)
    assert tuple(shlex.split(document.command.shell)) == document.command.argv
    assert "--enable-mm" not in document.command.argv
    if len(document.nodes) == 1 and found.feasible:
        words = [word for word in shlex.split(emit("shell", found), comments=True) if word]
        assert tuple(words[len(document.command.env) :]) == document.command.argv


@given(our.requests())
def test_what_is_chosen_for_the_user_fits_at_the_low_bound(request: PlanRequest) -> None:
    request = dataclasses.replace(request, max_model_len=None)
    found = planned(request)
    assert found.verdict != "tight"
    if found.feasible:
        length, limit = found.settings.max_model_len, found.model.max_position_embeddings
        assert length == limit or length % 1024 == 0
        assert length >= 8192
        assert found.kv_cache.largest_max_model_len_low >= length


@given(our.specs, st.sampled_from([1, 2, 4]), our.versions, st.booleans(), st.floats(0.4, 0.95))
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_longer_length_than_the_chosen_one_is_not_safe(spec, count, version, text, utilization) -> None:  # type: ignore[no-untyped-def]
    request = PlanRequest(
        gpus=GpuSet(spec=spec, count=min(count, spec.max_gpus_per_node)),
        vllm_version=version,
        language_model_only=text,
        gpu_memory_utilization=utilization,
    )
    found = planned(request)
    assume(found.feasible and found.settings.max_model_len <= 262144 - 2048)
    longer = dataclasses.replace(
        request,
        max_model_len=found.settings.max_model_len + 2048,
        max_num_seqs=found.settings.max_num_seqs,
        max_num_batched_tokens=found.settings.max_num_batched_tokens,
        tensor_parallel_size=found.settings.tensor_parallel_size,
        pipeline_parallel_size=found.settings.pipeline_parallel_size,
    )
    assert planned(longer).verdict != "fits", "on the layout that was chosen"


@given(our.requests(), st.integers(1, 40))
def test_more_memory_never_hurts(request: PlanRequest, more_gib: int) -> None:
    """For fixed batch sizes: the engine's own defaults step with the memory. Equal layouts have no smaller cache."""
    fixed = dataclasses.replace(request, max_num_seqs=128, max_num_batched_tokens=8192)
    less = planned(fixed)
    gpus = dataclasses.replace(
        fixed.gpus, memory_override_bytes=fixed.gpus.memory_bytes + more_gib * 2**30, free_memory_bytes=None
    )
    more = planned(dataclasses.replace(fixed, gpus=gpus))
    order = {"does-not-fit": 0, "tight": 1, "fits": 2}
    assert order[more.verdict] >= order[less.verdict]
    if more.settings.layout == less.settings.layout:
        assert more.kv_cache.available_bytes >= less.kv_cache.available_bytes


@given(our.requests(), st.integers(1, 4096))
def test_a_shorter_length_never_hurts(request: PlanRequest, length: int) -> None:
    longer = dataclasses.replace(request, max_model_len=length * 64, max_num_seqs=128, max_num_batched_tokens=8192)
    shorter = dataclasses.replace(longer, max_model_len=max(1, length * 32))
    order = {"does-not-fit": 0, "tight": 1, "fits": 2}
    assert order[planned(shorter).verdict] >= order[planned(longer).verdict]


@given(our.requests())
def test_fp8_kv_is_exactly_half(request: PlanRequest) -> None:
    bf16 = planned(dataclasses.replace(request, kv_cache_dtype="auto"))
    fp8 = planned(dataclasses.replace(request.with_layout(bf16.settings.layout), kv_cache_dtype="fp8"))
    # Stages hold unlike numbers of layers (a draft's are in the last), and which one is the narrowest may change.
    if bf16.settings.pipeline_parallel_size == 1:
        assert fp8.kv_cache.bytes_per_token_per_gpu * 2 == bf16.kv_cache.bytes_per_token_per_gpu
