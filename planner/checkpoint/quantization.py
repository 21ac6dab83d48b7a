"""What a quantisation config says about each linear layer; methods it does not know are refused by name.

Read: ``fp8``, ``fbgemm_fp8``, ``compressed-tensors``, ``awq``, ``gptq``, ``auto-round``, ``bitsandbytes``, ``quark``
and ``modelopt`` (FP8, NVFP4 and mixed, in config.json or hf_quant_config.json).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw_specs.errors import shown
from planner.checkpoint.document import Section
from planner.checkpoint.formats import MATRICES, MX_GROUP, LayerFormats, layer_groups, weight_format
from planner.checkpoint.patterns import PREFIXES, Patterns
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.model import BF16, LayerGroup, WeightFormat

FormatOf = Callable[[str], WeightFormat]
"""Module from ``layers.`` on → how its weight is stored."""
_GROUP_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Quantization:
    """The formats of a checkpoint as its configuration declares them."""

    format_of: FormatOf
    kv_cache_scheme: str | None = None
    """``fp8`` where the checkpoint declares a KV scheme, which ``--kv-cache-dtype auto`` then means."""

    def groups(self, layers: int) -> tuple[LayerGroup, ...]:
        """Return the runs of equal layers.

        Raises:
            UnsupportedModel: when matrices that the engine fuses are stored unlike.
        """
        return layer_groups(
            [
                LayerFormats(
                    layer=layer,
                    by_matrix={matrix: self.format_of(module_name(layer, matrix)) for matrix in MATRICES},
                )
                for layer in range(layers)
            ]
        )


def module_name(layer: int, matrix: str) -> str:
    """The module of one matrix, from ``layers.`` on.

    >>> module_name(3, "q_proj")
    'layers.3.self_attn.q_proj'
    """
    return f"layers.{layer}.{'self_attn' if matrix[0] in 'qkvo' else 'mlp'}.{matrix}"


UNQUANTIZED = Quantization(lambda _module: BF16)


def read_quantization(config: Section | None) -> Quantization:
    """Return what `config`, a ``quantization_config`` or ``hf_quant_config.json``, declares.

    Raises:
        UnsupportedModel: for a method or a layout that is not described.
        UnreadableCheckpoint: when it contradicts itself.
    """
    if config is None or not config.values:
        return UNQUANTIZED
    method = config.text("quant_method").lower().replace("_", "-")
    if not method and "quantization" in config:
        method = "modelopt"
    readers: dict[str, Callable[[Section], Quantization]] = {
        "fp8": _fp8,
        "fbgemm-fp8": _fbgemm,
        "compressed-tensors": _compressed_tensors,
        "awq": _awq,
        "gptq": _gptq,
        "auto-round": _gptq,
        "bitsandbytes": _bitsandbytes,
        "quark": _quark,
        "modelopt": _modelopt,
        "modelopt-fp4": _modelopt,
        "modelopt-mixed": _modelopt,
    }
    if method in ("mxfp4", "gpt-oss-mxfp4"):
        raise UnsupportedModel(
            f"vLLM quantises only experts with the method `{shown(method)}`, and a dense model has none",
            hint="dense models in MXFP4 come as compressed-tensors or quark",
        )
    if method not in readers:
        raise UnsupportedModel(
            f"quantisation method `{shown(method or 'none named')}` is not described",
            hint=f"described: {', '.join(sorted(readers))}, and no quantisation",
        )
    _refuse_quantized_head(config)
    return readers[method](config)


def _refuse_quantized_head(config: Section) -> None:
    if config.values.get("lm_head") is True:
        raise UnsupportedModel("a quantised lm_head is not described")


def _skipping(inner: WeightFormat, patterns: list[str]) -> FormatOf:
    skipped = Patterns(patterns)
    return lambda module: BF16 if skipped.match(module) else inner


def _fp8(config: Section) -> Quantization:
    block = config.values.get("weight_block_size")
    inner = weight_format("fp8")
    if block is not None:
        inner = _block(config, "weight_block_size")
    skipped = config.texts("modules_to_not_convert") + config.texts("ignored_layers")
    return Quantization(_skipping(inner, skipped))


def _block(config: Section, key: str) -> WeightFormat:
    value = config.values.get(key)
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(side) is int and 1 <= side <= _GROUP_LIMIT for side in value)
    ):
        raise UnreadableCheckpoint(f"`{key}` in `{config.origin}` must be two positive integers")
    return weight_format("fp8-block", group_rows=value[0], group_columns=value[1])


def _fbgemm(config: Section) -> Quantization:
    return Quantization(_skipping(weight_format("fp8-channel"), config.texts("modules_to_not_convert")))


def _awq(config: Section) -> Quantization:
    bits = config.integer("w_bit" if "w_bit" in config else "bits", limit=64)
    group = config.integer("q_group_size" if "q_group_size" in config else "group_size", limit=_GROUP_LIMIT)
    inner = _int(bits, group, "awq", zero_points=config.flag("zero_point", default=True))
    return Quantization(_skipping(inner, config.texts("modules_to_not_convert")))


def _gptq(config: Section) -> Quantization:
    for key in ("dynamic", "extra_config"):
        if config.values.get(key):
            raise UnsupportedModel(f"per-module GPTQ settings (`{key}`) are not described")
    group = config.values.get("group_size", -1)
    columns = 0 if group == -1 else config.integer("group_size", limit=_GROUP_LIMIT)
    # qzeros are stored for symmetric weights too, and vLLM's Machete kernel (Hopper) keeps them; Marlin drops them.
    inner = _int(config.integer("bits", limit=64), columns, "gptq", zero_points=True)
    return Quantization(_skipping(inner, config.texts("modules_to_not_convert")))


def _int(bits: int, group_columns: int, packing: str, *, zero_points: bool) -> WeightFormat:
    """Whole numbers that are multiplied in 16 bits; AWQ's have four bits, GPTQ's and compressed-tensors' eight too."""
    if bits not in ((4,) if packing == "awq" else (4, 8)):
        known = "4 bits are" if packing == "awq" else "4 and 8 bits are"
        raise UnsupportedModel(f"{bits}-bit weight-only integers are not described", hint=known)
    zero_point_bits = bits if zero_points else 0
    return weight_format(f"int{bits}", group_columns=group_columns, zero_point_bits=zero_point_bits, packing=packing)


def _bitsandbytes(config: Section) -> Quantization:
    """Stored by bitsandbytes: LLM.int8() or 4 bits, NF4 or FP4.

    Source: vLLM 0.27.0 quantization/bitsandbytes.py; blocks of 64 are bitsandbytes' default, and the config names none.
    """
    storage = config.text("bnb_4bit_quant_storage", default="uint8")
    eight = config.flag("load_in_8bit", default=config.flag("_load_in_8bit", default=False))
    if not eight and storage != "uint8":
        raise UnsupportedModel(f"vLLM reads no bitsandbytes weights that are stored as `{shown(storage)}`")
    return Quantization(_skipping(weight_format("bnb8" if eight else "bnb4"), config.texts("llm_int8_skip_modules")))


def _quark(config: Section) -> Quantization:
    """AMD Quark: one scheme for all linears that are not excluded, and KV heads of their own.

    Source: vLLM 0.33.0 quantization/quark/quark.py.
    """
    export = config.section("export")
    if export is None:
        raise UnreadableCheckpoint(f"`{config.origin}` names no `export`, which vLLM wants of Quark")
    heads = export.texts("kv_cache_group")
    layers = config.section("layer_quant_config")
    own = [name for name in (layers.values if layers else ()) if name not in heads]
    if own or config.values.get("layer_type_quant_config"):
        raise UnsupportedModel("per-layer Quark settings are not described")
    everything = config.section("global_quant_config")
    weights = everything.section("weight") if everything else None
    if weights is None:
        raise UnsupportedModel("Quark weights that are not quantised, or twice, are not described")
    return Quantization(_skipping(_quark_scheme(weights), config.texts("exclude")), "fp8" if heads else None)


def _quark_scheme(weights: Section) -> WeightFormat:
    kind, scheme = weights.text("dtype").lower(), weights.text("qscheme").lower()
    known = {
        ("fp8_e4m3", "per_tensor"): "fp8", ("fp8_e4m3", "per_channel"): "fp8-channel",
        ("int8", "per_channel"): "int8-channel",
    }  # fmt: skip
    if (kind, scheme) in known:
        return weight_format(known[kind, scheme])
    if (kind, scheme) == ("fp4", "per_group") and weights.values.get("group_size") == MX_GROUP:
        return weight_format("mxfp4", packing="quark")
    raise UnsupportedModel(f"Quark's `{shown(kind)}` weights with scheme `{shown(scheme)}` are not described")


def _compressed_tensors(config: Section) -> Quantization:
    groups = config.section("config_groups")
    if groups is None or not groups.values:
        raise UnreadableCheckpoint(f"`{config.origin}` names no `config_groups`")
    formats: list[tuple[Patterns | None, WeightFormat]] = []
    for name in groups.values:
        group = groups.section(name)
        weights = group.section("weights") if group else None
        if group is None or weights is None:
            raise UnreadableCheckpoint(f"`{shown(name)}` in `{groups.origin}` describes no weights")
        targets = group.texts("targets") or ["Linear"]
        formats.append((None if "Linear" in targets else Patterns(targets), _scheme(weights)))
    ignored = Patterns(config.texts("ignore"))

    def format_of(module: str) -> WeightFormat:
        if ignored.match(module):
            return BF16
        named = (inner for targets, inner in formats if targets is not None and targets.match(module))
        anything = (inner for targets, inner in formats if targets is None)
        return next(named, None) or next(anything, BF16)

    return Quantization(format_of, _kv_scheme(config))


def _scheme(weights: Section) -> WeightFormat:
    """One compressed-tensors weight scheme."""
    bits, kind = weights.integer("num_bits", limit=64), weights.text("type", default="int")
    strategy = weights.text("strategy")
    group = weights.values.get("group_size")
    columns = weights.integer("group_size", limit=_GROUP_LIMIT) if group not in (None, -1) else 0
    if kind == "float" and bits == 8 and strategy in ("tensor", "channel", "block"):
        if strategy == "block":
            return _block(weights, "block_structure")
        return weight_format("fp8" if strategy == "tensor" else "fp8-channel")
    if kind == "float" and bits in (4, 8) and strategy == "group" and columns == MX_GROUP:
        return weight_format(f"mxfp{bits}", packing="compressed-tensors")
    if kind == "float" and bits == 4 and (columns == 16 or strategy == "tensor_group"):
        return weight_format("nvfp4")
    if kind == "int" and bits == 8 and strategy == "channel":
        return weight_format("int8-channel")
    if kind == "int" and (bits, strategy) in ((4, "group"), (4, "channel"), (4, ""), (8, "group")):
        return _int(bits, columns, "compressed-tensors", zero_points=not weights.flag("symmetric", default=True))
    raise UnsupportedModel(f"{bits}-bit {shown(kind)} weights with strategy `{shown(strategy)}` are not described")


def _kv_scheme(config: Section) -> str | None:
    scheme = config.values.get("kv_cache_scheme")
    if isinstance(scheme, dict):
        if scheme.get("num_bits") == 8 and scheme.get("type") == "float":
            return "fp8"
        raise UnsupportedModel("a KV-cache scheme other than 8-bit floats is not described")
    return None


_MODELOPT = {
    "fp8": ("fp8", 0),
    "fp8_per_channel_per_token": ("fp8-channel", 0),
    "fp8_pb_wo": ("fp8-block", 128),
    "nvfp4": ("nvfp4", 0),
    "w4a16_nvfp4": ("nvfp4", 0),
    "w4a16_awq": ("int4", 128),
}


def _modelopt(config: Section) -> Quantization:
    """Both spellings: keys at the top of config.json's block, or below ``quantization``."""
    inner = config.section("quantization") or config
    algorithm = inner.text("quant_algo").lower()
    excluded = inner.texts("exclude_modules") + inner.texts("ignore")
    declared = inner.text("kv_cache_quant_algo").lower()
    if declared not in ("", "fp8", "none"):
        raise UnsupportedModel(f"the KV-cache scheme `{shown(declared)}` is not described")
    kv = "fp8" if declared == "fp8" else _kv_scheme(config)
    if algorithm != "mixed_precision":
        return Quantization(_skipping(_modelopt_format(algorithm), excluded), kv)
    layers = inner.section("quantized_layers")
    if layers is None or not layers.values:
        raise UnreadableCheckpoint(f"`{inner.origin}` says MIXED_PRECISION and names no `quantized_layers`")
    named: dict[str, WeightFormat] = {}
    for module in layers.values:
        entry = layers.section(module)
        assert entry is not None or layers.values[module] is None
        if entry is None:
            raise UnreadableCheckpoint(f"`{shown(module)}` in `{layers.origin}` names no algorithm")
        named[module] = _modelopt_format(entry.text("quant_algo").lower())
    skipped = Patterns(excluded)

    def format_of(module: str) -> WeightFormat:
        if skipped.match(module):
            return BF16
        return next((named[prefix + module] for prefix in PREFIXES if prefix + module in named), BF16)

    return Quantization(format_of, kv)


def _modelopt_format(algorithm: str) -> WeightFormat:
    if algorithm not in _MODELOPT:
        raise UnsupportedModel(
            f"the modelopt algorithm `{shown(algorithm)}` is not described", hint=f"described: {', '.join(_MODELOPT)}"
        )
    name, group = _MODELOPT[algorithm]
    rows, packing = group if name == "fp8-block" else 0, "modelopt" if name == "int4" else ""
    return weight_format(name, group_rows=rows, group_columns=group, packing=packing)
