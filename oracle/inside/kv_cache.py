"""Asks the release's own KV planner, and allocates what it allocates after profiling; it computes nothing itself."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch

from oracle.inside.engine import Started


def _function(name: str) -> Any:
    for module in ("vllm.v1.core.kv_cache_planning", "vllm.v1.core.kv_cache_utils"):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    raise AttributeError(f"this release has no {name}")


def _plan(config: Any, specs: dict[str, Any], available: int) -> Any:
    """One worker's KV cache configuration, through either form of `get_kv_cache_configs`."""
    configs = _function("get_kv_cache_configs")
    try:
        groups = _function("get_global_kv_cache_groups")(config, [specs])
    except AttributeError:
        return configs(config, [specs], [available])[0]
    return configs(config, [specs], [available], groups)[0]


def _resolve_layout(cache_config: Any) -> None:
    """Newer releases want the layout named before they plan; it does not change sizes."""
    if getattr(cache_config, "kv_cache_layout", "") is None:
        cache_config.kv_cache_layout = "NHD"


def after_profile(start: Started, available: int) -> dict[str, Any]:
    """Plan and allocate the KV cache in `available` bytes; what else is allocated with it stays outside the budget."""
    counter, runner, config = start.counter, start.runner, start.config
    base, before = counter.current, set(counter.live)
    specs = runner.get_kv_cache_spec()
    _resolve_layout(config.cache_config)
    plan = _plan(config, specs, available)
    config.cache_config.num_gpu_blocks = plan.num_blocks
    with torch.inference_mode():
        runner.initialize_kv_cache(plan)
    block_bytes = sum(s.page_size_bytes for s in specs.values())
    kv_bytes = sum(getattr(t, "size", 0) for t in plan.kv_cache_tensors)
    layer = next(iter(config.compilation_config.static_forward_context.values()))
    backend = layer.get_attn_backend().get_name() if hasattr(layer, "get_attn_backend") else ""
    return {
        "blocks": plan.num_blocks,
        "block_bytes": block_bytes,
        "kv_bytes": kv_bytes,
        "other_bytes": counter.current - base - kv_bytes,
        "backend": backend,
        "items": [(s.size, list(s.shape), s.dtype, s.where) for s in counter.born_since(before)[:12]],
    }


def vector(
    config: Any,
    *,
    layers: int,
    kv_heads: int,
    head_dim: int,
    dtype: str,
    available: int,
    max_model_len: int,
    original_len: int,
) -> dict[str, Any]:
    """Blocks, fitted length, tokens and concurrency for plain numbers; `max_model_len` -1 fits the length."""
    interface: Any = importlib.import_module("vllm.v1.kv_cache_interface")
    spec = interface.FullAttentionSpec(
        block_size=16, num_kv_heads=kv_heads, head_size=head_dim, dtype=getattr(torch, dtype)
    )
    specs = {f"model.layers.{i}.self_attn.attn": spec for i in range(layers)}
    model = config.model_config
    model.max_model_len = original_len if max_model_len == -1 else max_model_len
    model.original_max_model_len = max_model_len
    try:
        plan = _plan(config, specs, available)
    except (ValueError, AssertionError) as error:
        return {"error": str(error)}
    scheduler = _function("generate_scheduler_kv_cache_config")([plan])
    fitted = model.max_model_len
    answer = {"blocks": plan.num_blocks, "fitted_len": fitted, "error": None}
    try:
        capacity = _function("get_kv_cache_capacity")
    except AttributeError:
        concurrency = _function("get_max_concurrency_for_kv_cache_config")(config, scheduler)
        return answer | {"concurrency": concurrency, "tokens": None}
    values = capacity(config, scheduler)
    if isinstance(values, tuple):
        tokens, concurrency = values[0], values[1]
    else:
        tokens, concurrency = values.num_tokens, values.max_concurrency
    return answer | {"tokens": tokens, "concurrency": concurrency}


def stand_in_config(config: Any) -> Any:
    """A copy of `config` whose model and cache parts may be changed."""
    twin = copy.copy(config)
    twin.model_config = copy.copy(config.model_config)
    twin.cache_config = copy.copy(config.cache_config)
    _resolve_layout(twin.cache_config)
    return twin
