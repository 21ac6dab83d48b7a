"""What the user asks: every setting bears vLLM's name, and ``None`` means "choose for me".

It validates single fields and their plain contradictions; whether they fit is the budget's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest
from planner.model import ModelSpec
from planner.overheads import Calibration

Objective = Literal["balanced", "latency", "throughput", "context"]


def _setting(description: str, **more: str) -> dict[str, str]:
    """Metadata of one field: the help text that CLI, wizard and documentation share."""
    return {"help": description, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What vLLM is started with, every value resolved."""

    tensor_parallel_size: int
    pipeline_parallel_size: int
    replicas: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str
    language_model_only: bool
    enforce_eager: bool
    speculative_tokens: int
    """0 without a draft."""
    speculative_max_model_len: int | None = None
    kv_cache_memory_bytes: int | None = None
    block_size: int = 16
    load_format: Literal["mistral", "hf"] = "mistral"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """One question to the planner.

    Raises:
        InvalidRequest: when a field is out of the range that vLLM accepts.
    """

    gpus: GpuSet
    model: ModelSpec | None = None
    """None is the shipped Mistral-Medium-3.5-128B."""
    vllm_version: str | None = field(
        default=None, metadata=_setting("vLLM release to plan for; the newest known one by default")
    )
    tensor_parallel_size: int | None = field(
        default=None, metadata=_setting("GPUs that share each layer; the largest valid size by default")
    )
    pipeline_parallel_size: int | None = field(
        default=None, metadata=_setting("stages the layers are split into; 1 by default")
    )
    replicas: int | None = field(
        default=None, metadata=_setting("independent copies of the server; as many as the GPUs allow")
    )
    max_model_len: int | None = field(
        default=None,
        metadata=_setting("tokens of prompt and answer together; the largest that safely fits by default"),
    )
    gpu_memory_utilization: float | None = field(
        default=None, metadata=_setting("fraction of each GPU the engine may use; the release's default otherwise")
    )
    kv_cache_memory_bytes: int | None = field(
        default=None, metadata=_setting("size the KV cache by hand, per GPU; nothing is profiled then")
    )
    max_num_seqs: int | None = field(
        default=None, metadata=_setting("sequences per step; the release's default for this GPU otherwise")
    )
    max_num_batched_tokens: int | None = field(
        default=None, metadata=_setting("tokens per step; the release's default for this GPU otherwise")
    )
    kv_cache_dtype: str = field(
        default="auto", metadata=_setting("KV cache data type; auto is BF16 for the official checkpoint")
    )
    block_size: int | None = field(default=None, metadata=_setting("tokens per KV block; 16 on GPUs"))
    language_model_only: bool = field(
        default=False, metadata=_setting("serve text only: no vision weights, no encoder memory")
    )
    enforce_eager: bool = field(default=False, metadata=_setting("no CUDA or HIP graphs, no compilation"))
    num_speculative_tokens: int = field(
        default=0, metadata=_setting("tokens the EAGLE draft proposes per step; 0 is no draft")
    )
    speculative_max_model_len: int | None = field(
        default=None,
        metadata=_setting("draft length limit; left out by default, the card's value shortens 0.33's context"),
    )
    concurrency: int | None = field(
        default=None, metadata=_setting("sequences of full length to hold at once; at least 1")
    )
    load_format: Literal["mistral", "hf"] = field(
        default="mistral", metadata=_setting("checkpoint layout: Mistral's own or Hugging Face's")
    )
    mm_encoder_tp_mode: Literal["weights", "data"] | None = field(
        default=None, metadata=_setting("asked encoder sharding; has no effect on this model")
    )
    limit_mm_per_prompt_image: int | None = field(
        default=None, metadata=_setting("images per prompt; only 0 saves memory")
    )

    calibrations: tuple[Calibration, ...] = ()
    """Start-ups measured earlier; those of the same GPU, release and settings replace our terms."""

    def __post_init__(self) -> None:
        for name in (
            "tensor_parallel_size", "pipeline_parallel_size", "replicas", "max_model_len", "kv_cache_memory_bytes",
            "max_num_seqs", "max_num_batched_tokens", "block_size", "speculative_max_model_len", "concurrency",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InvalidRequest(name, f"{name} must be a positive integer, not `{value}`")
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            raise InvalidRequest(
                "gpu_memory_utilization",
                f"gpu_memory_utilization must be above 0 and at most 1, not `{self.gpu_memory_utilization}`",
            )
        if self.num_speculative_tokens < 0:
            raise InvalidRequest("num_speculative_tokens", "num_speculative_tokens must not be negative")
        if self.limit_mm_per_prompt_image is not None and self.limit_mm_per_prompt_image < 0:
            raise InvalidRequest("limit_mm_per_prompt_image", "limit_mm_per_prompt_image must not be negative")


FIELD_HELP = {one.name: str(one.metadata.get("help", "")) for one in fields(PlanRequest)}
"""Field → the line of help that command line, wizard and documentation share."""
