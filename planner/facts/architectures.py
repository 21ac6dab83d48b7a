"""Which architectures of Hugging Face's are described, and what is refused by name: ``architectures.toml``."""

from collections.abc import Mapping
from typing import Literal

from planner.facts.record import Record, door
from planner.facts.vllm import Basis


class Supported(Record):
    """Traits of vLLM's class for one ``model_type``."""

    architectures: tuple[str, ...]
    attention_bias_key: str | None = None
    """Key of the configuration that says whether attention has biases."""
    mlp_bias_key: str | None = None
    default_kv_heads: str | None = None
    """Key that counts KV heads where their own is missing."""
    qkv_bias: bool = False
    qk_norm: bool = False
    sliding_window_switch: str | None = None
    """Key that says whether a sliding window is used at all."""
    head_dim_required: bool = False


class Wrapper(Record):
    """A multimodal configuration whose text model is nested."""

    architectures: tuple[str, ...]
    vision: tuple[str, ...]
    """Vision towers that are described."""


class VisionDefaults(Record):
    """What the configuration class of a vision tower fills in."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    patch_size: int
    image_size: int
    num_channels: int
    source: str


class RopeLengthened(Record):
    """RoPE scalings whose factor lengthens `max_position_embeddings`."""

    types: tuple[str, ...]


class Limits(Record):
    """Beyond these a file is broken or hostile."""

    layers: int
    size: int
    """Of a matrix, in rows or columns."""
    positions: int
    reason: str


class ArchitectureFacts(Record):
    """The whole file."""

    basis: Basis
    source: str
    supported: Mapping[str, Supported]
    wrappers: Mapping[str, Wrapper]
    vision_defaults: Mapping[str, VisionDefaults]
    refused: Mapping[str, str]
    """Key that is set → what the model is."""
    rope_lengthened: RopeLengthened
    rope: Mapping[str, Literal["max", "scaled", "original", "both"]]
    limits: Limits


architecture_facts = door("architectures.toml", ArchitectureFacts)
