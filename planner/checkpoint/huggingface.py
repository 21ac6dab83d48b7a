"""Hugging Face ``config.json`` to a model description; what is outside is refused by name, never guessed."""

from __future__ import annotations

from hw_specs.errors import shown
from planner.checkpoint.document import Section
from planner.checkpoint.quantization import Quantization, read_quantization
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.facts.architectures import Limits, Supported, architecture_facts
from planner.model import ModelSpec, VisionSpec


def limits() -> Limits:
    """The limits of ``architectures.toml``."""
    return architecture_facts().limits


def refuse_outside(section: Section) -> None:
    """Refuse by name what a set key gives away.

    Raises:
        UnsupportedModel: for a mixture of experts, MLA, hybrids and the like.
    """
    for key, what in architecture_facts().refused.items():
        if section.values.get(key):
            raise UnsupportedModel(
                f"this model is {what} (`{key}` is set in `{section.origin}`)"
                if what.startswith(("a ", "an "))
                else f"this model uses {what} (`{key}` is set in `{section.origin}`)",
                hint="described are dense decoder-only models of Llama, Mistral, Qwen2, Qwen3, Phi-3 and Granite shape",
            )


def _text_section(config: Section) -> tuple[Section, Section | None]:
    """The text model's section and the vision tower's."""
    model_type = config.text("model_type")
    wrappers = architecture_facts().wrappers
    nested = config.section("text_config")
    vision = config.section("vision_config")
    for key, what in (("audio_config", "audio"), ("speech_config", "audio"), ("talker_config", "speech")):
        if key in config:
            raise UnsupportedModel(f"a model with {what} input is not described (`{key}` is set)")
    if nested is None:
        if vision is not None:
            raise UnsupportedModel(f"the vision model `{shown(model_type)}` is not described")
        return config, None
    if vision is not None:
        tower = vision.text("model_type")
        if model_type not in wrappers or tower not in wrappers[model_type].vision:
            raise UnsupportedModel(
                f"the vision model `{shown(model_type)}` with a `{shown(tower)}` tower is not described",
                hint="described is the Pixtral tower, in `mistral3` and `llava`",
            )
    return nested, vision


def _traits(text: Section) -> Supported:
    """What the class of the text model adds to its configuration."""
    supported = architecture_facts().supported
    model_type = text.text("model_type")
    if not model_type:
        named = next(iter(text.texts("architectures")), "")
        model_type = next((kind for kind, traits in supported.items() if named in traits.architectures), named)
    if model_type not in supported:
        from difflib import get_close_matches

        near = get_close_matches(model_type, supported, n=1)
        raise UnsupportedModel(
            f"model type `{shown(model_type or 'none named')}` is not described",
            hint=f"described: {', '.join(supported)}" + (f"; did you mean `{near[0]}`?" if near else ""),
        )
    traits = supported[model_type]
    # A draft or a reward model of a known type has other tensors than the type says.
    architectures = text.texts("architectures")
    if architectures and not set(architectures) & set(traits.architectures):
        raise UnsupportedModel(
            f"architecture `{shown(architectures[0])}` is not described",
            hint=f"for `{model_type}`: {', '.join(traits.architectures)}",
        )
    return traits


def _refuse_windows(text: Section, traits: Supported, positions: int) -> None:
    kinds = {kind for kind in text.texts("layer_types") if kind != "full_attention"}
    if kinds:
        kind = sorted(kinds)[0]
        what = "sliding-window attention" if "sliding" in kind else "a hybrid of attention kinds"
        raise UnsupportedModel(f"this model uses {what} (`layer_types` holds `{shown(kind)}`)")
    switch = traits.sliding_window_switch
    window = text.values.get("sliding_window")
    if window is None or (switch and not text.flag(switch)):
        return
    if text.integer("sliding_window", limit=limits().positions) < positions:
        raise UnsupportedModel(f"this model uses sliding-window attention (`sliding_window` is {window})")


def _rope_type(scaling: Section) -> str:
    return scaling.text("rope_type") or scaling.text("type") or "default"


def _length_factor(scaling: Section | None) -> int:
    """By how much a scaling block lengthens `max_position_embeddings` in the engine's eyes."""
    lengthened = architecture_facts().rope_lengthened.types
    if scaling is None or not scaling.values or _rope_type(scaling) not in lengthened:
        return 1
    return int(scaling.number("factor", low=1, high=65536))


def rope_rows(scaling: Section | None, positions: int) -> int:
    """Rows of the RoPE table that vLLM builds for a scaling block.

    Raises:
        UnsupportedModel: for a scaling type that is not described.
    """
    rules = architecture_facts().rope
    if scaling is None or not scaling.values:
        return positions
    kind = _rope_type(scaling)
    if kind not in rules:
        raise UnsupportedModel(
            f"the RoPE scaling `{shown(kind)}` is not described", hint=f"described: {', '.join(rules)}"
        )
    rule = rules[kind]
    if rule == "max":
        return positions
    if rule == "scaled":
        return int(positions * scaling.number("factor", low=1, high=65536))
    original = scaling.integer("original_max_position_embeddings", limit=limits().positions, default=positions)
    if rule == "both":
        return original + positions
    return int(original * scaling.number("factor", low=1, high=65536))


def pixtral(section: Section, *, merge: int, norm: bool, bias: bool) -> VisionSpec:
    """The Pixtral tower of a vision section; keys are the same in both layouts.

    Raises:
        UnreadableCheckpoint: for missing or impossible dimensions.
    """
    top = limits()
    hidden = section.integer("hidden_size", limit=top.size)
    heads = section.integer("num_attention_heads", limit=top.size)
    patch = section.integer("patch_size", limit=4096)
    longest = section.integer("max_image_size" if "max_image_size" in section else "image_size", limit=65536)
    if hidden % heads:
        raise UnreadableCheckpoint(f"{heads} heads do not divide the hidden size {hidden} in `{section.origin}`")
    if longest < patch * merge:
        raise UnreadableCheckpoint(f"an image of {longest} pixels holds no patch of {patch} in `{section.origin}`")
    return VisionSpec(
        hidden_size=hidden,
        num_hidden_layers=section.integer("num_hidden_layers", limit=top.layers),
        intermediate_size=section.integer("intermediate_size", limit=top.size),
        num_attention_heads=heads,
        patch_size=patch,
        max_image_size=longest,
        num_channels=section.integer("num_channels", limit=64, default=3),
        spatial_merge_size=merge,
        projector_norm=norm,
        projector_bias=bias,
    )


def read_huggingface(config: Section, *, name: str, quantization: Section | None = None) -> ModelSpec:
    """Return the model that `config`, a config.json, describes; sizes follow from the dimensions.

    `quantization` is the content of hf_quant_config.json, used where config.json itself has no such block.

    Raises:
        UnsupportedModel: for a model outside the scope, by name.
        UnreadableCheckpoint: for missing, wrong or contradictory values.
    """
    refuse_outside(config)
    text, vision = _text_section(config)
    refuse_outside(text)
    top = limits()
    traits = _traits(text)
    positions = text.integer("max_position_embeddings", limit=top.positions)
    _refuse_windows(text, traits, positions)
    hidden = text.integer("hidden_size", limit=top.size)
    heads = text.integer("num_attention_heads", limit=65536)
    kv_heads = _kv_heads(text, traits, heads)
    head_dim = _head_dim(text, traits, hidden, heads)
    scaling = text.section("rope_parameters") or text.section("rope_scaling")
    partial = text.number("partial_rotary_factor", low=0.01, high=1, default=1.0)
    rows = rope_rows(scaling, positions)
    limit = positions * _length_factor(scaling)
    yarn = scaling is not None and _rope_type(scaling) == "yarn"
    block = next(
        (
            found
            for section in (config, text)
            for key in ("quantization_config", "compression_config")
            if (found := section.section(key)) is not None
        ),
        quantization,
    )
    stored: Quantization = read_quantization(block)
    attention_bias = text.flag(traits.attention_bias_key) if traits.attention_bias_key else False
    tied = text.flag("tie_word_embeddings", default=config.flag("tie_word_embeddings") if text is not config else False)
    return ModelSpec(
        name=name,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=text.integer("intermediate_size", limit=top.size),
        vocab_size=text.integer("vocab_size", limit=top.size),
        max_position_embeddings=limit,
        layers=stored.groups(text.integer("num_hidden_layers", limit=top.layers)),
        tie_word_embeddings=tied,
        qkv_bias=attention_bias or traits.qkv_bias,
        output_bias=attention_bias,
        mlp_bias=text.flag(traits.mlp_bias_key) if traits.mlp_bias_key else False,
        qk_norm=traits.qk_norm,
        vision=_vision(config, vision) if vision else None,
        kv_cache_scheme=stored.kv_cache_scheme,
        rope_cache_positions=rows if rows != limit else None,
        yarn_positions=rows if yarn and rows != limit else None,
        rotary_dim=int(head_dim * partial) if partial != 1 else None,
        # Where a configuration names no class, the engine takes that of the model type.
        architectures=tuple(config.texts("architectures")) or (traits.architectures[:1] if text is config else ()),
    )


def _kv_heads(text: Section, traits: Supported, heads: int) -> int:
    default = heads if traits.default_kv_heads == "num_attention_heads" else None
    kv_heads = text.integer("num_key_value_heads", limit=65536, default=default)
    if heads % kv_heads:
        raise UnreadableCheckpoint(f"{kv_heads} KV heads do not divide {heads} attention heads in `{text.origin}`")
    return kv_heads


def _head_dim(text: Section, traits: Supported, hidden: int, heads: int) -> int:
    if "head_dim" in text or traits.head_dim_required:
        return text.integer("head_dim", limit=65536)
    if hidden % heads:
        raise UnreadableCheckpoint(f"{heads} heads do not divide the hidden size {hidden} in `{text.origin}`")
    return hidden // heads


def _vision(config: Section, vision: Section) -> VisionSpec:
    """The tower with the projector that its wrapper builds."""
    defaults = architecture_facts().vision_defaults[vision.text("model_type")]
    given = {key: value for key, value in vision.values.items() if value is not None}
    vision = Section(origin=vision.origin, values={**vars(defaults), **given})
    if config.text("model_type") == "mistral3":
        merge = config.integer("spatial_merge_size", limit=64, default=2)
        return pixtral(vision, merge=merge, norm=True, bias=config.flag("multimodal_projector_bias"))
    return pixtral(vision, merge=1, norm=False, bias=config.flag("multimodal_projector_bias", default=True))
