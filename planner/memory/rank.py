"""What the overhead formulas look at: one rank's shape, and what was measured of it. It never computes a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSpec
from hw_specs.units import GIB
from planner.facts.overheads import overhead_facts
from planner.facts.release import Release
from planner.memory.term import Term
from planner.memory.weights import split_layers
from planner.model import ModelSpec, VisionSpec
from planner.settings import DRAFT_MODELS, CudagraphMode, Lora, SpecMethod


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
    num_speculative_tokens: int
    spec_method: str | None = None
    """How they are drafted; None without a draft."""
    lora: Lora | None = None
    cudagraph_mode: CudagraphMode | None = None
    cudagraph_capture_sizes: tuple[int, ...] | None = None
    max_cudagraph_capture_size: int | None = None
    terms: Mapping[str, int] = field(hash=False)
    """Ledger term → measured bytes: ``activations``, ``outside_torch``, ``graphs``, ``buffers`` …"""
    run: str
    """Which start-up, for people."""
    measured_on: str = ""
    """ISO date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankShape:
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
    spec_method: SpecMethod | None
    """How they are drafted; None without a draft."""
    lora: Lora | None = None
    cudagraph_mode: CudagraphMode | None = None
    """None is the engine's own."""
    cudagraph_capture_sizes: tuple[int, ...] | None = None
    max_cudagraph_capture_size: int | None = None
    linked: bool = True
    """Whether a fast link joins every pair of the ranks that share layers."""
    fused_all_reduce: Literal["auto", "trtllm", "none"] = "auto"
    """The workspace of a fused all-reduce: the release's own choice, or what a measured start was told."""

    @property
    def world_size(self) -> int:
        """Ranks of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def captures(self) -> bool:
        """Whether any step runs as a graph."""
        return not self.enforce_eager and self.cudagraph_mode != "NONE"

    @property
    def draft_model(self) -> bool:
        """Whether a model drafts, one with weights and a KV cache."""
        return self.spec_method in DRAFT_MODELS

    @property
    def layers(self) -> int:
        """Most decoder layers of any rank, the draft's on the last one included."""
        draft = self.model.draft if self.draft_model and self.last_stage else None
        layers = max(split_layers(self.model.num_hidden_layers, self.pipeline_parallel_size))
        return layers + (draft.num_hidden_layers if draft else 0)

    @property
    def vision(self) -> VisionSpec | None:
        """The tower when this rank profiles it."""
        return self.model.vision if self.first_stage and not self.language_model_only else None


def measured_term(name: str, calibration: Calibration | None) -> Term | None:
    """The measured term called `name`, where this machine has one."""
    if calibration is None or name not in calibration.terms:
        return None
    size_bytes = calibration.terms[name]
    facts = overhead_facts().calibrated
    return Term(
        name=name,
        bytes=size_bytes,
        low_bytes=max(0, size_bytes - facts.spread_bytes),
        high_bytes=size_bytes + facts.spread_bytes,
        basis="measured",
        source=f"measured here: {calibration.run}",
        formula=f"{size_bytes / GIB:.2f} GiB measured",
        bounds=facts.source,
    )
