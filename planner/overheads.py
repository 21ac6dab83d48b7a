"""What one rank needs beside weights and KV cache; pure formulas, coefficients from ``facts/overheads.toml``.

Symbols, as in vLLM: ``T`` max_num_batched_tokens, ``S`` max_num_seqs, ``N = min(T, S)``, ``H`` hidden size, ``F``
intermediate size, ``V`` vocabulary, ``D`` and ``Fv`` the vision tower's, ``P`` patches of the profiled images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hw_specs.spec import Basis, GpuSpec
from hw_specs.units import GIB, format_gib, gib
from planner.facts import load
from planner.kv_cache import KvGeometry
from planner.model import ModelSpec, VisionSpec
from planner.release import Release, parse_version
from planner.weights import split_layers

POINTER_ALIGNMENT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A size with its bounds and where they come from."""

    bytes: int
    low_bytes: int
    high_bytes: int
    basis: Basis
    source: str
    formula: str = ""
    bounds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one start-up measured, in the shape of the ledger's terms."""

    model: str
    gpu: str
    """Catalogue id."""
    vllm_version: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    language_model_only: bool
    enforce_eager: bool
    speculative_tokens: int
    terms: Mapping[str, int] = field(hash=False)
    """Ledger term → measured bytes: ``activations``, ``outside_torch``, ``graphs``, ``buffers`` …"""
    run: str
    """Which start-up, for people."""
    measured_on: str = ""
    """ISO date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Everything the overhead formulas look at, for one rank."""

    model: ModelSpec
    gpu: GpuSpec
    release: Release
    tensor_parallel_size: int
    pipeline_parallel_size: int
    first_stage: bool
    last_stage: bool
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    language_model_only: bool
    enforce_eager: bool
    speculative_tokens: int

    @property
    def world_size(self) -> int:
        """Ranks of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def layers(self) -> int:
        """Most decoder layers of any rank, the draft's on the last one included."""
        draft = self.model.draft if self.speculative_tokens and self.last_stage else None
        layers = max(split_layers(self.model.num_hidden_layers, self.pipeline_parallel_size))
        return layers + (draft.num_hidden_layers if draft else 0)

    @property
    def vision(self) -> VisionSpec | None:
        """The tower when this rank profiles it."""
        return self.model.vision if self.first_stage and not self.language_model_only else None


def images_of_a_step(shape: Shape) -> int:
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


def _encoder_bytes(shape: Shape, vision: VisionSpec, images: int, *, eager: bool) -> int:
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
    shape: Shape, *, eager: bool | None = None, images: int | None = None, sampling: str | None = None
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


def _sampler_bytes(shape: Shape, facts: dict[str, Any], N: int, V: int, sampling: str) -> int:
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


def activations(shape: Shape, calibration: Calibration | None = None) -> Size:
    """The transient peak of the profile run: the largest of its phases, with bounds."""
    measured = _measured("activations", calibration)
    if measured is not None:
        return measured
    facts = load("overheads.toml")["activations"]
    phases = activation_phases(shape)
    peak = max(phases, key=phases.__getitem__)
    workspace = _workspace_bytes(shape)
    worst = max(*phases.values(), *activation_phases(shape, eager=not shape.enforce_eager).values())
    excess = facts["bounds"]["forward_excess_bytes"] * shape.model.hidden_size * shape.max_num_batched_tokens
    worst = max(worst, int(phases["forward"] + excess))
    bounds = "high: the other execution mode, the measured excess of a compiled forward, workspaces inside kernels"
    return Size(
        bytes=phases[peak] + workspace,
        low_bytes=phases[peak],
        high_bytes=worst + max(workspace, facts["bounds"]["unseen_high_bytes"]),
        basis="derived",
        source=facts["source"],
        formula=f"max of {', '.join(f'{name} {format_gib(size)}' for name, size in phases.items())} GiB: {peak}"
        + (f", and a GEMM workspace of {format_gib(workspace)}" if workspace else ""),
        bounds=bounds,
    )


def _workspace_bytes(shape: Shape) -> int:
    """The GEMM library's first workspace, where it falls into the profile run."""
    if not shape.release.workspace_counted:
        return 0
    for row in load("overheads.toml")["gemm_workspace"]:
        if row["vendor"] == shape.gpu.vendor and shape.gpu.architecture.startswith(tuple(row["architectures"])):
            return int(row["bytes"])
    return 0


def unprofiled(shape: Shape) -> Size:
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
        return _nothing("all is profiled", rules["encoder_profiled"]["source"])
    profiled = max(activation_phases(shape).values())
    usual = step if release.encoder_profiled else min(step, 1)
    expected, worst = (
        max(0, max(activation_phases(shape, images=images, sampling="full").values()) - profiled)
        for images in (usual, step)
    )
    return Size(
        bytes=expected,
        low_bytes=0,
        high_bytes=worst,
        basis="derived",
        source="; ".join(sources),
        formula=f"vLLM {release.version} profiles {' and '.join(gaps)}: "
        f"serving takes up to {format_gib(worst)} GiB more",
        bounds="low: no such request; high: as many images of the largest size as a step encodes",
    )


def buffers(shape: Shape, calibration: Calibration | None = None) -> Size:
    """Tensors the runner keeps: sampling tables, input embeddings, block tables, by runner generation."""
    if not shape.release.buffers_counted:
        rule = load("vllm.toml")["rules"]["buffers_counted"]
        return _nothing(f"vLLM {shape.release.version} does not subtract them", rule["source"])
    return _measured("buffers", calibration) or _buffers(shape)


def uncounted_buffers(shape: Shape) -> Size:
    """The same tensors where the engine does not subtract them: they live in the slack."""
    return _nothing("in the budget already", "") if shape.release.buffers_counted else _buffers(shape)


def _buffers(shape: Shape) -> Size:
    facts = load("overheads.toml")["buffers"]
    T, S, V, H = shape.max_num_batched_tokens, shape.max_num_seqs, shape.model.vocab_size, shape.model.hidden_size
    k = shape.speculative_tokens
    small = facts[shape.release.model_runner]
    rest = int(small["constant_bytes"] + small["per_token_bytes"] * T + small["per_sequence_bytes"] * S)
    parts: dict[str, int] = {}
    if shape.release.model_runner == "v1":
        blocks = -(-shape.max_model_len // 16)
        parts[f"embeddings {T} x {H} x 2"] = T * H * 2
        parts[f"block table {S} x {blocks} x 4"] = S * blocks * 4
    else:
        if shape.last_stage:
            parts[f"output counts {S} x {V} x 4"] = S * V * 4
            parts[f"masks {2 + k} x {S} x {V} / 8"] = S * V // 8 + S * (1 + k) * V // 8
            rest += 3 * S * 1024 * 4 + S * 128 * 4 + S * 1024 * 4 + S * 129 * 4
        if shape.vision is not None:
            parts[f"image embeddings {T} x {H} x 2"] = T * H * 2
    if k:
        parts[f"draft states {T} x {H} x 2"] = T * H * 2
        parts[f"draft embeddings {draft_embeddings_bytes(shape) // (2 * H)} x {H} x 2"] = draft_embeddings_bytes(shape)
    size_bytes = sum(parts.values()) + rest
    return Size(
        bytes=size_bytes,
        low_bytes=size_bytes,
        high_bytes=size_bytes,
        basis="derived",
        source=facts["source"],
        formula=" + ".join([*(f"{what} B" for what in parts), f"small tables {rest:,} B"]),
        bounds=facts["bounds"],
    )


def draft_embeddings_bytes(shape: Shape) -> int:
    """The draft's input embeddings, where they have a tensor of their own: always on runner V1, for images on V2."""
    images = not shape.language_model_only and shape.model.vision is not None
    takes = shape.release.model_runner == "v1" or (images and shape.release.draft_takes_images)
    return 2 * shape.max_num_batched_tokens * shape.model.hidden_size if takes else 0


def outside_torch(shape: Shape, calibration: Calibration | None = None) -> Size:
    """Memory outside torch that appears while profiling and therefore counts against the KV budget."""
    return _measured("outside_torch", calibration) or _row("outside_torch", shape)


def graphs(shape: Shape, calibration: Calibration | None = None) -> Size:
    """The graph estimate that the engine subtracts; nothing when it runs eagerly or does not subtract it."""
    facts = load("overheads.toml")["graphs"]
    if shape.enforce_eager:
        return _nothing("no graphs with --enforce-eager", facts[0]["source"])
    if shape.gpu.vendor not in shape.release.graph_estimate_vendors:
        rule = load("vllm.toml")["rules"]["graph_estimate_vendors"]
        return _nothing(f"vLLM {shape.release.version} does not subtract them on this vendor", rule["source"])
    return _measured("graphs", calibration) or _row("graphs", shape)


def context(shape: Shape) -> Size:
    """What is gone before the engine takes stock: outside its budget, inside the slack."""
    return _row("context", shape)


def after_profiling(shape: Shape, geometry: KvGeometry) -> Size:
    """What the engine allocates after the budget is decided: block tables, slot mapping, attention workspace."""
    blocks = geometry.blocks_for(shape.max_model_len)
    size_bytes = shape.max_num_batched_tokens * 8
    if shape.release.model_runner == "v2":
        size_bytes += 2 * shape.max_num_seqs * blocks * 4
    source = "vllm 0.33.0 initialize_kv_cache executed on a fake device"
    for row in load("overheads.toml")["attention_workspace"]:
        if shape.gpu.architecture.startswith(row["architecture_prefix"]):
            heads = shape.model.num_attention_heads // shape.tensor_parallel_size
            size_bytes += (
                max(row["min_bytes"], shape.max_num_batched_tokens * heads * row["bytes_per_token_head"])
                + row["index_bytes_per_block"] * shape.max_num_seqs * blocks
            )
            source = row["source"]
    return Size(bytes=size_bytes, low_bytes=size_bytes, high_bytes=size_bytes, basis="derived", source=source)


def unsubtracted_graphs(shape: Shape) -> Size:
    """Graph memory that the engine captures without having subtracted it: it lives in the slack."""
    if shape.enforce_eager or shape.gpu.vendor in shape.release.graph_estimate_vendors:
        return _nothing("in the budget already", "")
    return _row("graphs", shape)


def loading_transient_bytes(shape: Shape) -> int:
    """Bytes beside the weights while they load: requantised shards, or the draft's own embedding."""
    per_element = load("vllm.toml")["loading"]["requantise_bytes_per_element"]["value"]
    model, tp = shape.model, shape.tensor_parallel_size
    fp8 = any(group.mlp.name == "fp8" for group in model.layers)
    shard = per_element * model.hidden_size * model.intermediate_size // tp if fp8 else 0
    draft = model.vocab_size * model.hidden_size * 2 // tp if shape.speculative_tokens and shape.last_stage else 0
    return max(shard, draft)


def _row(table: str, shape: Shape) -> Size:
    """First row of `table` whose keys all match; a size may grow with the layers of the rank."""
    return _sized_row(
        table,
        vendor=shape.gpu.vendor,
        architecture=shape.gpu.architecture,
        linked=shape.gpu.link.fully_connected,
        version=shape.release.version,
        world_size=shape.world_size,
        tensor_parallel_size=shape.tensor_parallel_size,
        layers=shape.layers,
    )


@lru_cache(maxsize=1024)
def _sized_row(
    table: str,
    *,
    vendor: str,
    architecture: str,
    linked: bool,
    version: str,
    world_size: int,
    tensor_parallel_size: int,
    layers: int,
) -> Size:
    release = parse_version(version)

    def applies(row: Mapping[str, Any]) -> bool:
        """Whether every key of `row` matches; a key that is missing matches everything."""
        return (
            row["vendor"] == vendor
            and row.get("min_world", 1) <= world_size <= row.get("max_world", world_size)
            and row.get("min_tp", 1) <= tensor_parallel_size <= row.get("max_tp", tensor_parallel_size)
            and architecture.startswith(tuple(row.get("architectures", ("",))))
            and row.get("linked", linked) == linked
            and ("until" not in row or release < parse_version(row["until"]))
        )

    row = next((row for row in load("overheads.toml")[table] if applies(row)), None)
    if row is None:
        raise LookupError(f"{table}: no row for {vendor} with {world_size} ranks")
    per_layer = row.get("per_layer_gib", 0.0)
    expected = row["expected_gib"] + per_layer * layers
    low, high = row["low_gib"] + per_layer * layers, row["high_gib"] + per_layer * layers
    low = max(low, row.get("floor_gib", 0.0))
    grown = f"{row['expected_gib']} + {per_layer} x {layers} layers = " if per_layer else ""
    return Size(
        bytes=gib(expected),
        low_bytes=gib(low),
        high_bytes=gib(high),
        basis=row["basis"],
        source=row["source"],
        formula=f"{grown}{expected:.2f} GiB",
        bounds=f"{low:.2f} to {high:.2f} GiB: {row['bounds']}",
    )


def _nothing(why: str, source: str) -> Size:
    return Size(bytes=0, low_bytes=0, high_bytes=0, basis="exact", source=source, formula=why)


def _measured(term: str, calibration: Calibration | None) -> Size | None:
    """The measured size of `term`, where this machine has one."""
    if calibration is None or term not in calibration.terms:
        return None
    size_bytes = calibration.terms[term]
    spread = load("overheads.toml")["calibrated"]["spread_bytes"]
    return Size(
        bytes=size_bytes,
        low_bytes=max(0, size_bytes - spread),
        high_bytes=size_bytes + spread,
        basis="measured",
        source=f"measured here: {calibration.run}",
        formula=f"{size_bytes / GIB:.2f} GiB measured",
        bounds=load("overheads.toml")["calibrated"]["source"],
    )
