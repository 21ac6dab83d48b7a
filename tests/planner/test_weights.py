"""Weights per rank against figures that the engine's own code gave on a fake device."""

from __future__ import annotations

import pytest

from planner import load_preset
from planner.memory.weights import WeightRules, rank_weights, rope_cache_bytes, split_layers

MODEL = load_preset()
ROCM = WeightRules(fp8_row_padding=(512, 256))
HF = WeightRules(projector_sharded=True)
BEFORE_0_20 = WeightRules(vision_sharded=False)

# tensor_parallel_size: (text, vision, EAGLE draft)
CUDA_BYTES = {
    1: (128_249_389_056, 5_356_443_136, 3_070_353_408),
    2: (64_126_869_504, 2_861_880_832, 1_535_238_144),
    4: (32_065_609_728, 1_614_599_680, 767_680_512),
    8: (16_034_979_840, 990_959_104, 383_901_696),
    16: (8_158_076_928, 679_138_816, 195_158_016),
}
# tensor_parallel_size: (text, text and vision, EAGLE draft), FP8 rows padded
ROCM_BYTES = {
    1: (130_417_844_224, 135_774_287_360, 3_122_782_208),
    2: (65_487_921_152, 68_349_801_984, 1_569_316_864),
    4: (33_022_959_616, 34_637_559_296, 792_584_192),
    8: (16_790_478_848, 17_781_437_952, 404_217_856),
    16: (8_261_885_952, 8_941_024_768, 200_663_040),
}


@pytest.mark.parametrize("tp", CUDA_BYTES)
def test_cuda_bytes_are_exact(tp: int) -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=tp, draft=True)
    assert (rank.text_bytes, rank.vision_bytes, rank.draft_bytes) == CUDA_BYTES[tp]


@pytest.mark.parametrize("tp", ROCM_BYTES)
def test_rocm_rows_are_padded(tp: int) -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=tp, draft=True, rules=ROCM)
    assert (rank.text_bytes, rank.text_bytes + rank.vision_bytes, rank.draft_bytes) == ROCM_BYTES[tp]


def test_one_rank_holds_the_checkpoint_but_its_scales() -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=1)
    assert MODEL.checkpoint_bytes is not None
    assert MODEL.checkpoint_bytes - rank.total_bytes == 88 * 7 * 2 * 2, "1,232 BF16 scalars"


@pytest.mark.parametrize(("tp", "gib"), [(1, 4.989), (2, 2.506), (4, 1.264), (8, 0.643), (16, 0.333)])
def test_hugging_face_layout_shards_the_projector_too(tp: int, gib: float) -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=tp, rules=HF)
    assert round(rank.vision_bytes / 2**30, 3) == gib


def test_vision_was_replicated_before_0_20() -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=8, rules=BEFORE_0_20)
    assert rank.vision_bytes == CUDA_BYTES[1][1]


@pytest.mark.parametrize(
    ("tp", "first", "last"),
    [
        (1, 69_481_125_376, 64_124_706_816),
        (4, 17_647_392_256, 16_032_817_152),
        (8, 9_008_436_736, 8_017_502_208),
    ],
)
def test_two_pipeline_stages(tp: int, first: int, last: int) -> None:
    stages = rank_weights(MODEL, tensor_parallel_size=tp, pipeline_parallel_size=2)
    assert [stage.total_bytes for stage in stages] == [first, last]
    (whole,) = rank_weights(MODEL, tensor_parallel_size=tp)
    assert sum(stage.total_bytes for stage in stages) == whole.total_bytes


def test_text_only_has_no_tower_and_nothing_else_changes() -> None:
    (rank,) = rank_weights(MODEL, tensor_parallel_size=2, language_model_only=True)
    assert (rank.text_bytes, rank.vision_bytes) == (CUDA_BYTES[2][0], 0)


def test_a_draft_over_two_stages_needs_the_embedding_twice() -> None:
    with_draft = rank_weights(MODEL, tensor_parallel_size=8, pipeline_parallel_size=2, draft=True)
    without = rank_weights(MODEL, tensor_parallel_size=8, pipeline_parallel_size=2)
    assert with_draft[-1].text_bytes - without[-1].text_bytes == 131072 * 12288 * 2 // 8


def test_rope_table() -> None:
    assert rope_cache_bytes(MODEL) == 67_108_864


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5, 7, 8, 11, 88])
def test_every_layer_has_a_stage(stages: int) -> None:
    layers = split_layers(88, stages)
    assert sum(layers) == 88
    assert len(layers) == stages
    assert max(layers) - min(layers) <= 1
