"""What a model is, in the dimensions that decide memory and speed; it never reads a checkpoint.

:class:`ModelSpec` covers dense decoder-only GQA/MHA models with an optional Pixtral tower and an optional
EAGLE draft. Everything else is refused where models are read (:mod:`planner.checkpoint`).
"""

from dataclasses import replace
from typing import Literal

from hw_specs.frozen import dataclass
from planner.facts.models import described
from planner.facts.record import read_value
from planner.facts.weight_formats import weight_formats


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """How the elements of a linear layer are stored once loaded."""

    name: str
    """``bf16``, ``fp8``, ``fp8-channel``, ``fp8-block``, ``int8-channel``, ``int8``, ``int4``, ``nvfp4``, ``mxfp4``,
    ``mxfp8``, ``bnb4``, ``bnb8``."""
    bits: int
    """Bits per element, scales excluded."""
    group_rows: int = 0
    """Rows that share one scale; 0 means one row."""
    group_columns: int = 0
    """Columns that share one scale; 0 means the whole row."""
    scale_bytes: int = 0
    """Bytes of one scale; 0 where scales are per tensor."""
    zero_point_bits: int = 0
    """Bits of a zero point per group (asymmetric INT4)."""
    packing: str = ""
    """Whose packing integers and MX values have: ``awq``, ``gptq``, ``compressed-tensors``, ``modelopt``, ``quark``."""

    @classmethod
    def named(cls, name: str) -> "WeightFormat":
        """Return the format called `name`, without what only a checkpoint says: its blocks, groups and zero points.

        Raises:
            KeyError: when there is no such format.
        """
        facts = weight_formats().formats[name]
        return cls(
            name=name,
            bits=facts.bits,
            group_rows=facts.group_rows,
            group_columns=facts.group_columns,
            scale_bytes=facts.scale_bytes,
        )

    def matrix_bytes(self, rows: int, columns: int) -> int:
        """Bytes of a ``[rows, columns]`` matrix with its group scales.

        >>> WeightFormat(name="fp8", bits=8).matrix_bytes(4, 512)
        2048
        """
        weight_bytes = rows * columns * self.bits // 8
        if not self.scale_bytes:
            return weight_bytes
        groups = -(-rows // (self.group_rows or 1)) * -(-columns // (self.group_columns or columns))
        return weight_bytes + groups * self.scale_bytes + groups * self.zero_point_bits // 8


BF16 = WeightFormat(name="bf16", bits=16)
FP8 = WeightFormat(name="fp8", bits=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """A run of consecutive decoder layers whose linears are stored alike."""

    count: int
    attention: WeightFormat
    """q, k and v, and the output projection unless that differs."""
    mlp: WeightFormat
    """gate and up, and the down projection unless that differs."""
    attention_output: WeightFormat | None = None
    """Output projection where it is stored unlike q, k and v; None = alike."""
    mlp_down: WeightFormat | None = None
    """Down projection where it is stored unlike gate and up; None = alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSpec:
    """A Pixtral vision tower with its patch-merging projector, BF16 throughout."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    patch_size: int
    max_image_size: int
    """Pixels of the longer side that the processor allows."""
    num_channels: int
    spatial_merge_size: int
    """Patches per side that become one embedding; 1 is a tower without a patch merger."""
    projector_norm: bool = True
    """Whether a norm stands before the projector."""
    projector_bias: bool = False
    """Whether the projector's two linears have biases."""

    @property
    def max_image_patches(self) -> int:
        """ViT patches of the largest image."""
        return (self.max_image_size // self.patch_size) ** 2

    @property
    def max_image_embeddings(self) -> int:
        """Embeddings of the largest image after patch merging; what the encoder budget counts."""
        return self.max_image_patches // self.spatial_merge_size**2


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftSpec:
    """A small model that drafts for another: what it adds to its target, whose embedding it shares.

    A dimension of 0 is the target's.
    """

    name: str
    method: Literal["eagle", "eagle3", "mtp"] = "eagle"
    """What vLLM calls this kind of draft."""
    num_hidden_layers: int
    weights: WeightFormat
    card_num_speculative_tokens: int
    """Tokens that who made it proposes; 0 where nobody says."""
    card_max_model_len: int
    """0 where nobody says."""
    hidden_size: int = 0
    num_attention_heads: int = 0
    intermediate_size: int = 0
    head_rows: int = 0
    """Rows of an output head of its own; 0: the target's is shared."""
    states_read: int = 1
    """Hidden states of the target that it reads for a token; EAGLE-3 reads those of three layers."""
    projection_sharded: bool = True
    """Whether tensor parallelism divides the projection in front of its layers."""
    qkv_bias: bool | None = None
    """None: as the target."""

    def layers_of(self, target: "ModelSpec") -> "ModelSpec":
        """Return its layers as a model, of the target's dimensions where it has none of its own."""
        hidden = self.hidden_size or target.hidden_size
        return replace(
            target,
            hidden_size=hidden,
            num_attention_heads=self.num_attention_heads or target.num_attention_heads,
            intermediate_size=self.intermediate_size or target.intermediate_size,
            vocab_size=self.head_rows or target.vocab_size,
            layers=(LayerGroup(count=self.num_hidden_layers, attention=self.weights, mlp=self.weights),),
            qkv_bias=target.qkv_bias if self.qkv_bias is None else self.qkv_bias,
            qk_norm=target.qk_norm and not self.hidden_size,
            vision=None,
            draft=None,
        )

    @classmethod
    def named(cls, stem: str) -> "DraftSpec":
        """Return the draft described by ``planner/facts/models/<stem>.toml``.

        Raises:
            BadFacts: where the file has another shape.
            FileNotFoundError: when there is no such file.
            LookupError: when it describes a model that is served.
        """
        notes, table = described(stem)
        if notes.kind != "draft":
            raise LookupError(stem)
        found: DraftSpec = read_value(table, cls, f"models/{stem}.toml")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One checkpoint, as far as memory and speed depend on it."""

    name: str
    """Hub repository or local path, as vLLM's first argument."""
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    layers: tuple[LayerGroup, ...]
    tie_word_embeddings: bool
    qkv_bias: bool = False
    output_bias: bool = False
    """Whether the attention's output projection has a bias."""
    mlp_bias: bool = False
    qk_norm: bool = False
    vision: VisionSpec | None = None
    draft: DraftSpec | None = None
    kv_cache_scheme: str | None = None
    """KV dtype that the checkpoint declares and ``--kv-cache-dtype auto`` therefore means; None = BF16."""
    checkpoint_bytes: int | None = None
    """Tensor bytes of one layout, from its index; None when unknown."""
    download_bytes: int | None = None
    """Bytes that a careless download of the whole repository moves."""
    native_format: bool = False
    """Whether vLLM loads Mistral's own layout (params.json, consolidated*.safetensors)."""
    rope_cache_positions: int | None = None
    """Rows of the RoPE table; None means `max_position_embeddings`."""
    yarn_positions: int | None = None
    """Original length times YaRN's factor, the limit in early releases; None where it is `max_position_embeddings`."""
    rotary_dim: int | None = None
    """Columns of the RoPE table; None means `head_dim`."""
    architectures: tuple[str, ...] = ()
    """Classes that the configuration names, outermost; empty where it names none."""
    notes: tuple[str, ...] = ()
    """What reading the checkpoint found that its user should know; one sentence each."""

    @property
    def num_hidden_layers(self) -> int:
        """Decoder layers of the target."""
        return sum(group.count for group in self.layers)

    @property
    def engine_architectures(self) -> tuple[str, ...]:
        """Classes that vLLM loads it with, as far as they are known; Mistral's own layout names none."""
        if self.architectures or not self.native_format:
            return self.architectures
        return ("PixtralForConditionalGeneration",) if self.vision else ("MistralForCausalLM",)

    @property
    def quantized(self) -> bool:
        """Whether any decoder layer is stored in fewer than 16 bits."""
        return any(fmt.bits < BF16.bits for fmt in self.formats)

    @property
    def formats(self) -> tuple[WeightFormat, ...]:
        """The formats its decoder layers are stored in, each once, in order of appearance."""
        each = (
            fmt
            for group in self.layers
            for fmt in (group.attention, group.attention_output, group.mlp, group.mlp_down)
            if fmt is not None
        )
        return tuple(dict.fromkeys(each))

    @property
    def format_names(self) -> tuple[str, ...]:
        """Names of :attr:`formats`."""
        return tuple(fmt.name for fmt in self.formats)

    @property
    def layer_formats(self) -> tuple[LayerGroup, ...]:
        """One entry per layer, in order; each has count 1."""
        return tuple(one for group in self.layers for one in (replace(group, count=1),) * group.count)
