"""The transient peak of the engine's profile run, by phase; pure formulas, coefficients from ``facts/overheads.toml``.

Symbols, as in vLLM: ``T`` max_num_batched_tokens, ``S`` max_num_seqs, ``N = min(T, S)``, ``H`` hidden size, ``F``
intermediate size, ``V`` vocabulary, ``D`` and ``Fv`` the vision tower's, ``P`` patches of the profiled images.
"""

from __future__ import annotations

from typing import Any

from hw_specs.units import format_gib
from planner.facts import load
from planner.facts.release import parse_version
from planner.memory.rank import Calibration, RankShape, measured_term
from planner.memory.term import Term, nothing
from planner.model import VisionSpec

POINTER_ALIGNMENT = 512


def images_of_a_step(shape: RankShape) -> int:
    """Images of the largest size that one step encodes, in the profile run too; the budget counts embeddings.

    Source: vLLM 0.33.0 multimodal/encoder_budget.py; ``--limit-mm-per-prompt`` of 1 or more does not change it.
    """
    if shape.vision is None:
        return 0
    item = shape.vision.max_image_embeddings
    tokens = max(shape.max_num_batched_tokens, item)
    return max(1, min(tokens // item, shape.max_num_seqs * max(1, shape.max_model_len // item)))


def _vision_rope_bytes(vision: VisionSpec) -> int:
    """The tower's rotary table, complex64."""
    side = vision.max_image_size // vision.patch_size
    return side * side * (vision.hidden_size // vision.num_attention_heads // 2) * 8


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // POINTER_ALIGNMENT) * POINTER_ALIGNMENT


def _pixels_bytes(vision: VisionSpec, images: int) -> int:
    return images * vision.num_channels * vision.max_image_size**2 * 2


def _encoder_bytes(shape: RankShape, vision: VisionSpec, images: int, *, eager: bool) -> int:
    """Peak of the vision encoder over `images` of the largest size."""
    tp = shape.tensor_parallel_size if shape.release.vision_sharded else 1
    eager = eager and shape.release.eager_norm_kernel
    D, Fv = vision.hidden_size, vision.intermediate_size
    P = images * vision.max_image_patches
    positions = vision.hidden_size // vision.num_attention_heads // 2 * 8 + 16
    if shape.release.dense_vision_mask:
        misc = _pixels_bytes(vision, images) + _vision_rope_bytes(vision) + positions * P
        mask = 2 * P * P
        # SDPA copies a mask whose rows are no multiple of 8 elements, one copy per layer.
        attention = P * (8 * D + 12 * D // tp + 8) + mask * (2 if P % 8 else 1)
        mlp = P * (10 * D + 6 * Fv // tp) + mask
        reduced = P * (14 * D + 2 * Fv // tp if eager else 22 * D + 4) + mask if tp > 1 else 0
        return max(attention, mlp, reduced) + misc
    misc = _pixels_bytes(vision, images) + _vision_rope_bytes(vision) + positions * P
    mlp = P * (10 * D + 6 * Fv // tp)
    if eager:
        norm = P * (14 * D + 2 * Fv // tp) if tp > 1 else 0
    else:
        norm = P * ((22 if tp > 1 else 20) * D + 4)
    return max(mlp, norm) + misc


def activation_phases(
    shape: RankShape, *, eager: bool | None = None, images: int | None = None, sampling: str | None = None
) -> dict[str, int]:
    """Peak bytes above the loaded model, by phase: of the profile run, or of a step with `images` and `sampling`.

    Keys are ``encoder``, ``forward``, ``logits`` and ``sampler``, as far as this rank runs them. Within 0.1 MiB of
    every release's own code on a fake device (``facts/engine``), except the compiled forward, which rests on
    Inductor's buffer plan of one piece.
    """
    eager = shape.enforce_eager if eager is None else eager
    if images is None:
        images = images_of_a_step(shape) if shape.release.encoder_profiled else 0
    facts = load("overheads.toml")["activations"]
    tp, T, V = shape.tensor_parallel_size, shape.max_num_batched_tokens, shape.model.vocab_size
    H, F = shape.model.hidden_size, shape.model.intermediate_size
    N = min(T, shape.max_num_seqs)
    phases: dict[str, int] = {}
    held = 0
    v1 = shape.release.model_runner == "v1"
    if shape.vision is not None and images:
        phases["encoder"] = _encoder_bytes(shape, shape.vision, images, eager=eager)
        held = images * shape.vision.max_image_embeddings * H * 2 + _aligned(_vision_rope_bytes(shape.vision))
        if v1:
            held += _pixels_bytes(shape.vision, images)
    inputs = max(facts["linear_input_bytes"][group.mlp.name] for group in shape.model.layers)
    wide = 2 * H if inputs > 1 else 0  # a 16-bit input stays beside the residual, an FP8 one does not
    forward = T * max(4 * H + wide + 6 * F // tp, 8 * H + 2 * F // tp if tp > 1 else 0)
    if eager and (shape.vision is None or (shape.speculative_tokens and not shape.release.draft_takes_images)):
        forward += 2 * T * H  # token embeddings are made inside
    if not eager:
        forward = T * max(
            2 * H // tp + 4 * H + 4 * F // tp + inputs * max(H, F // tp),
            2 * H // tp + (8 + min(inputs, 2)) * H + 32 if tp > 1 else 0,
        )
    if shape.speculative_tokens:
        forward += 2 * T * H * 2
    if shape.pipeline_parallel_size > 1:
        forward += 4 * T * H  # hidden states and residual that travel between stages
    phases["forward"] = forward + held
    if shape.last_stage:
        rows = 2 * T * H + 2 * N * H * (2 if v1 else 1) + held
        phases["logits"] = rows + 2 * N * V + (2 * N * V + 2 * N * V // tp if tp > 1 else 0)
        phases["sampler"] = rows + _sampler_bytes(shape, facts, N, V, sampling or shape.release.profiled_sampling)
    return phases


def _sampler_bytes(shape: RankShape, facts: dict[str, Any], N: int, V: int, sampling: str) -> int:
    """Sampling `N` rows of `V` logits: with every feature on, or greedily."""
    per_row = facts["sampler_bytes_per_row"] * N
    if sampling != "full":
        return int(facts["greedy_sampler_bytes_per_logit"][sampling] * N * V + per_row)
    sampler = load("overheads.toml")["sampler"]
    flashinfer = shape.release.flashinfer_sampler and shape.gpu.vendor in sampler["flashinfer_vendors"]
    workspace = facts["flashinfer_workspace_bytes"] if flashinfer else 0
    units = shape.gpu.compute_units or sampler["default_compute_units"]
    scratch = min(N, units) * V * 4
    if shape.release.model_runner == "v1":
        rejection = facts["rejection_sampler_bytes_per_logit"] if shape.speculative_tokens else 0
        return int((facts["sampler_bytes_per_logit"] + rejection) * N * V + workspace + scratch)
    if flashinfer:
        return int(facts["sampler_bytes_per_logit"] * N * V + workspace)
    return int(facts["native_sampler_bytes_per_logit"] * N * V + scratch + per_row)


def activations(shape: RankShape, calibration: Calibration | None = None) -> Term:
    """The transient peak of the profile run: the largest of its phases, with bounds."""
    measured = measured_term("activations", calibration)
    if measured is not None:
        return measured
    facts = load("overheads.toml")["activations"]
    phases = activation_phases(shape)
    peak = max(phases, key=phases.__getitem__)
    workspace = _workspace_bytes(shape)
    compiled = 0 if shape.enforce_eager else _compiled_excess_bytes(shape, facts)
    expected = max(phases[peak], phases["forward"] + compiled)
    if expected > phases[peak]:
        peak = "forward"
    worst = max(
        expected,
        *activation_phases(shape, eager=not shape.enforce_eager).values(),
        phases["forward"] + compiled + cold_compile_bytes(shape),
    )
    bounds = "high: the other execution mode, the first start's compilation, workspaces inside kernels"
    return Term(
        name="activations",
        bytes=expected + workspace,
        low_bytes=phases[peak],
        high_bytes=worst + max(workspace, facts["bounds"]["unseen_high_bytes"]),
        basis="derived",
        source=facts["source"],
        formula=f"max of {', '.join(f'{name} {format_gib(size)}' for name, size in phases.items())} GiB: {peak}"
        + (f", {format_gib(compiled)} more when compiled" if compiled and peak == "forward" else "")
        + (f", and a GEMM workspace of {format_gib(workspace)}" if workspace else ""),
        bounds=bounds,
    )


def _compiled_excess_bytes(shape: RankShape, facts: dict[str, Any]) -> int:
    """What a compiled forward takes above Inductor's plan."""
    return int(facts["compiled"]["hidden_bytes"] * shape.model.hidden_size * shape.max_num_batched_tokens)


def cold_compile_bytes(shape: RankShape) -> int:
    """What the first compiled start of a configuration peaks above later ones; nothing when it runs eagerly."""
    facts = load("overheads.toml")["activations"]["cold_compile"]
    if shape.enforce_eager or parse_version(shape.release.version) < parse_version(facts["since"]):
        return 0
    T, tp = shape.max_num_batched_tokens, shape.tensor_parallel_size
    hidden, inner = shape.model.hidden_size, shape.model.intermediate_size
    drafts = shape.speculative_tokens > 0
    if shape.vision is not None:
        return int(T * (facts["with_images_bytes_per_token"] + drafts * facts["draft_with_images_bytes_per_token"]))
    text = facts["hidden_bytes"] * hidden + facts["intermediate_bytes"] * inner // tp
    return int(T * (text + drafts * facts["draft_hidden_bytes"] * hidden))


def _workspace_bytes(shape: RankShape) -> int:
    """The GEMM library's first workspace, where it falls into the profile run."""
    if not shape.release.workspace_counted:
        return 0
    for row in load("overheads.toml")["gemm_workspace"]:
        if row["vendor"] == shape.gpu.vendor and shape.gpu.architecture.startswith(tuple(row["architectures"])):
            return int(row["bytes"])
    return 0


def unprofiled(shape: RankShape) -> Term:
    """What serving takes above a profile run without images or with greedy sampling: it comes with such requests.

    Expected with one image of the largest size at a time; at most with a step full of them.
    """
    release, rules = shape.release, load("vllm.toml")["rules"]
    step = images_of_a_step(shape)
    gaps: list[str] = []
    sources: list[str] = []
    if step and not release.encoder_profiled:
        gaps.append(f"no image, where a step encodes up to {step}")
        sources.append(rules["encoder_profiled"]["source"])
    if shape.last_stage and release.profiled_sampling != "full":
        gaps.append("no sampling but greedy")
        sources.append(rules["profiled_sampling"]["source"])
    if not gaps:
        return nothing("unprofiled", "all is profiled", rules["encoder_profiled"]["source"])
    profiled = max(activation_phases(shape).values())
    usual = step if release.encoder_profiled else min(step, 1)
    expected, worst = (
        max(0, max(activation_phases(shape, images=images, sampling="full").values()) - profiled)
        for images in (usual, step)
    )
    return Term(
        name="unprofiled",
        bytes=expected,
        low_bytes=0,
        high_bytes=worst,
        basis="derived",
        source="; ".join(sources),
        formula=f"vLLM {release.version} profiles {' and '.join(gaps)}: "
        f"serving takes up to {format_gib(worst)} GiB more",
        bounds="low: no such request; high: as many images of the largest size as a step encodes",
    )
