"""What a first start compiles and keeps, and what graphs and all-reduces take, as measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planner.accuracy.data import sibling
from planner.facts import load
from planner.memory.activation import (
    activation_phases,
    activations,
    cold_compile_bytes,
    held_copy_bytes,
)
from planner.memory.collectives import fused_all_reduce, fused_tokens
from planner.memory.graph_sizes import graph_sizes
from planner.memory.graphs import captured_graphs, graphs
from planner.memory.overheads import (
    buffers,
    context,
    outside_torch,
    segments,
)
from planner.memory.rank import RankShape

from .shapes import GIB, MIB, MODEL, STARTS, shape


@pytest.mark.parametrize(
    "start",
    [one for one in STARTS if one["model_runner"] == 2 and not one["enforce_eager"]],
    ids=lambda one: one["name"],
)
def test_captured_graphs_are_what_sequences_draft_and_layers_foretell(start: dict[str, Any]) -> None:
    whole = shape(
        "0.26.0", 1, start["max_num_batched_tokens"], start["max_num_seqs"], enforce_eager=False,
        speculative_tokens=3 if start["draft"] else 0,
    )  # fmt: skip
    layers = (replace(whole.model.layers[0], count=start["layers"]),)
    planned = captured_graphs(replace(whole, model=replace(whole.model, layers=layers)))
    assert abs(planned.bytes - start["measured"]["graphs_actual_bytes"]) <= 40 * MIB
    assert planned.low_bytes < planned.bytes < planned.high_bytes


def test_a_draft_makes_graphs_for_its_own_steps_too() -> None:
    plain, drafted = (
        captured_graphs(shape("0.26.0", 1, 8192, 128, enforce_eager=False, speculative_tokens=k)) for k in (0, 3)
    )
    full = captured_graphs(shape("0.26.0", 1, 8192, 512, enforce_eager=False))
    assert drafted.bytes > full.bytes > plain.bytes, "128 sequences make steps of 512 tokens"


@pytest.mark.parametrize(("method", "captured", "estimated"), [("eagle", -34, -75), ("ngram", -18, -67)])
def test_five_tokens_take_less_than_three_by_the_rows_of_a_step(method: str, captured: int, estimated: int) -> None:
    """Starts of 0.33.0 on one H200, MiB: 85 sequences of 6 tokens and no step of 512, and a draft's steps share all."""
    for what, mib in ((captured_graphs, captured), (graphs, estimated)):
        three, five = (
            what(_cut(shape("0.33.0", 1, 8192, 128, enforce_eager=False, spec_method=method, speculative_tokens=k), 8))
            for k in (3, 5)
        )
        assert (five.bytes - three.bytes) / MIB == pytest.approx(mib, abs=25)


def _cut(rank: RankShape, layers: int) -> RankShape:
    return replace(rank, model=replace(rank.model, layers=(replace(rank.model.layers[0], count=layers),)))


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start["name"])
def test_measured_terms_outside_torch_lie_within_the_bounds(start: dict[str, Any]) -> None:
    measured = shape("0.26.0", 1, start["max_num_batched_tokens"], start["max_num_seqs"])
    for term, key in ((outside_torch, "non_torch_bytes"), (context, "context_bytes")):
        planned = term(measured)
        assert planned.low_bytes <= start["measured"][key] <= planned.high_bytes
        assert planned.basis == "measured"


@pytest.mark.parametrize(
    ("version", "tp", "T", "S", "more", "mib"),
    [
        ("0.33.0", 1, 2048, 128, {}, 3192), ("0.33.0", 1, 4096, 128, {}, 3312), ("0.26.0", 1, 8192, 1024, {}, 3552),
        ("0.33.0", 1, 16384, 128, {}, 4032), ("0.26.0", 2, 8192, 1024, {}, 1778), ("0.26.0", 4, 8192, 1024, {}, 1056),
        ("0.26.0", 1, 8192, 1024, {"speculative_tokens": 3}, 4032),
        ("0.26.0", 1, 16384, 128, {"language_model_only": False}, 3904),
        ("0.26.0", 4, 8192, 1024, {"language_model_only": False}, 1056),
    ],
)  # fmt: skip
def test_a_first_start_peaks_where_it_was_measured(
    version: str, tp: int, T: int, S: int, more: dict[str, object], mib: int
) -> None:
    first = shape(version, tp, T, S, **({"language_model_only": True, "enforce_eager": False} | more))
    assert activations(first).bytes / MIB == pytest.approx(mib, abs=0.5)
    assert cold_compile_bytes(replace(first, enforce_eager=True), activation_phases(first)) == 0


@pytest.mark.parametrize(
    ("tp", "S", "layers", "more", "estimated", "captured"),
    [
        (1, 1024, 8, {}, 2572, 936), (1, 1024, 24, {}, 2684, 968), (1, 128, 24, {}, 624, 304),
        (1, 128, 24, {"language_model_only": False}, 784, 304), (1, 1024, 8, {"language_model_only": False}, 2562, 938),
        (2, 1024, 24, {}, 1154, 548), (2, 1024, 24, {"fused_all_reduce": "none"}, 1236, 598),
        (2, 1024, 8, {"language_model_only": False}, 1354, 496), (4, 1024, 88, {"fused_all_reduce": "none"}, 1730, 686),
        (1, 1024, 8, {"speculative_tokens": 3}, 6660, 4976),
        (4, 1024, 88, {"fused_all_reduce": "trtllm", "language_model_only": False}, 1722, 688),
        (4, 128, 88, {"fused_all_reduce": "trtllm"}, 616, 182),
    ],
)  # fmt: skip
def test_the_engine_subtracts_more_than_it_captures(
    tp: int, S: int, layers: int, more: dict[str, object], estimated: int, captured: int
) -> None:
    """Starts of 0.33.0 on H200 and H100, MiB: estimate and capture, each inside its bounds."""
    whole = shape("0.33.0", tp, 8192, S, **({"language_model_only": True, "enforce_eager": False} | more))
    rank = replace(whole, model=replace(whole.model, layers=(replace(whole.model.layers[0], count=layers),)))
    for term, mib in ((graphs(rank), estimated), (captured_graphs(rank), captured)):
        assert term.low_bytes <= mib * MIB <= term.high_bytes
        assert term.bytes / MIB == pytest.approx(mib, rel=0.11)
    assert graphs(replace(rank, enforce_eager=True)).bytes == 0


@pytest.mark.parametrize(
    ("tp", "sequences", "backend", "dearer"),
    [
        (2, 1024, "trtllm", 0), (2, 1024, "none", 11), (4, 1024, "trtllm", 11), (4, 1024, "none", 11),
        (8, 1024, "trtllm", 11),
        # The largest size, 256 tokens, is within vLLM's own all-reduce.
        (4, 128, "trtllm", 0), (4, 128, "none", 0),
    ],
)  # fmt: skip
def test_sizes_whose_all_reduce_goes_to_nccl_are_dearer(tp: int, sequences: int, backend: str, dearer: int) -> None:
    rank = shape("0.33.0", tp, 8192, sequences, enforce_eager=False, fused_all_reduce=backend)
    layers, row = rank.layers, next(row for row in load("graphs.toml")["captured"] if row["since"] == "0.33")
    attention = 32 * 96 // tp * graph_sizes(rank).tokens * 129 * 4
    found = graph_sizes(rank)
    pieces = found.steps * row["per_size_mib"] + found.full * row["per_layer_mib"] * layers
    nccl = dearer * (row["per_layer_unfused_mib"] - row["per_layer_mib"]) * layers
    assert captured_graphs(rank).bytes == pytest.approx(attention + (pieces + nccl) * MIB, abs=MIB)
    # Where multicast works, nothing may go there.
    by_default = captured_graphs(replace(rank, fused_all_reduce="auto"))
    assert by_default.low_bytes <= captured_graphs(rank).low_bytes


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_before_0_20_only_starts_that_fuse_make_the_workspace(tp: int) -> None:
    rank = shape("0.19.0", tp, 8192, 1024, enforce_eager=False)
    workspace = fused_all_reduce(rank)
    # Three allocations of the multicast granularity, and a communicator: what H100 showed beside 0.1 to 0.2 GiB.
    assert workspace.low_bytes == workspace.bytes == workspace.high_bytes > 3 * 512 * MIB
    together = workspace.bytes + outside_torch(rank).bytes
    assert 2.0 <= together / GIB <= 2.2
    for without in ({"enforce_eager": True}, {"linked": False}, {"pipeline_parallel_size": 2}):
        assert fused_all_reduce(replace(rank, **without)).high_bytes == 0


def test_larger_batches_than_the_workspace_are_not_fused() -> None:
    ranks = [shape("0.33.0", tp, 8192, 1024, enforce_eager=False) for tp in (2, 4, 8)]
    assert [fused_tokens(one) for one in ranks] == [2730, 85, 21]
    assert not any(fused_tokens(replace(one, fused_all_reduce="none")) for one in ranks)


QWEN = "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("version", "tp", "model", "more", "expected", "worst"),
    [
        ("0.28.0", 1, QWEN, {}, 1, 1), ("0.28.0", 1, "Qwen/Qwen3-8B", {}, 0, 1), ("0.26.0", 1, QWEN, {}, 0, 0),
        ("0.28.0", 1, f"{QWEN}-AWQ", {}, 1, 1), ("0.28.0", 1, "RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic", {}, 0, 1),
        # From 0.29 on a hidden state of 14 MiB takes the workspace, one of 6 does not.
        ("0.29.0", 1, QWEN, {}, 0, 1), ("0.30.0", 1, "Qwen/Qwen2.5-1.5B-Instruct", {}, 1, 1),
        ("0.33.0", 1, QWEN, {}, 0, 0), ("0.28.0", 2, QWEN, {}, 0, 0),
        ("0.28.0", 1, QWEN, {"enforce_eager": True}, 0, 0),
    ],
)  # fmt: skip
def test_a_first_compilation_may_leave_its_copy_of_the_embedding(
    version: str, tp: int, model: str, more: dict[str, object], expected: int, worst: int
) -> None:
    first = shape(version, tp, 2048, 256, gpu="rtx-3090", **({"enforce_eager": False} | more))
    first = replace(first, model=sibling(model))
    copy_bytes = 2 * first.model.vocab_size * first.model.hidden_size
    assert held_copy_bytes(first) == expected * copy_bytes
    assert held_copy_bytes(first, worst=True) == worst * copy_bytes
    assert segments(first).high_bytes >= worst * copy_bytes >= segments(first).low_bytes * worst


def test_a_first_compilation_with_images_keeps_no_copy_of_the_embedding() -> None:
    first = shape("0.28.0", 1, 2048, 256, gpu="rtx-3090", enforce_eager=False)
    for text_only, kept in ((True, True), (False, False)):
        one = replace(first, model=replace(sibling(QWEN), vision=MODEL.vision), language_model_only=text_only)
        assert (held_copy_bytes(one) > 0) == (held_copy_bytes(one, worst=True) > 0) == kept


@pytest.mark.parametrize(("tokens", "measured_mib"), [(16384, 2112), (32768, 4226)])
def test_a_compiled_16_bit_forward_on_ampere_is_inductors_plan(tokens: int, measured_mib: float) -> None:
    """Qwen2.5-7B on one RTX 3090, vLLM 0.29.0: the printed peak less the graph estimate in it."""
    first = replace(shape("0.29.0", 1, tokens, 64, gpu="rtx-3090", enforce_eager=False), model=sibling(QWEN))
    assert activations(first).bytes == pytest.approx(measured_mib * MIB, abs=8 * MIB)


def test_fp4_is_quantised_where_it_is_activated() -> None:
    """On Blackwell NVFP4 keeps no 16-bit activation beside the MLP's input; a Hopper card has no such kernel."""
    model = sibling("ggamecrazy/Qwen3-32B-NVFP4-W4A4")
    blackwell, hopper = (
        activation_phases(replace(shape("0.31.0", 1, 16384, 512, gpu=gpu, enforce_eager=False), model=model))["forward"]
        for gpu in ("b200", "h200")
    )
    F, H = model.intermediate_size, model.hidden_size
    assert blackwell == 16384 * (6 * H + 4 * F + max(3 * H, 9 * F // 16))
    assert hopper == 16384 * (6 * H + 7 * F)


def test_looking_for_repeats_on_the_gpu_holds_every_token_there() -> None:
    drafted: dict[str, Any] = {"speculative_tokens": 3, "max_model_len": 40_960}
    ngram = buffers(shape("0.33.0", 1, 8192, 1024, spec_method="ngram", **drafted), None)
    suffix = buffers(shape("0.33.0", 1, 8192, 1024, spec_method="suffix", **drafted), None)
    assert ngram.bytes - suffix.bytes == 169_271_808 - 139_776, "counted on an H200, masks apart"
    short = buffers(shape("0.33.0", 1, 8192, 1024, spec_method="ngram", speculative_tokens=3, max_model_len=40), None)
    assert "best match of 1 blocks 1024 x 1 x 8" in short.formula
    host = shape("0.31.0", 1, 8192, 1024, runner="v1", spec_method="ngram", **drafted)
    assert "token ids" not in buffers(host, None).formula, "V1 looks for them on the host"
