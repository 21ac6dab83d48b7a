"""Every argument vector that the emitters write, for those who ask a real parser about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, emit, plan, serve_command
from planner.rendering.multi_node import node_commands

SETS: dict[str, dict[str, Any]] = {
    "8xH200": {"num_speculative_tokens": 3},
    "1xMI300X": {"language_model_only": True},
    "4xB200": {"kv_cache_dtype": "fp8", "enforce_eager": True},
    "8xMI300X": {"tensor_parallel_size": 2, "load_format": "hf"},
    "2x8xH200": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    "2x8xMI300X": {},
    "8xH100": {"tensor_parallel_size": 4},
    "4xH100": {
        "enable_lora": True,
        "max_loras": 2,
        "max_cpu_loras": 4,
        "lora_target_modules": ("o_proj", "qkv_proj"),
        "fully_sharded_loras": True,
        "specialize_active_lora": True,
        "lora_dtype": "bfloat16",
        "cudagraph_mode": "FULL_DECODE_ONLY",
        "cudagraph_capture_sizes": (1, 2, 4),
        "async_scheduling": False,
        "api_server_count": 2,
    },
    "8xH200 ": {"async_scheduling": True, "max_cudagraph_capture_size": 64},
    "H200 MIG 7g.141gb": {"max_model_len": 1024, "language_model_only": True},
}


def containers(value: Any) -> Iterator[list[str]]:
    """The arguments of every engine's container in a document."""
    if isinstance(value, dict):
        if value.get("command") == ["vllm", "serve"]:
            yield value["args"]
        for one in value.values():
            yield from containers(one)
    elif isinstance(value, list):
        for one in value:
            yield from containers(one)


def emitted(gpus: str, settings: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Target and arguments of everything that starts an engine for `gpus`."""
    answer = plan(PlanRequest(gpus=parse_gpus(gpus), **settings))
    for node in node_commands(answer):
        if node.command is not None:
            yield "shell", list(node.command.engine_args)
    for kind in ("kubernetes", "lws", "kserve", "kserve-llm", "llm-d"):
        try:
            documents = list(yaml.safe_load_all(emit(kind, answer, unfit=True)))
        except InvalidRequest:
            continue
        for document in documents:
            for args in containers(document):
                given = {"$(LWS_LEADER_ADDRESS)": "10.0.0.1", "$(LWS_WORKER_INDEX)": "1"}
                yield kind, [given.get(word, word) for word in args]
    if len(node_commands(answer)) == 1:
        service = yaml.safe_load(emit("compose", answer, unfit=True))["services"]["vllm"]
        yield "compose", [word.replace("$$", "$") for word in service["command"]]
        yield "argv", list(serve_command(answer).engine_args)
