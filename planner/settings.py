"""What vLLM is started with and how the GPUs are split: plain values that every room reads."""

from __future__ import annotations

from typing import Literal

from hw_specs.frozen import dataclass

SpecMethod = Literal["eagle", "eagle3", "mtp", "ngram", "suffix"]
"""How tokens are drafted, in vLLM's words: by a small model beside this one, by layers of its own, by looking back."""
DRAFT_MODELS: tuple[SpecMethod, ...] = ("eagle", "eagle3", "mtp")
"""Methods whose draft is a model with weights and a KV cache; the others look for repeated text."""

DEFAULT_HOST = "127.0.0.1"
"""Where a server of ours listens that is told nothing: this machine alone reaches it."""
DEFAULT_PORT = 8000
"""The engine's own."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Layout:
    """How the GPUs are split."""

    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    replicas: int = 1

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one server."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def total_gpus(self) -> int:
        """GPUs of all servers."""
        return self.gpus_per_replica * self.replicas

    @property
    def split(self) -> tuple[int, int]:
        """Tensor and pipeline size: how one server is cut up, whatever the number of servers."""
        return self.tensor_parallel_size, self.pipeline_parallel_size

    def __str__(self) -> str:
        """``TP4 x 2``: four GPUs a server, two servers.

        >>> str(Layout(tensor_parallel_size=2, pipeline_parallel_size=4))
        'TP2 PP4'
        """
        stages = f" PP{self.pipeline_parallel_size}" if self.pipeline_parallel_size > 1 else ""
        copies = f" x {self.replicas}" if self.replicas > 1 else ""
        return f"TP{self.tensor_parallel_size}{stages}{copies}"


CudagraphMode = Literal["NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]
"""Which steps run as graphs, in vLLM's words: pieces between attention, whole steps, or both."""
LoraDtype = Literal["auto", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Room for LoRA adapters, every value resolved."""

    max_loras: int
    """Adapters that one step may use; each has a buffer on every GPU."""
    max_lora_rank: int
    max_cpu_loras: int
    """Adapters that are kept in each worker's host memory."""
    fully_sharded_loras: bool = False
    lora_dtype: LoraDtype = "auto"
    specialize_active_lora: bool = False
    """Whether graphs are captured for several numbers of adapters in a step."""
    lora_target_modules: tuple[str, ...] | None = None
    """Ends of the modules that get buffers; None is all that can have them."""


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
    num_speculative_tokens: int
    """0 without a draft."""
    spec_method: SpecMethod | None = None
    """How they are drafted; None without a draft."""
    speculative_max_model_len: int | None = None
    kv_cache_memory_bytes: int | None = None
    long_prefill_token_threshold: int = 0
    """Most tokens of one prompt in a step; 0 is without such a bound."""
    block_size: int = 16
    load_format: Literal["mistral", "hf"] = "mistral"
    lora: Lora | None = None
    """None without adapters."""
    cudagraph_mode: CudagraphMode | None = None
    """None is the engine's own: whole steps for decoding and pieces for the rest, or nothing with ``enforce_eager``."""
    cudagraph_capture_sizes: tuple[int, ...] | None = None
    """Tokens of the steps that are captured; None is the engine's own list."""
    max_cudagraph_capture_size: int | None = None
    async_scheduling: bool | None = None
    """Whether a step is scheduled while the one before runs; None is the release's own."""
    api_server_count: int | None = None
    """Processes that take requests; None is the engine's own, one a replica."""

    @property
    def draft_model(self) -> bool:
        """Whether a model drafts, one with weights and a KV cache."""
        return self.spec_method in DRAFT_MODELS

    @property
    def draft_words(self) -> str:
        """``EAGLE 3``: how many tokens are drafted, and how; empty without a draft."""
        return draft_words(self.spec_method, self.num_speculative_tokens)

    @property
    def layout(self) -> Layout:
        """How the GPUs are split."""
        return Layout(
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size,
            replicas=self.replicas,
        )


def cut_to_length(settings: object, length_tokens: int) -> dict[str, int]:
    """Return the fields of settings or a request that the engine refuses above its length, cut to `length_tokens`.

    A prompt's part of a step and a draft's length mean the same there: no sequence is longer.
    Source: github.com/vllm-project/vllm/blob/v0.32.0/vllm/config/scheduler.py verify_max_model_len, speculative.py.
    """
    names = ("long_prefill_token_threshold", "speculative_max_model_len")
    return {name: length_tokens for name in names if (getattr(settings, name) or 0) > length_tokens}


_SPELT: dict[SpecMethod, str] = {
    "eagle": "EAGLE", "eagle3": "EAGLE-3", "mtp": "MTP", "ngram": "n-gram", "suffix": "suffix"
}  # fmt: skip


def draft_words(method: SpecMethod | None, tokens: int) -> str:
    """Return a draft in two words; nothing of none.

    >>> draft_words("ngram", 4), draft_words(None, 0)
    ('n-gram 4', '')
    """
    return f"{_SPELT[method]} {tokens}" if method and tokens else ""
