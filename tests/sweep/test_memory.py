"""A sweep says, bit for bit, what the scalar planner says."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import plan
from planner.checkpoint import load_preset
from planner.errors import InvalidRequest
from planner.facts.release import resolve_release
from planner.memory.budget import rank_budgets
from planner.planning.outcome import Outcome
from planner.planning.question import Question
from planner.planning.request import PlanRequest
from planner.sweep.batches import as_planned
from planner.sweep.grid import Grid
from planner.sweep.memory import VERDICTS, block_rows, sweep_memory

pytestmark = pytest.mark.slow

M35 = load_preset()
GPUS = ("8xH200", "4xB200", "1xMI300X", "8xMI300X", "2xH100", "4xA100", "2x8xH200", "8xL40S")
LENGTHS = st.integers(16, 262_144)


@settings(max_examples=60, deadline=None)
@given(
    gpus=st.sampled_from(GPUS), version=st.sampled_from(["0.20.0", "0.21.0", "0.28.0", "0.33.0"]),
    lengths=st.lists(LENGTHS, min_size=1, max_size=3, unique=True),
    concurrencies=st.lists(st.integers(1, 300), min_size=1, max_size=4, unique=True),
    utilizations=st.lists(st.floats(0.3, 1.0), min_size=1, max_size=4, unique=True),
    dtypes=st.sampled_from([("auto",), ("fp8",), ("auto", "fp8")]), drafted=st.sampled_from([(0,), (3,)]),
    sequences=st.sampled_from([(), (128,), (1024,)]), batched=st.sampled_from([(), (2048,), (16384,)]),
    text_only=st.booleans(), eager=st.booleans(),
)  # fmt: skip
def test_every_configuration_is_judged_as_a_single_plan_would_be(
    gpus: str, version: str, lengths: list[int], concurrencies: list[int], utilizations: list[float],
    dtypes: tuple[str, ...], drafted: tuple[int, ...], sequences: tuple[int, ...], batched: tuple[int, ...],
    text_only: bool, eager: bool,
) -> None:  # fmt: skip
    release = resolve_release(version)
    grid = Grid(
        gpus=(parse_gpus(gpus),), max_model_lens=tuple(lengths), concurrencies=tuple(concurrencies),
        gpu_memory_utilizations=tuple(utilizations), kv_cache_dtypes=dtypes, num_speculative_tokens=drafted,
        max_num_seqs=sequences, max_num_batched_tokens=batched, language_model_only=text_only, enforce_eager=eager,
    )  # fmt: skip
    for block in sweep_memory(grid, model=M35, release=release):
        for i, utilization in enumerate(utilizations):
            chosen = dataclasses.replace(block.cell.settings, gpu_memory_utilization=utilization)
            ranks = rank_budgets(M35, block.cell.gpus, chosen, release)
            for j, concurrency in enumerate(concurrencies):
                asked = PlanRequest(gpus=block.cell.gpus, concurrency=concurrency)
                alone = Outcome(question=Question.unchecked(asked), settings=chosen, ranks=ranks)
                assert VERDICTS[block.verdict[i, j]] == alone.verdict
            kv = alone.kv_cache
            assert block.available_bytes[i] == kv.available_bytes
            assert block.available_low_bytes[i] == kv.available_low_bytes
            assert block.num_gpu_blocks[i] == kv.num_gpu_blocks
            assert block.tokens[i] == kv.tokens
            assert block.max_concurrency[i] == kv.max_concurrency


def test_impossible_layouts_are_left_out() -> None:
    grid = Grid(gpus=(parse_gpus("8xH200"),), tensor_parallel_sizes=(3, 8, 16), max_model_lens=(8192, 10**6))
    blocks = list(sweep_memory(grid, model=M35, release=resolve_release(None)))
    assert [block.cell.settings.tensor_parallel_size for block in blocks] == [8]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"max_model_lens": (0,)}, "max_model_len"), ({"concurrencies": ()}, "concurrencies"),
        ({"gpu_memory_utilizations": (1.5,)}, "gpu_memory_utilization"),
        ({"num_speculative_tokens": (-1,)}, "num_speculative_tokens"),
        ({"concurrencies": tuple(range(1, 10**6)), "max_model_lens": tuple(range(16, 1616))}, "gpus"),
    ],
)  # fmt: skip
def test_bad_axes_name_their_option(bad: dict[str, tuple[int, ...]], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Grid(gpus=(parse_gpus("8xH200"),), **bad)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_unknown_kv_type_is_refused() -> None:
    grid = Grid(gpus=(parse_gpus("8xH200"),), kv_cache_dtypes=("int3",))
    with pytest.raises(InvalidRequest, match="int3"):
        list(sweep_memory(grid, model=M35, release=resolve_release(None)))


@settings(max_examples=60, deadline=None)
@given(
    gpus=st.sampled_from((*GPUS, "1xH200", "4xL40S", "1xGH200-144")),
    version=st.sampled_from(["0.20.0", "0.28.0", "0.33.0"]),
    lengths=st.lists(LENGTHS, min_size=1, max_size=3, unique=True),
    concurrencies=st.lists(st.integers(1, 300), min_size=1, max_size=4, unique=True),
    utilizations=st.lists(st.floats(0.8, 0.97), min_size=1, max_size=2, unique=True),
    drafted=st.sampled_from([0, 3]), text_only=st.booleans(),
)  # fmt: skip
def test_a_row_says_what_a_plan_says(
    gpus: str, version: str, lengths: list[int], concurrencies: list[int], utilizations: list[float], drafted: int,
    text_only: bool,
) -> None:  # fmt: skip
    release = resolve_release(version)
    grid = Grid(
        gpus=(parse_gpus(gpus),), max_model_lens=tuple(lengths), concurrencies=tuple(concurrencies),
        gpu_memory_utilizations=tuple(utilizations), num_speculative_tokens=(drafted,), language_model_only=text_only,
    )  # fmt: skip
    for block in as_planned(sweep_memory(grid, model=M35, release=release), model=M35, release=release):
        for row in block_rows(block):
            same = ("tensor_parallel_size", "max_model_len", "concurrency", "gpu_memory_utilization")
            asked = PlanRequest(
                gpus=parse_gpus(gpus), vllm_version=version, language_model_only=text_only,
                num_speculative_tokens=drafted, **{name: row[name] for name in same},
            )  # fmt: skip
            answer = plan(asked, with_levers=False)
            assert row["verdict"] == answer.verdict
            if answer.feasible:
                chosen = answer.settings
                assert row["max_num_seqs"] == chosen.max_num_seqs
                assert row["max_num_batched_tokens"] == chosen.max_num_batched_tokens
                assert row["kv_cache_tokens"] == answer.kv_cache.tokens
                assert row["available_bytes"] == answer.kv_cache.available_bytes
