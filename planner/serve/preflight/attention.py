"""Checks of an attention backend that is asked for: the model's heads, the KV cache's type, the GPUs and its package.

The engine validates it when it loads the model, and stops where it does not fit. Its class says in its sources what it
takes; what only running it would tell is not judged.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_specs.parsing import BadJson, parse_json
from planner.facts.preflight import preflight_facts
from planner.facts.review import variables
from planner.serve.check import Failed, Skipped
from planner.serve.preflight import sources
from planner.serve.preflight.checkpoint import model_configuration
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.machine import gpus_of_start
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

if TYPE_CHECKING:
    from hw_specs.spec import GpuSet

_REGISTRY = "v1/attention/backends/registry.py"
_FLASH = "v1/attention/backends/fa_utils.py"
_WHOLE = ("auto", "float16", "bfloat16")
"""Types of a KV cache that is not quantized."""
_VARIABLE = "VLLM_ATTENTION_BACKEND"
_AGAIN = "leave the backend out: the engine picks one that fits"


def check_attention(subject: Subject) -> str | None:
    """Whether the attention backend that is asked for, or any where none is, takes model, KV cache and GPUs."""
    asked, where = _asked(subject)
    stored = option_value(subject.engine_args, "kv-cache-dtype") or "auto"
    if not asked and stored in _WHOLE:
        return None
    release, folder = vllm_version(subject), subject.sources("vllm")
    registry = sources.module(folder, _REGISTRY)
    places = sources.texts(sources.named(registry, "AttentionBackendEnum"))
    if folder is None or not places or release is None:
        raise Skipped("the attention backends of the installed engine cannot be read")
    gpus = gpus_of_start(subject)
    if asked:
        if asked not in places and where.startswith("--attention-backend"):
            return None  # The check of the settings says so.
        if asked not in places:
            raise Failed(f"{where}: vLLM {release} has no backend of that name", _AGAIN)
        fault = _fault(subject, folder, asked, places[asked], stored, gpus)
        if fault is not None:
            raise Failed(f"{where} {fault[0]}", fault[1])
        return f"{where} fits"
    picked = _picked(folder, gpus) if _whole_heads(model_configuration(subject)) else ()
    faults = [_fault(subject, folder, name, places[name], stored, gpus) for name in picked if name in places]
    if faults and all(fault is not None for fault in faults):
        lacking = next((fault for fault in faults if fault is not None and fault[0].startswith("needs")), None)
        raise Failed(
            f"no attention backend of vLLM {release} takes --kv-cache-dtype {stored} here"
            + (f"; the one that would {lacking[0]}" if lacking is not None else ""),
            (f"{lacking[1]}; or " if lacking is not None else "") + "--kv-cache-dtype auto",
        )
    return f"--kv-cache-dtype {stored}; a backend takes it" if faults else None


def _picked(folder: Path, gpus: GpuSet | None) -> tuple[str, ...]:
    """Backends that the engine picks from on these GPUs for plain attention."""
    platform = {"nvidia": "cuda", "amd": "rocm"}.get(gpus.spec.vendor if gpus is not None else "", "")
    rule = sources.named(sources.module(folder, f"platforms/{platform}.py"), "_get_backend_priorities")
    every = list(ast.walk(rule)) if rule is not None else []
    # Those of images alone stand in conditions.
    apart = [one for inner in every if isinstance(inner, ast.IfExp) for one in ast.walk(inner)]
    names = [one.attr for one in every if isinstance(one, ast.Attribute) and one not in apart]
    return tuple(name for name in dict.fromkeys(names) if name.isupper() and "MLA" not in name)


def _asked(subject: Subject) -> tuple[str, str]:
    """The backend that is asked for, in capitals, and by what; empty where none is, or the engine is left to pick."""
    name, where = option_value(subject.engine_args, "attention-backend"), "--attention-backend"
    if name is None:
        name, where = option_value(subject.engine_args, "attention-config.backend"), "--attention-config.backend"
    if name is None:
        where = "--attention-config"
        try:
            name = parse_json(option_value(subject.engine_args, "attention-config") or "{}").get("backend")
        except (BadJson, AttributeError):
            name = None
    if name is None:
        where, version = _VARIABLE, vllm_version(subject)
        read = version is not None and variables().gone_since(_VARIABLE, version.partition("+")[0]) is None
        name = subject.given.get(_VARIABLE) if read else None
    asked = name.upper() if isinstance(name, str) else ""
    return ("", "") if asked in ("", "AUTO") else (asked, f"{where} {asked}")


def _fault(
    subject: Subject, folder: Path, name: str, place: str, stored: str, gpus: GpuSet | None
) -> tuple[str, str] | None:
    """Why the backend `name` surely refuses, as the end of a sentence, and what to do; None where it is not sure."""
    facts, able = preflight_facts().backend_packages, _capability(gpus)
    vendor = gpus.spec.vendor if gpus is not None else None
    wanted = next((vendor for begins, vendor in facts.vendors.items() if name.startswith(begins)), vendor)
    if gpus is not None and vendor != wanted:
        return f"is not for {gpus.spec.name}", _AGAIN
    module, _, kind = place.rpartition(".")
    tree = sources.module(folder, module.removeprefix("vllm.").replace(".", "/") + ".py")
    if tree is None:
        return None if place else ("is not for text", _AGAIN)
    if _whole_heads(model_configuration(subject)) and any(
        sources.answer(sources.member(tree, kind, rule, folder=folder), {}) is True for rule in ("is_mla", "is_sparse")
    ):
        return "is for latent or sparse attention, which this model does not have", _AGAIN
    said = _heads(folder, model_configuration(subject), tree, kind) or _cache(folder, tree, kind, stored, able)
    if said:
        return said, _AGAIN
    rule = sources.member(tree, kind, "supports_compute_capability", folder=folder)
    if gpus is not None and able and sources.answer(rule, {"capability": able}) is False:
        return f"does not run on {gpus.spec.name} (compute capability {gpus.spec.architecture})", _AGAIN
    package = next((package for begins, package in facts.by_name.items() if name.startswith(begins)), None)
    if package is not None and subject.versions is not None and package not in subject.versions:
        written = package.replace("_", "-")
        return f"needs {written}, which is not installed", f"`uv pip install {written}` into its environment"
    return None


def _heads(folder: Path, config: dict[str, Any] | None, tree: ast.Module, kind: str) -> str:
    size = _head_size(config)
    if size is None:
        return ""
    taken = sources.answer(sources.member(tree, kind, "get_supported_head_sizes", folder=folder), {})
    takes = sources.answer(sources.member(tree, kind, "supports_head_size", folder=folder), {"head_size": size})
    listed = taken if isinstance(taken, tuple) else ()
    if takes is False or (takes is None and listed and size not in listed):
        return f"takes no heads of {size} elements" + (f", only {', '.join(map(str, listed))}" if listed else "")
    return ""


def _whole_heads(config: dict[str, Any] | None) -> bool:
    """Whether the model surely has plain attention: no key of a latent or a sparse one."""
    text = config.get("text_config") if config is not None else None
    part = text if isinstance(text, dict) else config
    return part is not None and not any(
        key in part for key in ("kv_lora_rank", "index_topk", "sparse_attention_config")
    )


def _head_size(config: dict[str, Any] | None) -> int | None:
    if config is None:
        return None
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    size, hidden, heads = part.get("head_dim"), part.get("hidden_size"), part.get("num_attention_heads")
    if type(size) is int:
        return size
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else None


def _cache(folder: Path, tree: ast.Module, kind: str, stored: str, able: tuple[int, int] | None) -> str:
    taken = sources.words(sources.member(tree, kind, "supported_kv_cache_dtypes", folder=folder))
    if stored != "auto" and taken and stored not in taken:
        return f"does not take --kv-cache-dtype {stored}, only {', '.join(sorted(taken))}"
    if able is None:
        return ""
    given: dict[str, object] = {
        "kv_cache_dtype": stored,
        "is_quantized_kv_cache()": lambda name: name not in _WHOLE,
        "is_device_capability_family()": lambda wanted: wanted // 10 == able[0],
        "is_xpu()": lambda: False,
    }
    given["flash_attn_supports_kv_cache_dtype()"] = lambda name: sources.answer(
        sources.named(sources.module(folder, _FLASH), "flash_attn_supports_kv_cache_dtype"),
        {**given, "kv_cache_dtype": name},
    )
    if sources.answer(sources.member(tree, kind, "supports_kv_cache_dtype", folder=folder), given) is False:
        return f"does not take --kv-cache-dtype {stored} on GPUs of compute capability {able[0]}.{able[1]}"
    return ""


def _capability(gpus: GpuSet | None) -> tuple[int, int] | None:
    """What CUDA can do on these GPUs, as (9, 0); None for others."""
    able = re.fullmatch(r"(\d+)\.(\d+)", gpus.spec.architecture) if gpus is not None else None
    return (int(able[1]), int(able[2])) if able is not None else None
