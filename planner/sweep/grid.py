"""The axes of a sweep and the settings they span; it never judges any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest
from planner.facts.release import Release
from planner.memory.kv_cache import resolve_dtype, vector_bytes
from planner.memory.layouts import tensor_parallel_fault
from planner.model import ModelSpec
from planner.planning.question import default_batch, draft_fault, resolved_method
from planner.planning.request import SETTINGS
from planner.settings import Settings, SpecMethod


def _axis(varies: str, default: tuple[Any, ...] = ()) -> Any:
    """An axis: values of the field `varies` of a request."""
    return field(default=default, metadata={"varies": varies})


MOST_CONFIGURATIONS = 50_000_000
"""More would not fit in the memory of a laptop (about 60 bytes each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What to vary. Every combination is one configuration; combinations no engine accepts are left out, and counted.

    Raises:
        InvalidRequest: for an empty axis, a value out of range, or a grid too large to hold.
    """

    gpus: tuple[GpuSet, ...]
    tensor_parallel_sizes: tuple[int, ...] = _axis("tensor_parallel_size")
    """Empty: every size that the model and the GPUs allow."""
    max_model_lens: tuple[int, ...] = _axis("max_model_len", (32768, 131072, 262144))
    concurrencies: tuple[int, ...] = _axis("concurrency", (1,))
    """Sequences of ``max_model_len`` to hold at once."""
    kv_cache_dtypes: tuple[str, ...] = _axis("kv_cache_dtype", ("auto",))
    num_speculative_tokens: tuple[int, ...] = _axis("num_speculative_tokens", (0,))
    spec_methods: tuple[SpecMethod, ...] = _axis("spec_method")
    """Empty: the model's own draft. Rows without a draft have none."""
    gpu_memory_utilizations: tuple[float, ...] = _axis("gpu_memory_utilization")
    """Empty: the release's default."""
    max_num_seqs: tuple[int, ...] = _axis("max_num_seqs")
    """Empty: the engine's default for the GPU."""
    max_num_batched_tokens: tuple[int, ...] = _axis("max_num_batched_tokens")
    language_model_only: bool = False
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        if not self.gpus:
            raise InvalidRequest("gpus", "a sweep needs at least one kind of GPU", hint="--gpus 8xH200")
        for name in ("max_model_lens", "concurrencies", "kv_cache_dtypes", "num_speculative_tokens"):
            if not getattr(self, name):
                raise InvalidRequest(name, f"{name} must not be empty")
        if self.spec_methods and not any(self.num_speculative_tokens):
            raise InvalidRequest(
                "spec_method", f"spec_method `{self.spec_methods[0]}` drafts nothing without num_speculative_tokens",
                hint="name tokens per step in num_speculative_tokens: 0,3",
            )  # fmt: skip
        for method in self.spec_methods:
            if method not in get_args(SpecMethod):
                known = ", ".join(get_args(SpecMethod))
                raise InvalidRequest("spec_method", f"spec_method `{method}` is not known", hint=f"one of {known}")
        for axis, name in AXES.items():
            least = SETTINGS[name].least
            for value in getattr(self, axis) if least is not None else ():
                if value < least:
                    raise InvalidRequest(name, f"{name} must be at least {least}, not `{value}`")
        for value in self.gpu_memory_utilizations:
            if not 0 < value <= 1:
                raise InvalidRequest(
                    "gpu_memory_utilization", f"gpu_memory_utilization must be above 0 and at most 1, not `{value}`"
                )
        if self.largest_size > MOST_CONFIGURATIONS:
            raise InvalidRequest(
                "gpus", f"the grid has up to {self.largest_size:,} configurations, more than {MOST_CONFIGURATIONS:,}",
                hint="shorten an axis",
            )  # fmt: skip

    @property
    def largest_size(self) -> int:
        """Configurations before impossible ones are left out."""
        size = len(self.gpus) * (len(self.tensor_parallel_sizes) or 6)
        for axis in (
            self.max_model_lens, self.concurrencies, self.kv_cache_dtypes, self.num_speculative_tokens,
            self.spec_methods,
            self.gpu_memory_utilizations, self.max_num_seqs, self.max_num_batched_tokens,
        ):  # fmt: skip
            size *= max(1, len(axis))
        return size


AXES = {one.name: one.metadata["varies"] for one in fields(Grid) if "varies" in one.metadata}
"""Axis of a grid → the field of a request that it varies, which is also its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The part of a grid that shares everything but utilization and concurrency."""

    gpus: GpuSet
    settings: Settings
    """At the first utilization of the grid."""


def cells(grid: Grid, model: ModelSpec, release: Release) -> Iterator[Cell]:
    """Yield the cells of `grid` in its order; what the engine would refuse is left out.

    Raises:
        InvalidRequest: for a KV data type that is not known.
    """
    for dtype in grid.kv_cache_dtypes:
        vector_bytes(resolve_dtype(model, dtype), model.head_dim)
    text_only = grid.language_model_only or model.vision is None
    utilization = grid.gpu_memory_utilizations[0] if grid.gpu_memory_utilizations else release.gpu_memory_utilization
    for gpus in grid.gpus:
        tier = default_batch(gpus, release)
        sizes = grid.tensor_parallel_sizes or tuple(range(1, gpus.count + 1))
        for tp in sizes:
            if tp > gpus.count or tensor_parallel_fault(model, tp, text_only=text_only, gpu=gpus.spec, release=release):
                continue
            for batched in grid.max_num_batched_tokens or (tier.max_num_batched_tokens,):
                for sequences in grid.max_num_seqs or (min(tier.max_num_seqs, batched),):
                    for length in grid.max_model_lens:
                        for dtype in grid.kv_cache_dtypes:
                            for drafted, method in _drafts(grid, model):
                                settings = Settings(
                                    tensor_parallel_size=tp,
                                    pipeline_parallel_size=1,
                                    replicas=(gpus.count // tp) * gpus.nodes,
                                    max_model_len=length,
                                    max_num_seqs=sequences,
                                    max_num_batched_tokens=batched,
                                    gpu_memory_utilization=utilization,
                                    kv_cache_dtype=dtype,
                                    language_model_only=text_only,
                                    enforce_eager=grid.enforce_eager,
                                    num_speculative_tokens=drafted,
                                    spec_method=method,
                                )
                                if _accepted(settings, model):
                                    yield Cell(gpus=gpus, settings=settings)


def left_out(grid: Grid, model: ModelSpec, release: Release) -> Iterator[str]:
    """Why values that the grid names are in no row: what the engine would refuse of each axis."""
    text_only, most = grid.language_model_only or model.vision is None, model.max_position_embeddings
    for gpus in grid.gpus:
        for tp in grid.tensor_parallel_sizes:
            fault = tensor_parallel_fault(model, tp, text_only=text_only, gpu=gpus.spec, release=release)
            if tp > gpus.count:
                yield f"TP{tp} on {gpus}, which has {gpus.count} GPU{'' if gpus.count == 1 else 's'} in a node"
            elif fault:
                yield f"TP{tp} on {gpus}: {fault}"
    yield from (f"{length:,} tokens, beyond the model's {most:,}" for length in grid.max_model_lens if length > most)
    faults = (draft_fault(model, method) for method in grid.spec_methods or (None,))
    yield from (fault for fault in faults if fault and any(grid.num_speculative_tokens))
    for batched in grid.max_num_batched_tokens:
        seats = max((*grid.max_num_seqs, *(tokens + 1 for tokens in grid.num_speculative_tokens)), default=1)
        if batched < seats:
            yield f"{batched:,} batched tokens with more sequences or draft tokens than that"


def _drafts(grid: Grid, model: ModelSpec) -> Iterator[tuple[int, SpecMethod | None]]:
    """How many tokens are drafted, and how; what the model cannot do is left out."""
    for drafted in grid.num_speculative_tokens:
        methods = grid.spec_methods if drafted else ()
        for method in methods or (None,):
            if not drafted or not draft_fault(model, method):
                yield drafted, resolved_method(model, method, drafted)


def _accepted(settings: Settings, model: ModelSpec) -> bool:
    """Whether the engine would take these settings before it looks at memory."""
    if settings.max_model_len > model.max_position_embeddings:
        return False
    return settings.max_num_batched_tokens >= max(settings.max_num_seqs, settings.num_speculative_tokens + 1)
