"""Mistral ``params.json`` to a model description; what is outside is refused by name, never guessed."""

from __future__ import annotations

from hw_specs.errors import shown
from planner.checkpoint.document import Section
from planner.checkpoint.huggingface import limits, pixtral, refuse_outside
from planner.checkpoint.quantization import UNQUANTIZED, Quantization, read_quantization
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.facts.vllm import vllm_facts
from planner.model import ModelSpec, VisionSpec


def read_mistral(params: Section, *, name: str, positions: int | None = None) -> ModelSpec:
    """Return the model that `params`, a params.json, describes.

    `positions` is the limit that a config.json beside it gives; it counts where params.json names none.

    Raises:
        UnsupportedModel: for a model outside the scope, by name.
        UnreadableCheckpoint: for missing, wrong or contradictory values.
    """
    refuse_outside(params)
    if params.text("model_type", default="transformer") not in ("transformer", "mistral"):
        raise UnsupportedModel(f"model type `{shown(params.text('model_type'))}` is not described")
    window = params.values.get("sliding_window")
    if window is not None and window != [None]:
        raise UnsupportedModel("this model uses sliding-window attention (`sliding_window` is set)")
    top = limits()
    hidden = params.integer("dim", limit=top.size)
    heads = params.integer("n_heads", limit=65536)
    kv_heads = params.integer("n_kv_heads", limit=65536)
    if heads % kv_heads:
        raise UnreadableCheckpoint(f"{kv_heads} KV heads do not divide {heads} attention heads in `{params.origin}`")
    vision = _vision(params)
    notes: list[str] = []
    usual = vllm_facts().params_positions.value
    limit = params.integer("max_position_embeddings", limit=top.positions, default=positions or usual)
    if "max_position_embeddings" not in params and positions is None:
        notes.append(f"params.json names no max_position_embeddings: vLLM takes {usual}")
    stored = _quantization(params)
    rows = _rope_rows(params, limit)
    return ModelSpec(
        name=name,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=params.integer("head_dim", limit=65536),
        intermediate_size=params.integer("hidden_dim", limit=top.size),
        vocab_size=params.integer("vocab_size", limit=top.size),
        max_position_embeddings=limit,
        layers=stored.groups(params.integer("n_layers", limit=top.layers)),
        tie_word_embeddings=params.flag("tied_embeddings"),
        vision=vision,
        kv_cache_scheme=stored.kv_cache_scheme,
        native_format=True,
        rope_cache_positions=rows if rows != limit else None,
        notes=tuple(notes),
    )


def _rope_rows(params: Section, positions: int) -> int:
    yarn = params.section("yarn")
    if yarn is None or not yarn.values:
        return positions
    original = yarn.integer("original_max_position_embeddings", limit=limits().positions)
    return int(original * yarn.number("factor", low=1, high=65536))


def _quantization(params: Section) -> Quantization:
    block = params.section("quantization")
    if block is None or not block.values:
        return UNQUANTIZED
    if block.text("qformat_weight") == "fp8_e4m3":
        scheme = block.values.get("qscheme_act")
        if scheme not in ("NO_SCALES", "TENSOR", None):
            raise UnsupportedModel(f"qscheme_act `{shown(str(scheme))}` is not described", hint="TENSOR or NO_SCALES")
        return read_quantization(Section(origin=block.origin, values={"quant_method": "fp8"}))
    if block.text("quant_method").lower().replace("_", "-") == "compressed-tensors":
        return read_quantization(block)
    raise UnsupportedModel(
        f"the quantisation in `{block.origin}` is not described",
        hint="vLLM reads qformat_weight fp8_e4m3 and compressed-tensors in params.json",
    )


def _vision(params: Section) -> VisionSpec | None:
    multimodal = params.section("multimodal")
    if multimodal is not None and "whisper_model_args" in multimodal:
        raise UnsupportedModel("a model with audio input is not described (`whisper_model_args` is set)")
    encoder = (multimodal.section("vision_encoder_args") if multimodal else None) or params.section("vision_encoder")
    if encoder is None:
        return None
    merge = 1
    if encoder.text("mm_projector_id") == "patch_merge":
        merge = encoder.integer("spatial_merge_size", limit=64)
    elif encoder.text("mm_projector_id"):
        raise UnsupportedModel(f"the projector `{shown(encoder.text('mm_projector_id'))}` is not described")
    return pixtral(
        encoder,
        merge=merge,
        norm=encoder.flag("add_pre_mm_projector_layer_norm"),
        bias=encoder.flag("adapter_bias", default=True),
    )
