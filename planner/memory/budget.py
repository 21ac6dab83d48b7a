"""The engine's memory decision on each rank: what it counts, by the release's rules. It never writes the lines."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSet, GpuSpec
from hw_specs.units import MIB, format_gib
from planner.facts.overheads import WeightRounding, overhead_facts
from planner.facts.release import Release
from planner.memory import activation, collectives, graphs, lora, overheads
from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token
from planner.memory.layouts import tensor_parallel_limit
from planner.memory.rank import Calibration, RankShape
from planner.memory.term import Bounds, Term, left, used
from planner.memory.weights import (
    RankWeights,
    WeightRules,
    matrices,
    rank_weights,
    rope_cache_bytes,
    rounding_bytes,
    split_layers,
)
from planner.model import ModelSpec
from planner.settings import Settings

if TYPE_CHECKING:
    from planner.memory.replay import Kept

MATRICES_OF_A_LAYER = 4
"""QKV, attention output, gate and up, down: fused as the engine loads them."""


@dataclass(frozen=True, kw_only=True)
class RankBudget:
    """The engine's memory decision on the ranks of one pipeline stage."""

    model: ModelSpec
    gpus: GpuSet
    settings: Settings
    shape: RankShape
    weights: RankWeights
    rules: WeightRules
    rounding_bytes: int
    """What the allocator adds to the weights' tensors."""
    kept: Kept | None
    """What rewriting weights leaves in torch's segments beside them; None where none is rewritten."""
    geometry: KvGeometry
    calibration: Calibration | None

    @property
    def total_bytes(self) -> int:
        """Engine-visible memory of the GPU."""
        return self.gpus.memory_bytes

    @property
    def requested_bytes(self) -> int:
        """What the engine asks for, to the byte; it must be free when it takes stock."""
        return math.ceil(self.total_bytes * self.settings.gpu_memory_utilization)

    @property
    def budget_bytes(self) -> int:
        """What the ledger shares out: the requested bytes, or the whole GPU when the KV cache is sized by hand."""
        return self.total_bytes if self.settings.kv_cache_memory_bytes is not None else self.requested_bytes

    @cached_property
    def rope_bytes(self) -> int:
        """The RoPE table."""
        return rope_cache_bytes(self.model)

    @cached_property
    def terms(self) -> dict[str, Term]:
        """Every term beside weights and KV cache, in ledger order."""
        rounding = overhead_facts().weights
        tower_bytes, kept_bytes = self._tower_rounding_bytes(rounding), self.kept_bytes
        return {
            "weights.rounding": Term(
                name="weights.rounding",
                bytes=rounding.small_bytes + self.rounding_bytes + tower_bytes + kept_bytes,
                low_bytes=0,
                high_bytes=rounding.high_bytes
                + self.rounding_bytes
                + tower_bytes
                + kept_bytes
                + self._repacked_bytes(),
                basis=rounding.basis,
                source=rounding.source,
                formula=f"scales and 512-byte rounding {rounding.small_bytes / MIB:.1f} MiB, "
                f"rest of 2-MiB segments {(self.rounding_bytes + tower_bytes) / MIB:.1f} MiB"
                + (f", left by rewriting FP8 weights {format_gib(kept_bytes)} GiB" if kept_bytes else ""),
                bounds=rounding.bounds,
            ),
            "weights.lora": lora.lora(self.shape),
            "buffers": overheads.buffers(self.shape, self.calibration),
            "segments": overheads.segments(self.shape),
            "activations": activation.activations(self.shape, self.calibration),
            "outside_torch": overheads.outside_torch(self.shape, self.calibration),
            "fused_all_reduce": collectives.fused_all_reduce(self.shape),
            "graphs": graphs.graphs(self.shape, self.calibration),
        }

    @property
    def kept_bytes(self) -> int:
        """What rewriting weights leaves, as far as the budget counts it: the cache, or holes in what is reserved."""
        if self.kept is None:
            return 0
        if self.shape.release.load_counts_cached:
            return self.kept.cached
        return self.kept.holes if self.shape.release.buffers_counted else 0

    def _repacked_bytes(self) -> int:
        """What packed integers may keep of freed blocks: a kernel's layout is written beside the checkpoint's."""
        packed = any(group.mlp.name in ("int4", "int8") for group in self.model.layers)
        return MATRICES_OF_A_LAYER * self.shape.layers * overhead_facts().allocator.remainder_bytes if packed else 0

    def _tower_rounding_bytes(self, facts: WeightRounding) -> int:
        """What the vision tower's tensors keep of their segments."""
        if not self.weights.vision_bytes or self.model.vision is None:
            return 0
        shared = self.shape.tensor_parallel_size > 1 and self.rules.vision_sharded
        per_layer = facts.tower_layer_shared_bytes if shared else facts.tower_layer_bytes
        return per_layer * self.model.vision.num_hidden_layers

    @cached_property
    def available(self) -> Bounds:
        """Bytes for the KV cache; negative when the rest does not fit."""
        if self.settings.kv_cache_memory_bytes is not None:
            size_bytes = self.settings.kv_cache_memory_bytes
            return Bounds(size_bytes, size_bytes, size_bytes)
        return left(self.budget_bytes - self.weights.total_bytes - self.rope_bytes, self.terms.values())

    @cached_property
    def outside_budget(self) -> dict[str, Term]:
        """What lives outside the budget, in the slack above it."""
        return {
            "context": overheads.context(self.shape),
            "communicators": collectives.communicators(self.shape),
            "pipeline_transfers": collectives.pipeline_transfers(self.shape),
            "all_reduce_workspace": collectives.late_all_reduce_workspace(self.shape),
            "after_profiling": overheads.after_profiling(self.shape, self.geometry),
            "buffers": overheads.uncounted_buffers(self.shape),
            "unprofiled": activation.unprofiled(self.shape),
            "graphs": graphs.captured_graphs(self.shape),
        }

    @property
    def free_at_start(self) -> Bounds:
        """Free memory when the engine takes stock; from a probe where there is one."""
        free = self.gpus.free_memory_bytes if self.gpus.free_memory_bytes is not None else self.total_bytes
        return left(free, [self.outside_budget["context"], self.outside_budget["communicators"]])

    @cached_property
    def outside_budget_bytes(self) -> Bounds:
        """Bytes outside the budget."""
        return used(self.outside_budget.values())

    @cached_property
    def outside_budget_room_bytes(self) -> int:
        """Room for them: the slack, or with a hand-sized KV cache whatever the ledger leaves free.

        What the budget sets aside for graphs is room for the captured ones.
        """
        for_graphs = self.terms["graphs"].bytes
        if self.settings.kv_cache_memory_bytes is None:
            return self.total_bytes - self.budget_bytes + for_graphs
        fixed_bytes = self.weights.total_bytes + self.rope_bytes + self.settings.kv_cache_memory_bytes
        return left(self.total_bytes - fixed_bytes, self.terms.values()).expected + for_graphs

    @property
    def loading_peak_bytes(self) -> int:
        """Largest use while weights load."""
        return self.weights.total_bytes + self.rope_bytes + overheads.loading_transient_bytes(self.shape)


def rank_budgets(
    model: ModelSpec, gpus: GpuSet, settings: Settings, release: Release, calibration: Calibration | None = None
) -> tuple[RankBudget, ...]:
    """Return the budget of one rank per pipeline stage; the ranks of a stage are alike."""
    tp, pp = settings.tensor_parallel_size, settings.pipeline_parallel_size
    layout = settings.load_format if model.native_format else "hf"
    release = release.for_model(model.engine_architectures, quantized=model.quantized)
    release = release.for_draft(settings.spec_method).for_layout(layout)
    rules = weight_rules(gpus.spec.vendor, layout, release)
    weights = rank_weights(
        model,
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        language_model_only=settings.language_model_only,
        draft=settings.draft_model,
        rules=rules,
    )
    padded = rules.fp8_row_padding[1] > 0 and "fp8" in model.format_names
    # A padded row is copied while the plain one is still there: the copies fill each other's holes, not segments.
    rounded = (
        (0,) * pp if padded else rounding_bytes(model, tensor_parallel_size=tp, pipeline_parallel_size=pp, rules=rules)
    )
    budgets: list[RankBudget] = []
    # Stages in the middle with equally many layers are equal: they share one budget.
    middle: dict[tuple[int, RankWeights], RankBudget] = {}
    for stage, layers in enumerate(split_layers(model.num_hidden_layers, pp)):
        last = stage == pp - 1
        if 0 < stage < pp - 1 and (layers, weights[stage]) in middle:
            budgets.append(middle[layers, weights[stage]])
            continue
        if last and settings.draft_model and model.draft:
            layers += model.draft.num_hidden_layers
        budgets.append(
            RankBudget(
                model=model,
                gpus=gpus,
                settings=settings,
                weights=weights[stage],
                rules=rules,
                rounding_bytes=rounded[stage],
                kept=_kept(model, gpus.spec, rules, layers, tp),
                calibration=calibration,
                geometry=KvGeometry(
                    bytes_per_token=kv_bytes_per_token(
                        model, layers=layers, tensor_parallel_size=tp, kv_cache_dtype=settings.kv_cache_dtype
                    ),
                    block_size=settings.block_size,
                    null_block_reserved=release.null_block_reserved,
                    tokens_rule=release.kv_tokens,
                ),
                shape=RankShape(
                    model=model,
                    gpu=gpus.spec,
                    release=release,
                    tensor_parallel_size=tp,
                    pipeline_parallel_size=pp,
                    first_stage=stage == 0,
                    last_stage=last,
                    max_num_seqs=settings.max_num_seqs,
                    max_num_batched_tokens=settings.max_num_batched_tokens,
                    max_model_len=settings.max_model_len,
                    language_model_only=settings.language_model_only,
                    enforce_eager=settings.enforce_eager,
                    speculative_tokens=settings.num_speculative_tokens,
                    spec_method=settings.spec_method,
                    lora=settings.lora,
                    cudagraph_mode=settings.cudagraph_mode,
                    cudagraph_capture_sizes=settings.cudagraph_capture_sizes,
                    max_cudagraph_capture_size=settings.max_cudagraph_capture_size,
                    linked=gpus.fully_connected and tp <= tensor_parallel_limit(gpus),
                ),
            )
        )
        if 0 < stage < pp - 1:
            middle[layers, weights[stage]] = budgets[-1]
    return tuple(budgets)


@lru_cache(maxsize=64)
def weight_rules(vendor: str, load_format: str, release: Release) -> WeightRules:
    """How this vendor's engine and this checkpoint layout store the weights."""
    padding = (0, 0)
    for row in overhead_facts().fp8_row_padding:
        if row.vendor == vendor:
            padding = (row.multiple_bytes, row.padding_bytes)
    return WeightRules(
        vision_sharded=release.vision_sharded, projector_sharded=load_format == "hf", fp8_row_padding=padding
    )


@lru_cache(maxsize=64)
def _kept(model: ModelSpec, gpu: GpuSpec, rules: WeightRules, layers: int, tp: int) -> Kept | None:
    """What is left where FP8 matrices are rewritten after loading, as if every layer were stored like the first.

    None where none is rewritten.
    """
    multiple, padding = rules.fp8_row_padding
    if not padding:
        return None
    from planner.memory.replay import Rewritten, kept_beside  # only ROCm rewrites its matrices

    other = any(
        row.vendor == gpu.vendor and gpu.architecture.startswith(row.other_dialect)
        for row in overhead_facts().fp8_row_padding
    )
    found = [one for one in matrices(model, model.layers[0], tp) if one[0].name.startswith("fp8")]
    padded = any(fmt.name == "fp8" for fmt, _, _ in found)
    layer = tuple(
        Rewritten(parts, columns, padding if padded and columns % multiple == 0 else 0) for _, parts, columns in found
    )
    return kept_beside(layer, layers, overhead_facts().allocator, masked=other, requantised=padded)
