"""Pools and strategies that the property tests share."""

from __future__ import annotations

from hypothesis import strategies as st

from hw_specs import list_gpus
from hw_specs.spec import GpuSet
from planner import PlanRequest
from planner.facts.release import known_versions

PLANNABLE = [spec for spec in list_gpus() if spec.released and spec.fp8_kind != "none"]

specs = st.sampled_from(PLANNABLE)
counts = st.sampled_from([1, 2, 4, 8])
versions = st.sampled_from(known_versions())
lengths = st.integers(min_value=1, max_value=262144)
kv_dtypes = st.sampled_from(["auto", "fp8", "fp8_per_token_head", "int4_per_token_head", "nvfp4"])


@st.composite
def gpu_sets(draw: st.DrawFn, *, nodes: st.SearchStrategy[int] | None = None) -> GpuSet:
    spec = draw(specs)
    return GpuSet(spec=spec, count=min(draw(counts), spec.max_gpus_per_node), nodes=1 if nodes is None else draw(nodes))


@st.composite
def requests(draw: st.DrawFn) -> PlanRequest:
    sequences = draw(st.none() | st.integers(min_value=1, max_value=2048))
    batched = draw(st.none() | st.integers(min_value=16, max_value=32768))
    if sequences and batched:
        batched = max(batched, sequences)
    return PlanRequest(
        gpus=draw(gpu_sets(nodes=st.sampled_from([1, 1, 1, 2]))),
        vllm_version=draw(st.none() | versions),
        max_model_len=draw(st.none() | lengths),
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        gpu_memory_utilization=draw(st.none() | st.floats(min_value=0.3, max_value=1.0)),
        kv_cache_dtype=draw(kv_dtypes),
        language_model_only=draw(st.booleans()),
        enforce_eager=draw(st.booleans()),
        num_speculative_tokens=draw(st.sampled_from([0, 0, 1, 3])),
    )
