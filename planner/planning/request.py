"""What the user asks: every setting bears vLLM's name, and ``None`` means "choose for me".

It validates single fields and their plain contradictions; whether they fit is the budget's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest
from planner.memory.rank import Calibration
from planner.model import ModelSpec
from planner.settings import Layout

BLOCK_STEP = 16
"""Blocks are multiples of this many tokens: vLLM 0.33.0 v1/attention/backends, ``MultipleOf(16)``."""
Objective = Literal["balanced", "latency", "throughput", "context"]


def _setting(description: str, **more: str) -> dict[str, str]:
    """Metadata of one field: the help text that CLI, wizard and documentation share."""
    return {"help": description, **more}


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

    @property
    def layout_open(self) -> bool:
        """Whether nothing says how the GPUs are shared out."""
        return self.tensor_parallel_size is None and self.pipeline_parallel_size is None and self.replicas is None

    def with_layout(self, layout: Layout | None) -> PlanRequest:
        """Return the request on `layout`; None leaves it open."""
        return replace(
            self,
            tensor_parallel_size=layout.tensor_parallel_size if layout else None,
            pipeline_parallel_size=layout.pipeline_parallel_size if layout else None,
            replicas=layout.replicas if layout else None,
        )

    def __post_init__(self) -> None:
        if not isinstance(self.gpus, GpuSet):
            raise InvalidRequest("gpus", f"gpus must be a GpuSet, not `{self.gpus!r}`", hint="use `parse_gpus`")
        for name in (
            "tensor_parallel_size", "pipeline_parallel_size", "replicas", "max_model_len", "kv_cache_memory_bytes",
            "max_num_seqs", "max_num_batched_tokens", "block_size", "speculative_max_model_len", "concurrency",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (_is_integer(value) and value >= 1):
                raise InvalidRequest(name, f"{name} must be a positive integer, not `{value}`")
        for name in ("num_speculative_tokens", "limit_mm_per_prompt_image"):
            value = getattr(self, name)
            if value is not None and not (_is_integer(value) and value >= 0):
                raise InvalidRequest(name, f"{name} must be an integer of at least 0, not `{value}`")
        for name in ("language_model_only", "enforce_eager"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidRequest(name, f"{name} must be true or false, not `{getattr(self, name)}`")
        share = self.gpu_memory_utilization
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share is not None and not (number and 0 < share <= 1):
            raise InvalidRequest(
                "gpu_memory_utilization", f"gpu_memory_utilization must be above 0 and at most 1, not `{share}`"
            )
        if self.block_size is not None and self.block_size % BLOCK_STEP:
            raise InvalidRequest(
                "block_size",
                f"block_size must be a multiple of {BLOCK_STEP}, not `{self.block_size}`",
                hint="the attention kernels read whole groups of that many tokens",
            )
        if self.load_format not in ("mistral", "hf"):
            raise InvalidRequest("load_format", f"load_format must be mistral or hf, not `{self.load_format}`")
        if self.mm_encoder_tp_mode not in (None, "weights", "data"):
            raise InvalidRequest(
                "mm_encoder_tp_mode", f"mm_encoder_tp_mode must be weights or data, not `{self.mm_encoder_tp_mode}`"
            )
        for name in ("vllm_version", "kv_cache_dtype"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "vllm_version" and value is None):
                raise InvalidRequest(name, f"{name} must be text, not `{value!r}`")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


FIELD_HELP = {one.name: str(one.metadata.get("help", "")) for one in fields(PlanRequest)}
"""Field → the line of help that command line, wizard and documentation share."""
