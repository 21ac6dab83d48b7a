"""KV arithmetic: vectors that vLLM 0.33's own code answered, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import InvalidRequest, load_preset
from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token, vector_bytes

GIB = 2**30
MODEL = load_preset()


def geometry(tp: int, dtype: str = "auto", *, layers: int = 88, null_block: bool = True) -> KvGeometry:
    per_token = kv_bytes_per_token(MODEL, layers=layers, tensor_parallel_size=tp, kv_cache_dtype=dtype)
    return KvGeometry(bytes_per_token=per_token, block_size=16, null_block_reserved=null_block)


@pytest.mark.parametrize(
    ("tp", "bf16", "with_draft"),
    [(1, 360448, 368640), (2, 180224, 184320), (4, 90112, 92160), (8, 45056, 46080), (16, 45056, 46080)],
)
def test_bytes_per_token(tp: int, bf16: int, with_draft: int) -> None:
    assert geometry(tp).bytes_per_token == bf16
    assert geometry(tp, layers=90).bytes_per_token == with_draft
    assert geometry(tp, "fp8").bytes_per_token * 2 == bf16


@pytest.mark.parametrize(
    ("dtype", "both"),
    [("auto", 512), ("fp8", 256), ("int8_per_token_head", 264), ("int4_per_token_head", 136), ("nvfp4", 144)],
)
def test_bytes_of_keys_and_values_of_one_head(dtype: str, both: int) -> None:
    assert 2 * vector_bytes(dtype, 128) == both


def test_unknown_page_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        vector_bytes("turboquant_k8v4", 128)
    assert "fp8" in (caught.value.hint or "")


# tensor_parallel_size, available GiB, length → blocks, tokens, concurrency: printed by vLLM 0.33's planning code.
@pytest.mark.parametrize(
    ("tp", "gib", "length", "blocks", "tokens", "concurrency"),
    [
        (8, 40, 262144, 59578, 953248, 3.6363525390625),
        (1, 50, 148928, 9309, 148944, 1.0001074344649763),
        (8, 11, 262128, 16384, 262144, 16384 / 16383),
        (4, 30, 100001, 22341, 357402, 22341 / 6251),
    ],
)
def test_capacity_vectors(tp: int, gib: int, length: int, blocks: int, tokens: int, concurrency: float) -> None:
    pool = geometry(tp)
    assert pool.num_blocks(gib * GIB) == blocks
    assert pool.tokens(blocks, length) == tokens
    assert pool.concurrency(blocks, length) == concurrency


@pytest.mark.parametrize(("tp", "gib", "longest"), [(1, 50, 148928), (8, 11, 262128), (1, -5, 0)])
def test_estimated_length_vectors(tp: int, gib: int, longest: int) -> None:
    pool = geometry(tp)
    assert pool.longest(gib * GIB, 262144) == longest
    assert not pool.starts(gib * GIB, 262144)


def test_exactly_one_sequence_is_not_enough_once_the_null_block_is_kept() -> None:
    assert not geometry(8).starts(11 * GIB, 262144)
    assert geometry(8, null_block=False).starts(11 * GIB, 262144)


def test_up_to_0_20_tokens_are_blocks_times_block_size() -> None:
    old = KvGeometry(bytes_per_token=90112, block_size=16, null_block_reserved=False, tokens_rule="blocks")
    assert old.tokens(22341, 100001) == 22341 * 16


@given(tp=st.sampled_from([1, 2, 4, 8]), tokens=st.integers(1, 262144), sequences=st.integers(1, 64))
def test_need_is_linear_in_sequences_and_halves_with_fp8(tp: int, tokens: int, sequences: int) -> None:
    pool = geometry(tp)
    assert pool.needed_bytes(tokens, sequences) == sequences * pool.needed_bytes(tokens)
    assert geometry(tp, "fp8").needed_bytes(tokens) * 2 == pool.needed_bytes(tokens)


@given(available=st.integers(0, 300 * GIB), tp=st.sampled_from([1, 2, 4, 8, 16]))
def test_the_longest_length_starts_and_one_block_more_does_not(available: int, tp: int) -> None:
    pool = geometry(tp)
    longest = pool.longest(available, 10**9)
    if longest:
        assert pool.starts(available, longest)
    assert not pool.starts(available, longest + 1)
