"""A draft's checkpoint as what it adds to its target: EAGLE and EAGLE-3 heads of Llama shape; it reads no weights."""

from __future__ import annotations

from pathlib import Path

from hw_specs.errors import shown
from planner.checkpoint.document import Section, read_object
from planner.checkpoint.huggingface import limits
from planner.checkpoint.quantization import read_quantization
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.facts.drafts import draft_facts
from planner.model import DraftSpec, ModelSpec

_CONFIG = "config.json"
_EAGLE3 = ("LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM", "Eagle3Speculator", "Eagle3DraftModel")
_EAGLE = ("EagleLlamaForCausalLM", "LlamaForCausalLM", "EagleSpeculator")
_DECLARED: dict[str, tuple[str, ...]] = {"eagle3": _EAGLE3, "eagle": _EAGLE}
"""Classes of vLLM's own and of those who train drafts, by method."""


def load_draft(path: Path, target: ModelSpec) -> DraftSpec:
    """Return the draft whose directory or config.json is at `path`, for `target`.

    Source: github.com/vllm-project/vllm/blob/v0.32.0/vllm/model_executor/models/llama_eagle3.py and llama_eagle.py;
    github.com/vllm-project/speculators for the nested form.

    Raises:
        UnreadableCheckpoint: when nothing readable is there, or it contradicts itself or the target.
        UnsupportedModel: for a draft of another kind.
    """
    file = path / _CONFIG if path.is_dir() else path
    if not file.exists():
        raise UnreadableCheckpoint(
            f"`{shown(str(path))}` holds no {_CONFIG}", hint="name the directory of the draft's checkpoint"
        )
    config = read_object(file)
    method = _method(config)
    top = limits()
    layers = config.section("transformer_layer_config") or config
    hidden = layers.integer("hidden_size", limit=top.size)
    heads = layers.integer("num_attention_heads", limit=65536)
    kv_heads = layers.integer("num_key_value_heads", limit=65536, default=heads)
    head_dim = layers.integer("head_dim", limit=65536, default=hidden // heads)
    count = config.integer(
        "num_hidden_layers", limit=top.layers, default=layers.integer("num_hidden_layers", limit=top.layers, default=1)
    )
    rows = layers.integer("vocab_size", limit=top.size, default=target.vocab_size)
    if (kv_heads, head_dim) != (target.num_key_value_heads, target.head_dim):
        raise UnsupportedModel(
            f"the draft has {kv_heads} KV heads of {head_dim}, the target {target.num_key_value_heads} of "
            f"{target.head_dim}: a KV cache of two kinds of block is not described"
        )
    read = config.integer("target_hidden_size", limit=top.size, default=hidden)
    if read != target.hidden_size:
        raise UnreadableCheckpoint(
            f"the draft reads hidden states of {read}, {target.name} has {target.hidden_size}",
            hint="name the draft of this very model",
        )
    eagle3 = method == "eagle3"
    groups = read_quantization(config.section("quantization_config")).groups(count)
    return DraftSpec(
        name=str(path if path.is_dir() else path.parent),
        method="eagle3" if eagle3 else "eagle",
        num_hidden_layers=count,
        weights=groups[0].attention,
        card_num_speculative_tokens=_proposed(config),
        card_max_model_len=0,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=layers.integer("intermediate_size", limit=top.size),
        head_rows=config.integer("draft_vocab_size", limit=top.size, default=rows) if eagle3 else 0,
        states_read=_states(config) if eagle3 else 1,
        projection_sharded=False,
        qkv_bias=layers.flag("attention_bias"),
    )


def _method(config: Section) -> str:
    """``eagle`` or ``eagle3``, as the engine would have it."""
    said = config.text("speculators_model_type")
    if said:
        if said not in _DECLARED:
            raise UnsupportedModel(f"a draft of the kind `{shown(said)}` is not described", hint="eagle and eagle3 are")
        return said
    for name in config.texts("architectures"):
        for method, classes in _DECLARED.items():
            if name in classes:
                return method
    named = next(iter(config.texts("architectures")), "none")
    raise UnsupportedModel(
        f"a draft of the class `{shown(named)}` is not described",
        hint=f"described: {', '.join((*_EAGLE3, *_EAGLE))}",
    )


def _states(config: Section) -> int:
    """Hidden states of the target that an EAGLE-3 head reads."""
    nested = config.section("eagle_config")
    layers = nested.values.get("eagle_aux_hidden_state_layer_ids") if nested is not None else None
    default = len(layers) if isinstance(layers, list) and layers else 3
    return config.integer("num_aux_hidden_states", limit=64, default=default)


def _proposed(config: Section) -> int:
    """Tokens that who trained it proposes; 0 where nothing says so."""
    methods = config.section("speculators_config")
    said = methods.values.get("proposal_methods") if methods is not None else None
    first = said[0] if isinstance(said, list) and said and isinstance(said[0], dict) else {}
    tokens = first.get("speculative_tokens")
    return tokens if type(tokens) is int and 0 < tokens <= draft_facts().most.value else 0
