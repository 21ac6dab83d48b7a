"""Runs inside the engine's environment: answers KV planning questions with vLLM's own code.

stdin: a JSON list of ``{layers: [layers of each pipeline stage], kv_heads, head_dim, dtype, available: [bytes],
max_model_len}``; stdout: one JSON object a line, ``{blocks, tokens, concurrency, max_model_len}`` or ``{error}``.
"""

import json
import sys
from types import SimpleNamespace

import torch
from vllm.config import VllmConfig
from vllm.v1.core.kv_cache_utils import (
    generate_scheduler_kv_cache_config,
    get_kv_cache_capacity,
    get_kv_cache_configs,
)
from vllm.v1.kv_cache_interface import FullAttentionSpec

DTYPES = {"bfloat16": torch.bfloat16, "fp8": torch.uint8}


def answer(config: VllmConfig, vector: dict) -> dict:
    length = vector["max_model_len"]
    config.model_config = SimpleNamespace(
        max_model_len=262144 if length == -1 else length, original_max_model_len=length, use_mla=False
    )
    spec = FullAttentionSpec(
        block_size=vector["block_size"],
        num_kv_heads=vector["kv_heads"],
        head_size=vector["head_dim"],
        dtype=DTYPES[vector["dtype"]],
    )
    start, workers = 0, []
    for layers in vector["layers"]:
        workers.append({f"layer.{index}": spec for index in range(start, start + layers)})
        start += layers
    try:
        configs = get_kv_cache_configs(config, workers, list(vector["available"]))
    except ValueError as error:
        return {"error": str(error)}
    pool = generate_scheduler_kv_cache_config(configs)
    tokens, concurrency = get_kv_cache_capacity(config, pool)
    return {
        "blocks": pool.num_blocks,
        "tokens": tokens,
        "concurrency": concurrency,
        "max_model_len": config.model_config.max_model_len,
    }


def main() -> None:
    config = VllmConfig()
    config.cache_config.kv_cache_layout = "LBNHC"
    for vector in json.load(sys.stdin):
        print("ORACLE " + json.dumps(answer(config, vector)), flush=True)


main()
