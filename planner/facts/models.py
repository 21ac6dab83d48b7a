"""The shipped model descriptions: ``models/*.toml``."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts import load
from planner.facts.record import Record, read
from planner.facts.vllm import Origin


class Layers(Record):
    """Equal decoder layers, with the weight formats of their two halves."""

    count: int
    attention: str
    mlp: str


class Vision(Record):
    """A vision tower, by the names of its configuration."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    patch_size: int
    max_image_size: int
    num_channels: int
    spatial_merge_size: int


class Model(Record):
    """A model that is served."""

    name: str
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    native_format: bool = False
    checkpoint_bytes: int | None = None
    download_bytes: int | None = None
    kv_cache_scheme: str | None = None
    draft: str | None = None
    """Stem of its draft's file."""
    layers: tuple[Layers, ...]
    vision: Vision | None = None
    facts: Mapping[str, Origin]
    """Where the figures come from."""


class Draft(Record):
    """A draft, which runs beside its target only."""

    kind: Literal["draft"]
    name: str
    target: str
    num_hidden_layers: int
    weights: str
    card_num_speculative_tokens: int
    card_max_model_len: int
    facts: Mapping[str, Origin]


@cache
def described(stem: str) -> Model | Draft:
    """Return what ``models/<stem>.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
        FileNotFoundError: when there is no such file.
    """
    name = f"models/{stem}.toml"
    return read(name, Draft) if "kind" in load(name) else read(name, Model)
