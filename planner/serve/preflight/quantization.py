"""Checks of how the model's weights are stored against the installed engine and these GPUs.

What a method of quantization needs is read from the engine's own sources: its tables of methods, of what a platform
takes, and the least compute capability that a method's class names.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from hw_specs.errors import shown
from planner.checkpoint.document import read_object
from planner.errors import UnreadableCheckpoint
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.preflight import sources
from planner.serve.preflight.checkpoint import folder_of, model_configuration
from planner.serve.preflight.engine import is_cpu_build, vllm_version
from planner.serve.preflight.machine import gpus_of_start, on_cpu
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_HOME = "model_executor/layers/quantization"
_AGAIN = "a checkpoint that is stored otherwise, or a release that reads it"
_APART = {
    "fp8": "fp8", "awq": "awq", "awq_marlin": "awq", "auto_awq": "awq", "gptq": "gptq", "gptq_marlin": "gptq",
    "auto_gptq": "gptq", "compressed-tensors": "compressed-tensors", "quark": "quark", "torchao": "torchao",
}  # fmt: skip
"""Methods of which no class takes over another one's checkpoints, by what is stored."""
_MODELOPT = {
    "FP8": "modelopt", "FP8_PER_CHANNEL_PER_TOKEN": "modelopt", "FP8_PB_WO": "modelopt", "NVFP4": "modelopt_fp4"
}  # fmt: skip
"""Algorithms of checkpoints that name no method; source: model_arch_config_convertor.py of vLLM 0.32.0."""


def check_quantization(subject: Subject) -> str | None:
    """Whether the installed release reads the model's quantization, and on these GPUs."""
    config = model_configuration(subject)
    if config is None:
        return None
    stored = _stored(subject, config)
    asked = option_value(subject.engine_args, "quantization")
    if stored is None and asked is None:
        return None
    folder, release = subject.sources("vllm"), vllm_version(subject)
    home = sources.module(folder, f"{_HOME}/__init__.py")
    methods = sources.words(sources.assigned(home, "QuantizationMethods"))
    if folder is None or not methods or release is None:
        raise Skipped("the methods of the installed engine cannot be read")
    if stored is not None and not isinstance(stored.get("quant_method"), str):
        raise Doubtful(
            "the quantization in config.json names no `quant_method`: the engine takes the weights for 16 bits",
            "the config.json of the program that quantized the model",
        )
    method = _method(stored) if stored is not None else str(asked)
    if stored is not None and asked is not None and {method, asked} <= set(_APART) and _APART[method] != _APART[asked]:
        raise Failed(
            f"--quantization {asked}, and config.json says `{method}`: the engine takes no two",
            "leave --quantization out: the checkpoint says it itself",
        )
    # Classes take over checkpoints of other names: whatever one of them compares a name with is not accused.
    taken_over = _taken_over(folder) if method not in methods else frozenset()
    if method not in methods and method not in taken_over:
        plugins = subject.packages.plugins if subject.packages is not None else []
        said = f"vLLM {release} does not read weights of quantization `{shown(method)}`"
        if plugins:
            raise Doubtful(f"{said}; {', '.join(plugins)} may bring it", "see the plugin's list of methods")
        raise Failed(said, _AGAIN)
    old = sources.words(sources.assigned(home, "DEPRECATED_QUANTIZATION_METHODS"))
    if method in old and not _allowed(subject):
        raise Failed(
            f"vLLM {release} is about to drop quantization `{method}` and asks for leave",
            "--allow-deprecated-quantization",
        )
    _check_platform(subject, folder, method, release)
    _check_capability(subject, folder, home, method, release)
    return f"vLLM {release} reads {method}"


def _stored(subject: Subject, config: dict[str, Any]) -> dict[str, Any] | None:
    """What the checkpoint says of its quantization, wherever it says it; None where it says nothing."""
    text = config.get("text_config")
    for one in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            found = one.get(key)
            if found is not None and not isinstance(found, dict):
                raise Failed(
                    f"`{key}` in config.json is `{shown(str(found))}`, not an object",
                    "the config.json of the program that quantized the model",
                )
            if found:
                return _with_method(found)
    folder = folder_of(subject.model or "", subject)
    if folder is None or not (folder / "hf_quant_config.json").is_file():
        return None
    try:
        return _with_method(read_object(folder / "hf_quant_config.json").values)
    except UnreadableCheckpoint:
        return None


def _with_method(found: dict[str, Any]) -> dict[str, Any]:
    inner = found.get("quantization")
    algorithm = inner.get("quant_algo") if isinstance(inner, dict) else None
    named = _MODELOPT.get(str(algorithm).upper())
    return {**found, "quant_method": named} if "quant_method" not in found and named else found


def _method(stored: dict[str, Any]) -> str:
    return str(stored["quant_method"]).lower().replace("compressed_tensors", "compressed-tensors")


def _allowed(subject: Subject) -> bool:
    return any(word.replace("_", "-") == "--allow-deprecated-quantization" for word in subject.engine_args)


def _taken_over(folder: Path) -> frozenset[str]:
    """Texts in the functions by which a class takes over a checkpoint of another method's name."""
    found: set[str] = set()
    for path in (folder / _HOME).rglob("*.py"):
        tree = sources.module(folder, str(path.relative_to(folder)))
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.FunctionDef) and node.name in ("override_quantization_method", "get_name"):
                found |= sources.words(node)
    return frozenset(found)


def _check_platform(subject: Subject, folder: Path, method: str, release: str) -> None:
    """Raise where the platform's own list of methods lacks this one; CUDA has no such list."""
    vendor = _vendor(subject)
    name, kind = {"amd": ("rocm", "RocmPlatform"), "cpu": ("cpu", "CpuPlatform")}.get(vendor, ("", ""))
    if not name:
        return
    taken = sources.words(
        sources.member(sources.module(folder, f"platforms/{name}.py"), kind, "supported_quantization")
    )
    if taken and method not in taken and method not in _taken_over(folder):
        where = "on ROCm" if vendor == "amd" else "on a CPU"
        raise Failed(f"vLLM {release} does not read quantization `{method}` {where}", _AGAIN)


def _vendor(subject: Subject) -> str:
    if on_cpu(subject) or (subject.plan is None and is_cpu_build(subject)):
        return "cpu"
    gpus = gpus_of_start(subject)
    return gpus.spec.vendor if gpus is not None else ""


def _check_capability(subject: Subject, folder: Path, home: ast.Module | None, method: str, release: str) -> None:
    """Raise where the GPUs are older than the method's class says that it needs."""
    gpus = gpus_of_start(subject) if _vendor(subject) == "nvidia" else None
    if gpus is None:
        return
    able = re.fullmatch(r"(\d+)\.(\d+)", gpus.spec.architecture)
    least = _least_capability(folder, home, method)
    if able is None or least is None:
        return
    if int(able[1]) * 10 + int(able[2]) < least:
        raise Failed(
            f"quantization `{method}` needs compute capability {least // 10}.{least % 10} in vLLM {release}, "
            f"{gpus.spec.name} has {gpus.spec.architecture}",
            "a newer GPU, or weights that are stored in 16 bits",
        )


def _least_capability(folder: Path, home: ast.Module | None, method: str) -> int | None:
    """The least capability, as ``89`` for 8.9, of the class that reads `method`; None where it is not known."""
    function = sources.named(home, "get_quantization_config")
    tables = [sources.pairs(one) for one in ast.walk(function)] if function is not None else []
    kind = next((table[method] for table in tables if method in table), None)
    place = sources.imported_from(function).get(kind or "", "")
    if kind is None or not place or place.startswith("vllm."):
        return None
    tree = sources.module(folder, f"{_HOME}/{place.replace('.', '/')}.py")
    found = sources.answer(sources.member(tree, kind, "get_min_capability"), {})
    return found if isinstance(found, int) else None
