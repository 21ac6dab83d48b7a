"""Room for LoRA adapters and the graphs that a plan is told of: laws of the formulas, and what the engine refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, plan
from planner.facts.overheads import overhead_facts
from planner.memory.budget import RankBudget, rank_budgets
from planner.memory.graph_sizes import cudagraph_mode, graph_sizes
from planner.memory.lora import adapter_bytes, adapter_tensors, reserved_bytes
from planner.planning.question import Question
from planner.planning.solve import engine_settings
from planner.settings import Layout, Lora

GPUS = parse_gpus("8xH200")


def rank(tp: int = 1, pp: int = 1, gpus: str = "8xH200", **asked: Any) -> RankBudget:
    question = Question.of(PlanRequest(gpus=parse_gpus(gpus), tensor_parallel_size=tp, **asked))
    settings = engine_settings(question, Layout(tensor_parallel_size=tp, pipeline_parallel_size=pp))
    return rank_budgets(question.model, question.gpus, settings, question.release)[0]


def lora(**asked: Any) -> Lora:
    return Lora(**({"max_loras": 1, "max_lora_rank": 16, "max_cpu_loras": 1} | asked))


def tensors(budget: RankBudget, asked: Lora) -> int:
    return sum(adapter_tensors(replace(budget.shape, lora=asked), asked))


def indices(budget: RankBudget) -> int:
    return 48 * budget.shape.max_num_batched_tokens + 24 * budget.shape.max_num_seqs


def test_buffers_grow_with_adapters_and_rank_alone() -> None:
    budget = rank()
    one = tensors(budget, lora()) - indices(budget)
    assert tensors(budget, lora(max_loras=4)) - indices(budget) == 4 * one
    assert tensors(budget, lora(max_lora_rank=64)) - indices(budget) == 4 * one
    assert adapter_bytes(budget.model, lora()) == one, "one GPU keeps what the host keeps of one adapter"


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_fully_sharded_adapters_are_divided_among_the_ranks(tp: int) -> None:
    whole, shared = rank(), rank(tp)
    one = tensors(whole, lora()) - indices(whole)
    half = tensors(shared, lora()) - indices(shared)
    full = tensors(shared, lora(fully_sharded_loras=True)) - indices(shared)
    assert one / tp < half < one
    assert full == pytest.approx(one / tp, rel=0.01)


def test_stages_share_the_layers() -> None:
    whole, first = rank(), rank(pp=2)
    assert tensors(first, lora()) - indices(first) == (tensors(whole, lora()) - indices(whole)) // 2


def test_named_modules_alone_get_adapters() -> None:
    budget = rank()
    attention = tensors(budget, lora(lora_target_modules=("qkv_proj", "o_proj")))
    part = tensors(budget, lora(lora_target_modules=("q_proj", "o_proj")))
    rest = tensors(budget, lora(lora_target_modules=("gate_up_proj", "down_proj")))
    assert attention == part
    assert attention + rest - indices(budget) == tensors(budget, lora())
    early = rank(vllm_version="0.19.0")
    assert tensors(early, lora(lora_target_modules=("q_proj",))) == indices(early), "0.19 knows whole modules only"


@given(st.lists(st.integers(1, 64 << 20), max_size=60))
def test_segments_hold_their_tensors_and_no_more_than_a_segment_a_tensor(sizes: list[int]) -> None:
    rules = overhead_facts().allocator
    reserved = reserved_bytes(tuple(sizes), rules)
    assert reserved >= sum(sizes)
    assert reserved <= sum(sizes) + len(sizes) * rules.shared_segment_bytes
    for shorter, longer in pairwise([tuple(sizes[:n]) for n in range(len(sizes) + 1)]):
        assert reserved_bytes(shorter, rules) <= reserved_bytes(longer, rules)


def test_a_plan_with_adapters_gives_up_that_much_of_its_cache() -> None:
    without, with_room = plan(PlanRequest(gpus=GPUS)), plan(PlanRequest(gpus=GPUS, enable_lora=True, max_loras=2))
    line = with_room.ledger.line("weights.lora")
    graphs = with_room.ledger.line("graphs").bytes - without.ledger.line("graphs").bytes
    assert without.ledger.line("weights.lora").bytes == 0
    assert line.bytes > 0 and graphs > 0
    assert without.kv_cache.available_bytes - with_room.kv_cache.available_bytes == line.bytes + graphs


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"max_loras": 2}, "max_loras"),
        ({"enable_lora": True, "max_lora_rank": 24}, "max_lora_rank"),
        ({"enable_lora": True, "max_loras": 4, "max_cpu_loras": 2}, "max_cpu_loras"),
        ({"enable_lora": True, "max_lora_rank": 1, "fully_sharded_loras": True, "tensor_parallel_size": 2},
         "fully_sharded_loras"),
        ({"cudagraph_capture_sizes": (1, 2, 4), "max_cudagraph_capture_size": 8}, "max_cudagraph_capture_size"),
        ({"cudagraph_capture_sizes": (0,)}, "cudagraph_capture_sizes"),
        ({"cudagraph_mode": "PARTLY"}, "cudagraph_mode"),
        ({"async_scheduling": True, "num_speculative_tokens": 2, "spec_method": "ngram", "vllm_version": "0.28.0"},
         "async_scheduling"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_is_refused(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan(PlanRequest(gpus=GPUS, **asked))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("targets", "warned"),
    [(("o_proj", "layers.0.self_attn.q_proj"), ()), (("lm_head",), ()), (("o_proj", "nosuch"), ("nosuch",))],
)
def test_a_module_that_no_model_has_is_told(targets: tuple[str, ...], warned: tuple[str, ...]) -> None:
    found = plan(PlanRequest(gpus=GPUS, enable_lora=True, lora_target_modules=targets)).warnings
    told = [one.message for one in found if one.code == "lora-target-modules"]
    assert len(told) == bool(warned) and all(name in told[0] for name in warned)


MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")


@pytest.mark.parametrize("version", ["0.20.0", "0.26.0", "0.33.0"])
@pytest.mark.parametrize("gpus", ["8xH200", "8xMI300X", "8xL40S"])
def test_no_mode_takes_more_than_pieces_and_whole_steps_together(gpus: str, version: str) -> None:
    def budget(mode: str | None) -> RankBudget:
        return rank(8, gpus=gpus, vllm_version=version, cudagraph_mode=mode)

    own = budget(None)
    assert budget("FULL_AND_PIECEWISE").terms["graphs"].bytes == own.terms["graphs"].bytes
    for mode in MODES:
        shape = budget(mode).shape
        found = graph_sizes(shape)
        for term in (budget(mode).terms["graphs"], budget(mode).outside_budget["graphs"]):
            assert term.low_bytes <= term.bytes <= term.high_bytes
            if mode != "FULL":
                assert term.bytes <= own.outside_budget["graphs"].bytes + own.terms["graphs"].bytes
        assert (found.pieces > 0) == ("PIECEWISE" in cudagraph_mode(shape))
        assert (found.full > 0) == ("FULL" in cudagraph_mode(shape))
    assert budget("NONE").terms["graphs"].high_bytes == budget("NONE").outside_budget["graphs"].high_bytes == 0


def test_full_graphs_of_any_batch_need_attention_that_captures_it() -> None:
    for gpus in ("8xH200", "8xMI300X"):
        assert cudagraph_mode(rank(gpus=gpus, cudagraph_mode="FULL").shape) == "FULL"
    assert cudagraph_mode(rank(gpus="8xL40S", tp=8, cudagraph_mode="FULL").shape) == "FULL_AND_PIECEWISE"


@given(
    spec=st.integers(0, 9),
    seqs=st.sampled_from([1, 3, 16, 100, 128, 1024]),
    tokens=st.sampled_from([100, 300, 8192]),
    version=st.sampled_from(["0.20.0", "0.22.0", "0.29.0", "0.33.0"]),
)
def test_sizes_that_are_named_are_those_that_are_captured(spec: int, seqs: int, tokens: int, version: str) -> None:
    """However the engine comes to its list: told the same one, it captures the same, in whole sequences."""
    draft = {"num_speculative_tokens": spec, "spec_method": "ngram"} if spec else {}
    asked = {"max_num_seqs": seqs, "max_num_batched_tokens": max(tokens, seqs), "vllm_version": version} | draft
    own = graph_sizes(rank(8, **asked).shape)
    assert graph_sizes(rank(8, cudagraph_capture_sizes=own.of_pieces, **asked).shape) == own
    assert {size % (1 + spec) for size in own.of_full} <= {0}
    assert own.tokens <= min(seqs * (1 + spec), max(own.of_pieces)) and max(own.of_pieces) <= max(tokens, seqs)
    if version == "0.33.0" and seqs * (1 + spec) <= min(512, max(tokens, seqs)):
        assert own.tokens == seqs * (1 + spec), "the step in which all decode is captured"


def test_no_step_has_more_tokens_than_the_engine_takes() -> None:
    few = graph_sizes(rank(8, cudagraph_capture_sizes=(1, 8, 16384)).shape)
    assert few.of_pieces == few.of_full == (1, 8)
    own = graph_sizes(rank(8).shape)
    assert graph_sizes(rank(8, max_cudagraph_capture_size=512).shape) == own
    assert graph_sizes(rank(8, max_cudagraph_capture_size=100, max_num_seqs=50).shape).tokens == 48


@pytest.mark.timeout(5)
@pytest.mark.parametrize(("most", "cases"), [(1, 3), (4, 5), (7, 5), (8, 6), (2**50, 53)])
def test_graphs_are_captured_for_powers_of_two_adapters(most: int, cases: int) -> None:
    found = graph_sizes(rank(enable_lora=True, max_loras=most, specialize_active_lora=True).shape)
    assert found.cases == cases
    assert graph_sizes(rank(enable_lora=True, max_loras=most).shape).cases == 2
    assert graph_sizes(rank().shape).cases == 1
