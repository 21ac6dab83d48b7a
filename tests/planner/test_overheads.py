"""Closed forms against peaks that the engine's own code had on a fake device (MiB, CUDA, compute capability 9.0)."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.activation import (
    activation_phases,
    activations,
    images_of_a_step,
    unprofiled,
)
from planner.memory.kv_cache import KvGeometry
from planner.memory.overheads import (
    after_profiling,
    buffers,
    loading_transient_bytes,
)

from .shapes import MIB, STARTS, shape

# T, S, TP: encoder, forward, logits, sampler with --enforce-eager on 0.33.0
V2_EAGER = {
    (2048, 256, 1): (782.6, 507.7, 193.7, 578.7),
    (2048, 256, 8): (315.8, 281.7, 265.7, 578.7),
    (8192, 1024, 1): (1560.3, 1874.6, 618.6, 2155.6),
    (8192, 1024, 2): (993.1, 1202.6, 1002.6, 2155.6),
    (8192, 256, 4): (709.5, 1026.6, 488.6, 793.6),
    (16384, 1024, 1): (3893.6, 3815.3, 1023.3, 2560.3),
    (16384, 1024, 8): (1559.9, 2007.3, 1311.3, 2560.3),
    (16384, 128, 2): (2475.6, 2471.3, 826.3, 971.3),
    (8192, 16, 8): (626.8, 970.6, 347.5, 368.0),
}


# The same compiled: overall bytes
V2_DEFAULT_BYTES = {
    (2048, 256, 1): 820_575_744,
    (8192, 1024, 8): 2_260_354_560,
    (8192, 256, 2): 1_244_237_824,
    (16384, 1024, 1): 4_082_735_104,
    (16384, 128, 8): 2_317_345_280,
    (8192, 16, 4): 1_110_282_240,
}


# T, S, TP: encoder, forward, logits, second sampler pass with --enforce-eager on 0.28.0, runner V1 forced
V1_EAGER = {
    (2048, 256, 1): (1061.8, 521.3, 213.3, 664.3),
    (8192, 1024, 1): (2677.3, 1901.7, 669.7, 2272.8),
    (8192, 1024, 4): (1826.6, 1053.7, 989.7, 2272.8),
    (16384, 1024, 1): (15981.0, 3883.1, 1115.1, 2718.2),
    (16384, 128, 8): (14972.9, 2075.1, 885.1, 1106.2),
    (8192, 16, 2): (2110.2, 1229.7, 376.5, 403.5),
}


@pytest.mark.parametrize("key", V2_EAGER)
def test_v2_phases(key: tuple[int, int, int]) -> None:
    T, S, tp = key
    phases = activation_phases(shape("0.33.0", tp, T, S))
    assert [size / MIB for size in phases.values()] == pytest.approx(V2_EAGER[key], abs=0.06)


@pytest.mark.parametrize("key", V2_DEFAULT_BYTES)
def test_v2_compiled_peak(key: tuple[int, int, int]) -> None:
    T, S, tp = key
    peak = max(activation_phases(shape("0.33.0", tp, T, S, enforce_eager=False)).values())
    assert abs(peak - V2_DEFAULT_BYTES[key]) <= 46_592


@pytest.mark.parametrize("key", V1_EAGER)
def test_v1_phases_with_the_dense_mask(key: tuple[int, int, int]) -> None:
    T, S, tp = key
    phases = activation_phases(shape("0.28.0", tp, T, S, runner="v1"))
    assert [size / MIB for size in phases.values()] == pytest.approx(V1_EAGER[key], abs=0.15)


def test_text_only_and_draft_forward() -> None:
    text = shape("0.33.0", 1, 16384, 128, language_model_only=True)
    assert activation_phases(text)["forward"] / MIB == pytest.approx(3840, abs=0.1)
    compiled = activation_phases(text, eager=False)
    assert compiled["forward"] / MIB == pytest.approx(3392, abs=0.1)
    draft = shape("0.33.0", 1, 16384, 128, speculative_tokens=3)
    assert max(activation_phases(draft).values()) / MIB == pytest.approx(4583.3, abs=0.1)


# T, S: tensors made before and after "Model loading took" on 0.33.0, all TP alike
@pytest.mark.parametrize(
    ("T", "S", "engine_bytes"),
    [
        (2048, 256, 35_328 + 197_527_552),
        (8192, 1024, 139_776 + 790_110_208),
        (16384, 1024, 246_272 + 991_436_800),
        (16384, 128, 217_600 + 476_251_136),
        (8192, 16, 110_080 + 210_527_232),
    ],
)
def test_v2_buffers(T: int, S: int, engine_bytes: int) -> None:
    assert abs(buffers(shape("0.33.0", 8, T, S)).bytes - engine_bytes) < 8192


@pytest.mark.parametrize(
    ("T", "S", "mib"), [(8192, 1024, 256.36), (16384, 1024, 448.65), (16384, 128, 392.59), (2048, 256, 64.09)]
)
def test_v1_buffers(T: int, S: int, mib: float) -> None:
    assert buffers(shape("0.28.0", 1, T, S, runner="v1")).bytes / MIB == pytest.approx(mib, abs=0.02)


def test_attention_workspace_of_blackwell_lives_outside_the_budget() -> None:
    pool = KvGeometry(bytes_per_token=360448, block_size=16, null_block_reserved=True)
    blackwell = after_profiling(shape("0.33.0", 1, 16384, 1024, gpu="b200"), pool).bytes
    hopper = after_profiling(shape("0.33.0", 1, 16384, 1024), pool).bytes
    assert blackwell - hopper == 3_221_225_472 + 1024 * 16384 * 4


@pytest.mark.parametrize(("tp", "mib"), [(1, 2016), (2, 1008), (4, 504), (8, 252)])
def test_loading_holds_three_copies_of_a_shard(tp: int, mib: int) -> None:
    assert loading_transient_bytes(shape("0.33.0", tp, 8192, 1024)) == mib * MIB


# Points of the engine's own code that are in no facts file: version, TP, T, S, text only, drafted tokens, encoder,
# forward, logits, sampler; all --enforce-eager, with a draft
HELD_OUT = [
    ("0.24.0", 1, 8192, 1024, False, 3, 2_807_395_328, 2_396_770_816, 702_272_000, 4_530_720_256),
    ("0.24.0", 8, 8192, 16, False, 3, 1_828_553_728, 1_448_858_112, 393_204_224, 456_654_848),
    ("0.24.0", 8, 16384, 128, True, 3, 0, 2_936_012_800, 480_247_808, 980_432_896),
    ("0.26.0", 8, 8192, 1024, False, 1, 0, 1_468_039_680, 796_917_760, 496_546_304),
    ("0.27.0", 1, 8192, 1024, False, 3, 2_807_395_328, 2_569_671_168, 648_646_656, 650_265_088),
    ("0.27.0", 8, 16384, 128, True, 3, 0, 2_936_017_408, 477_102_080, 439_556_096),
    ("0.28.0", 1, 2048, 256, False, 3, 1_113_395_712, 633_034_240, 203_108_352, 203_514_368),
    ("0.28.0", 8, 8192, 1024, True, 3, 0, 1_468_043_776, 796_917_760, 496_550_400),
]


@pytest.mark.parametrize("point", HELD_OUT, ids=lambda point: "-".join(map(str, point[:6])))
def test_draft_phases_of_older_releases(point: tuple[str, int, int, int, bool, int, int, int, int, int]) -> None:
    version, tp, T, S, text_only, drafted, *engine = point
    phases = activation_phases(shape(version, tp, T, S, language_model_only=text_only, speculative_tokens=drafted))
    for name, size in zip(("encoder", "forward", "logits", "sampler"), engine, strict=True):
        assert abs(phases.get(name, 0) - size) <= 104_858, name


def test_an_encoder_that_is_not_profiled_comes_with_the_first_images() -> None:
    unseen = shape("0.26.0", 8, 16384, 128)
    assert "encoder" not in activation_phases(unseen)
    size = unprofiled(unseen)
    assert images_of_a_step(unseen) == 5
    seen = max(activation_phases(shape("0.27.0", 8, 16384, 128)).values())
    assert size.high_bytes == seen - activations(unseen).bytes
    assert 0 == size.low_bytes < size.bytes < size.high_bytes
    assert "profiles no image" in size.formula


def test_only_what_the_profile_left_out_is_unprofiled() -> None:
    assert unprofiled(shape("0.33.0", 8, 8192, 1024, enforce_eager=False)).high_bytes == 0
    assert unprofiled(shape("0.24.0", 8, 8192, 1024, enforce_eager=False)).high_bytes == 0
    greedy = unprofiled(shape("0.28.0", 8, 2048, 1024, enforce_eager=False))
    assert 0 < greedy.bytes <= greedy.high_bytes
    assert unprofiled(shape("0.33.0", 8, 8192, 16, language_model_only=True, enforce_eager=False)).high_bytes == 0


@pytest.mark.parametrize(("S", "text_only", "mib"), [(1024, True, 429), (128, True, 512), (1024, False, 136)])
def test_an_eager_step_leaves_holes_that_stay(S: int, text_only: bool, mib: int) -> None:
    """Starts of 0.33.0: cached when ready above the profiled peak, MiB; some 70 with images are in the budget."""
    size = unprofiled(shape("0.33.0", 1, 8192, S, language_model_only=text_only))
    assert size.bytes / MIB == pytest.approx(mib, abs=75)
    assert size.low_bytes <= mib * MIB <= size.high_bytes


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start["name"])
def test_measured_peaks_lie_within_the_bounds(start: dict[str, Any]) -> None:
    """Starts on one H200, first ones too; where runner V1 was asked for, it profiles as 0.24.0's does."""
    measured = shape(
        "0.24.0" if start["model_runner"] == 1 else "0.26.0", 1, start["max_num_batched_tokens"],
        start["max_num_seqs"], language_model_only=start["language_model_only"],
        enforce_eager=start["enforce_eager"], speculative_tokens=3 if start["draft"] else 0,
    )  # fmt: skip
    planned = activations(measured)
    assert planned.low_bytes <= start["measured"]["activation_peak_bytes"] + 2**20
    assert start["measured"]["activation_peak_bytes"] <= planned.high_bytes
