"""What a server started with no settings gets on a given card; the release's own configuration code decides."""

from __future__ import annotations

import importlib
from typing import Any

from oracle.inside import engine
from oracle.inside.device import Device


def of(device: Device, card: dict[str, Any], setup: engine.Setup) -> dict[str, Any]:
    """Defaults on `card` (name, driver bytes, capability); the pretended device is changed for the time of the call."""
    saved = {name: getattr(device, name) for name in card}
    for name, value in card.items():
        setattr(device, name, tuple(value) if isinstance(value, list) else value)
    try:
        from vllm.engine.arg_utils import EngineArgs

        usage: Any = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
        arguments = EngineArgs(
            model=setup.model,
            tokenizer_mode="mistral",
            config_format="mistral",
            load_format="dummy",
        )
        config: Any = arguments.create_engine_config(usage)
    finally:
        for name, value in saved.items():
            setattr(device, name, value)
    sizes = config.compilation_config.cudagraph_capture_sizes or []
    return {
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "gpu_memory_utilization": config.cache_config.gpu_memory_utilization,
        "cudagraph_max_tokens": max(sizes, default=0),
        "cudagraph_sizes": len(sizes),
        "block_size": config.cache_config.block_size,
        "runner": "v2" if engine.uses_v2(config) else "v1",
    }
