"""The transient peak of the engine's profile run, by phase; pure formulas, coefficients from ``facts/overheads.toml``.

Symbols, as in vLLM: ``T`` max_num_batched_tokens, ``S`` max_num_seqs, ``N = min(T, S)``, ``H`` hidden size, ``F``
intermediate size, ``V`` vocabulary, ``D`` and ``Fv`` the vision tower's, ``P`` patches of the profiled images.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from hw_specs.units import format_gib
from planner.facts.overheads import Activations, overhead_facts
from planner.facts.release import parse_version
from planner.facts.vllm import vllm_facts
from planner.memory.rank import Calibration, RankShape, measured_term
from planner.memory.term import Term, nothing
from planner.model import VisionSpec


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
    step = overhead_facts().allocator.alignment_bytes
    return -(-size_bytes // step) * step


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
        # SDPA copies a mask whose rows are not a multiple of 8 elements, one copy per layer.
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
    facts = overhead_facts().activations
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
    inputs, _ = _inputs(shape)
    wide = 2 * H if inputs > 1 else 0  # a 16-bit input stays beside the residual, an FP8 one does not
    forward = T * max(4 * H + wide + 6 * F // tp, 8 * H + 2 * F // tp if tp > 1 else 0)
    text = shape.vision is None or (shape.draft_model and not shape.release.draft_takes_images)
    if eager and text and (v1 or shape.first_stage):
        forward += 2 * T * H  # token embeddings are made inside
    if not eager:
        forward = T * _planned_tokens(shape)
    if shape.draft_model:
        read = shape.model.draft.states_read if shape.model.draft else 1
        # EAGLE-3 keeps the hidden states of further layers until the step has ended.
        forward += 2 * T * H * (2 if eager else 1) + 2 * T * H * (read if read > 1 else 0)
    if shape.pipeline_parallel_size > 1 and v1:
        forward += 4 * T * H  # hidden states and residual that travel between stages; V2 keeps them
    phases["forward"] = forward + held
    if shape.last_stage:
        rows = 2 * T * H + 2 * N * H * (2 if v1 else 1) + held
        phases["logits"] = rows + 2 * N * V + (2 * N * V + 2 * N * V // tp if tp > 1 else 0)
        phases["sampler"] = rows + _sampler_bytes(shape, facts, N, V, sampling or shape.release.profiled_sampling)
    return phases


def _inputs(shape: RankShape) -> tuple[int, float]:
    """Bytes per element of a linear layer's input, and of what the activation makes beside the MLP's own input."""
    return _input_bytes(_mlp_formats(shape), shape.gpu.architecture)


def _mlp_formats(shape: RankShape) -> frozenset[str]:
    return frozenset([group.mlp.name for group in shape.model.layers])


@cache
def _input_bytes(formats: frozenset[str], architecture: str) -> tuple[int, float]:
    """The same for MLPs of these formats."""
    facts = overhead_facts().activations
    each = {name: facts.linear_input_bytes[name] for name in formats}
    if not architecture.startswith(facts.activated_architectures):
        return max(each.values()), max(each.values())
    return max(each.values()), max(facts.activated_bytes.get(name, size) for name, size in each.items())


def _planned_tokens(shape: RankShape) -> int:
    """Bytes per token of a compiled forward as Inductor plans it: in the MLP, or between all-reduce and norm."""
    tp, H, F = shape.tensor_parallel_size, shape.model.hidden_size, shape.model.intermediate_size
    inputs, activated = _inputs(shape)
    mlp = 2 * H // tp + 4 * H + 4 * F // tp + int(max(inputs * H, activated * (F // tp)))
    return max(mlp, _around_all_reduce(shape))


def _around_all_reduce(shape: RankShape) -> int:
    """Bytes per token of a compiled piece between an all-reduce and the norm after it; 0 on one rank."""
    tp, H = shape.tensor_parallel_size, shape.model.hidden_size
    inputs, _ = _inputs(shape)
    return 2 * H // tp + (8 + min(inputs, 2)) * H + 32 if tp > 1 else 0


def _sampler_bytes(shape: RankShape, facts: Activations, N: int, V: int, sampling: str) -> int:
    """Sampling `N` rows of `V` logits: with every feature on, or greedily."""
    per_row = facts.sampler_bytes_per_row * N
    if sampling != "full":
        return int(facts.greedy_sampler_bytes_per_logit[sampling] * N * V + per_row)
    sampler = overhead_facts().sampler
    flashinfer = shape.release.flashinfer_sampler and shape.gpu.vendor in sampler.flashinfer_vendors
    workspace = facts.flashinfer_workspace_bytes if flashinfer else 0
    units = shape.gpu.compute_units or sampler.default_compute_units
    scratch = min(N, units) * V * 4
    if shape.release.model_runner == "v1":
        rejection = facts.rejection_sampler_bytes_per_logit if shape.speculative_tokens else 0
        return int((facts.sampler_bytes_per_logit + rejection) * N * V + workspace + scratch)
    if flashinfer:
        return int(facts.sampler_bytes_per_logit * N * V + workspace)
    return int(facts.native_sampler_bytes_per_logit * N * V + scratch + per_row)


def activations(shape: RankShape, calibration: Calibration | None = None) -> Term:
    """The transient peak of the profile run: the largest of its phases, with bounds.

    Expected is a first start, which compiles; the low bound a later one, which loads what was compiled.
    """
    measured = measured_term("activations", calibration)
    if measured is not None:
        return measured
    facts = overhead_facts().activations
    planned, workspace = activation_phases(shape), _workspace_bytes(shape)
    warm = _later_phases(shape, planned)
    later, first = max(warm.values()), cold_compile_bytes(shape, planned)
    expected = max(later, first)
    worst = max(
        expected,
        cold_compile_bytes(shape, planned, worst=True),
        *activation_phases(shape, eager=not shape.enforce_eager).values(),
    )
    top = max(warm, key=warm.__getitem__)
    # 16-bit linears were seen without the compiled MLP's one more tensor, and without the workspace.
    plain = "bf16" in _mlp_formats(shape)
    least = max(planned.values()) if plain else max(planned["forward"], later - workspace)
    return Term(
        name="activations",
        bytes=expected,
        low_bytes=least,
        high_bytes=worst + max(workspace, facts.bounds.unseen_high_bytes),
        basis="derived",
        source=facts.source,
        formula=f"max of {', '.join(f'{name} {format_gib(size)}' for name, size in warm.items())} GiB: {top}"
        + (f"; a first start compiles: {format_gib(first)}" if first > later else ""),
        bounds="low: a later start; high: the other execution mode, workspaces inside kernels",
    )


def first_start_excess_bytes(shape: RankShape) -> int:
    """What a first start's compilation takes above the profile run of later starts: its peak, and what stays of it."""
    planned = activation_phases(shape)
    later = max(_later_phases(shape, planned).values())
    return max(0, cold_compile_bytes(shape, planned) - later) + held_copy_bytes(shape)


def held_copy_bytes(shape: RankShape, *, worst: bool = False) -> int:
    """The compilation's copy of the embedding where torch cannot give it back: something that stays was put into it.

    It counts where the budget counts what torch has reserved, until the GEMM library's workspace is made before the
    engine takes stock. That workspace takes the smallest free block that holds it: the copy's, where a hidden state is
    smaller than the workspace, or none of its size is free. First starts with biases in QKV had none free until one
    release: 16-bit layers and two of three in four bits, FP8 not; without biases those of compute capability 12, four
    starts of three models on two cards, and no other.
    """
    release, text, facts = shape.release, shape.vision is None, overhead_facts().segments
    counts = release.buffers_counted and release.workspace_counted and shape.tensor_parallel_size == 1
    if shape.enforce_eager or not counts or not text or not shape.first_stage:
        return 0
    small = 2 * shape.max_num_batched_tokens * shape.model.hidden_size < _workspace_bytes(shape)
    before = parse_version(release.version) < parse_version(facts.held_until)
    seen = before and (shape.model.qkv_bias or shape.gpu.architecture.startswith(facts.held_architectures))
    formats = all(group.mlp.name in facts.held_formats for group in shape.model.layers)
    kept = worst or (formats and (small or seen))
    return 2 * shape.model.vocab_size * shape.model.hidden_size if kept else 0


def _later_phases(shape: RankShape, planned: Mapping[str, int]) -> dict[str, int]:
    """The `planned` phases as measured on a later start: the compiled forward, and the GEMM library's workspace."""
    warm, workspace = {**planned}, _workspace_bytes(shape)
    if not shape.enforce_eager:
        warm["forward"] = max(warm["forward"], _compiled_forward_bytes(shape, warm["forward"]))
    return {name: size + (workspace if name != "forward" or _calls_cublas(shape) else 0) for name, size in warm.items()}


def _calls_cublas(shape: RankShape) -> bool:
    """Whether cuBLAS, and its workspace, is there before the language model's forward ends.

    Quantised layers have kernels of their own; a vision tower that is profiled before it, and 16-bit layers, have not.
    """
    images = shape.vision is not None and shape.release.encoder_profiled
    return images or ("bf16" in _mlp_formats(shape) and not _as_planned(shape))


def _compiled_tokens(shape: RankShape) -> tuple[int, int]:
    """Bytes per token of a compiled forward as measured: in the MLP, and between all-reduce and norm."""
    facts = overhead_facts().activations
    _, activated = _inputs(shape)
    tp, H, F = shape.tensor_parallel_size, shape.model.hidden_size, shape.model.intermediate_size
    mlp = 2 * H // tp + 4 * H + (4 + activated) * F // tp + facts.compiled.hidden_bytes * H
    return int(mlp), _around_all_reduce(shape)


def _compiled_forward_bytes(shape: RankShape, planned_bytes: int) -> int:
    """A compiled forward as it was measured: one more 16-bit tensor than Inductor's plan in the MLP."""
    if _as_planned(shape):
        return planned_bytes
    return planned_bytes + shape.max_num_batched_tokens * (max(_compiled_tokens(shape)) - _planned_tokens(shape))


def _plain(shape: RankShape) -> bool:
    """Whether every layer has 16-bit weights."""
    return _mlp_formats(shape) == {"bf16"}


def _as_planned(shape: RankShape) -> bool:
    """Whether a compiled forward was seen to take what Inductor plans."""
    architectures = overhead_facts().activations.compiled.plain_architectures
    return not shape.enforce_eager and _plain(shape) and shape.gpu.architecture.startswith(architectures)


def cold_compile_bytes(shape: RankShape, planned: Mapping[str, int], *, worst: bool = False) -> int:
    """The peak of the first compiled start of a configuration; 0 where nothing is compiled.

    `planned` are the phases of its profile run, as :func:`activation_phases` gives them.

    Inductor times kernels on random tensors of their arguments' sizes: of the text model's first kernel these are the
    embedding and what it makes. With images the embedding is outside the compiled model, but not a draft's own that
    takes none. From one release on it was not seen with several ranks, so there it is in the worst case only.
    """
    facts = overhead_facts().activations.cold_compile
    release = parse_version(shape.release.version)
    if shape.enforce_eager or release < parse_version(facts.since):
        return 0
    T, tp, H = shape.max_num_batched_tokens, shape.tensor_parallel_size, shape.model.hidden_size
    draft = shape.draft_model
    later = _compiled_forward_bytes(shape, planned["forward"])
    mlp, norm = _compiled_tokens(shape)
    extra = facts.with_images_bytes_per_token if tp == 1 else norm + facts.norm_hidden_bytes * H - max(mlp, norm)
    peak = later + int(T * max(0, 0 if _as_planned(shape) else extra))
    texts = shape.vision is None or (draft and not shape.release.draft_takes_images)
    seen = tp == 1 or worst or release < parse_version(facts.ranks_until)
    if not texts or not shape.first_stage or not seen:
        return int(peak)
    one_rank = facts.one_rank_plain_hidden_bytes if _plain(shape) else facts.one_rank_hidden_bytes
    made = T * H * (one_rank if tp == 1 else facts.ranks_hidden_bytes)
    made += draft * T * H * facts.one_rank_hidden_bytes
    flush = 0 if tp == 1 else facts.flush_bytes
    return max(peak, int(shape.model.vocab_size * H * 2 // tp + made + flush))


def _workspace_bytes(shape: RankShape) -> int:
    """The GEMM library's first workspace, where it falls into the profile run."""
    if not shape.release.workspace_counted:
        return 0
    for row in overhead_facts().gemm_workspace:
        if row.vendor == shape.gpu.vendor and shape.gpu.architecture.startswith(row.architectures):
            return int(row.bytes)
    return 0


def unprofiled(shape: RankShape) -> Term:
    """What serving takes above the profile run: what that run left out, and what torch keeps once steps have run.

    Expected with one image of the largest size at a time; at most with a step full of them.
    """
    release, rules = shape.release, vllm_facts().rules
    step = images_of_a_step(shape)
    gaps: list[str] = []
    sources: list[str] = []
    if step and not release.encoder_profiled:
        gaps.append(f"vLLM {release.version} profiles no image, where a step encodes up to {step}")
        sources.append(rules["encoder_profiled"].source)
    if shape.last_stage and release.profiled_sampling != "full":
        gaps.append(f"vLLM {release.version} profiles no sampling but greedy")
        sources.append(rules["profiled_sampling"].source)
    if shape.enforce_eager:
        gaps.append("torch keeps what eager steps leave between their tensors")
        sources.append(overhead_facts().kept_after_sampling.source)
    if not gaps:
        return nothing("unprofiled", "all is profiled", rules["encoder_profiled"].source)
    profiled = activations(shape).bytes
    usual = step if release.encoder_profiled else min(step, 1)
    kept, kept_worst = _kept_bytes(shape)
    expected, worst = (
        max(0, max(*activation_phases(shape, images=images, sampling="full").values(), least) - profiled)
        for images, least in ((usual, kept), (step, kept_worst))
    )
    return Term(
        name="unprofiled",
        bytes=expected,
        low_bytes=0,
        high_bytes=worst,
        basis="derived",
        source="; ".join(sources),
        formula=f"{'; '.join(gaps)}: serving takes up to {format_gib(worst)} GiB more",
        bounds="low: no such request; high: as many images of the largest size as a step encodes",
    )


def _kept_bytes(shape: RankShape) -> tuple[int, int]:
    """What torch holds once steps have run, expected and at most.

    The phases' segments do not fit each other. A compiled start empties its cache before it captures; where sampling
    was profiled greedily it keeps logits and sampling from then on. An eager start keeps its forward's blocks, and
    those of logits and sampling as far as rows were sampled: all of them at the start up to 0.32, later with the load.
    """
    facts = overhead_facts().kept_after_sampling
    profiled = shape.release.profiled_sampling == "full"
    if profiled and not shape.enforce_eager:
        return 0, 0
    phases = activation_phases(shape, images=0, sampling="full")
    kept = 0
    if shape.last_stage:
        T, H = shape.max_num_batched_tokens, shape.model.hidden_size
        rows = 2 * T * H + 2 * min(T, shape.max_num_seqs) * H * (2 if shape.release.model_runner == "v1" else 1)
        kept = phases["logits"] + phases["sampler"] - 2 * rows
    if not shape.enforce_eager:
        return kept + facts.compiled.expected_bytes, kept + facts.compiled.high_bytes
    forward, holes = phases["forward"], _eager_holes_bytes(shape)
    if profiled:
        warmed = kept if shape.release.model_runner == "v1" else 0
        return forward + max(holes, warmed), forward + holes + kept + facts.eager.expected_bytes
    return forward + max(holes, kept + facts.eager.expected_bytes), forward + max(holes, kept) + facts.eager.high_bytes


def _eager_holes_bytes(shape: RankShape) -> int:
    """Blocks of an eager forward that are free while the MLP peaks, too small for its tensors.

    Torch keeps a block for the QKV product, one for what attention returns and one for its 8-bit copy.
    """
    facts = overhead_facts().activations
    model, tp = shape.model, shape.tensor_parallel_size
    heads = model.num_attention_heads // tp + 2 * max(1, model.num_key_value_heads // tp)
    attention = 2 * model.num_attention_heads // tp * model.head_dim
    copies = max(facts.linear_input_bytes[group.mlp.name] for group in model.layers) != 2
    return shape.max_num_batched_tokens * (2 * heads * model.head_dim + attention + model.hidden_size * copies)
