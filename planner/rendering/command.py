"""From a plan to an argv and an environment; it never quotes and never runs."""

from __future__ import annotations

import shlex
from dataclasses import field

from hw_specs.frozen import dataclass
from planner.facts.vllm import vllm_facts
from planner.planning.answer import Plan
from planner.settings import DEFAULT_HOST, DEFAULT_PORT, Lora, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommand:
    """How a server is started."""

    argv: tuple[str, ...]
    """``("vllm", "serve", MODEL, …)``; the truth from which every text is rendered."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables the engine needs; never secrets."""

    @property
    def engine_args(self) -> tuple[str, ...]:
        """What follows ``vllm serve``, for images whose entry point is the server."""
        return self.argv[2:]

    @property
    def shell(self) -> str:
        """The argv as one line that ``shlex.split`` reads back to the same words."""
        return shlex.join(self.argv)


def serve_command(
    plan: Plan,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    served_model_name: str | None = None,
    local_replicas: int | None = None,
) -> ServeCommand:
    """Return the command that starts `plan` on one node, the replicas of that node behind one port.

    `local_replicas` says how many they are, where it is not as many as a node holds. A server that spans nodes needs
    more than this (:mod:`planner.rendering.multi_node`).

    Every planned setting is written out, so that a release with other defaults does not change the plan. Flags have
    vLLM's spelling with dashes.
    """
    settings, model, facts = plan.settings, plan.model, vllm_facts().command
    vendor = plan.gpus.spec.vendor
    argv = ["vllm", "serve", model.name]
    if served_model_name:
        argv += ["--served-model-name", served_model_name]
    argv += ["--host", host, "--port", str(port)]
    argv += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if settings.pipeline_parallel_size > 1:
        argv += ["--pipeline-parallel-size", str(settings.pipeline_parallel_size)]
    a_node_holds = max(1, plan.gpus.count // settings.layout.gpus_per_replica)
    replicas = min(settings.replicas, a_node_holds) if local_replicas is None else local_replicas
    if replicas > 1:
        argv += ["--data-parallel-size", str(replicas)]
    argv += ["--max-model-len", str(settings.max_model_len)]
    argv += ["--max-num-seqs", str(settings.max_num_seqs)]
    argv += ["--max-num-batched-tokens", str(settings.max_num_batched_tokens)]
    if settings.long_prefill_token_threshold:
        argv += ["--long-prefill-token-threshold", str(settings.long_prefill_token_threshold)]
    argv += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if settings.kv_cache_memory_bytes is not None:
        argv += ["--kv-cache-memory-bytes", str(settings.kv_cache_memory_bytes)]
    if settings.kv_cache_dtype != "auto":
        argv += ["--kv-cache-dtype", settings.kv_cache_dtype]
    if plan.request.block_size is not None:
        argv += ["--block-size", str(settings.block_size)]
    if settings.language_model_only and model.vision is not None:
        argv += ["--language-model-only"]
    if settings.enforce_eager:
        argv += ["--enforce-eager"]
    argv += _graph_flags(settings)
    argv += _lora_flags(settings.lora)
    if settings.async_scheduling is not None:
        argv += ["--async-scheduling" if settings.async_scheduling else "--no-async-scheduling"]
    if settings.api_server_count is not None:
        argv += ["--api-server-count", str(settings.api_server_count)]
    if model.native_format:
        if settings.load_format == "mistral":
            argv += ["--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral"]
        else:
            argv += ["--tokenizer-mode", "hf", "--config-format", "hf", "--load-format", "safetensors"]
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", facts.tool_call_parser]
        argv += ["--reasoning-parser", facts.reasoning_parser]
    if vendor in facts.no_prefix_caching_vendors:
        argv += ["--no-enable-prefix-caching"]
    if settings.num_speculative_tokens:
        # Layers of the model's own need no other name; what looks for repeated text has none.
        named = model.draft is not None and settings.spec_method in ("eagle", "eagle3")
        draft: dict[str, object] = {"model": model.draft.name} if named and model.draft else {}
        draft |= {"method": settings.spec_method, "num_speculative_tokens": settings.num_speculative_tokens}
        if settings.speculative_max_model_len is not None:
            draft["max_model_len"] = settings.speculative_max_model_len
        from json import dumps  # only where there is a draft

        argv += ["--speculative-config", dumps(draft, separators=(",", ":"))]
    return ServeCommand(argv=tuple(argv), env={**facts.env.get(vendor, {}), **dict(plan.gpus.env)})


def _graph_flags(settings: Settings) -> list[str]:
    argv = []
    if settings.cudagraph_mode is not None:
        argv += ["--compilation-config", f'{{"cudagraph_mode":"{settings.cudagraph_mode}"}}']
    if settings.cudagraph_capture_sizes is not None:
        argv += ["--cudagraph-capture-sizes", *map(str, settings.cudagraph_capture_sizes)]
    if settings.max_cudagraph_capture_size is not None:
        argv += ["--max-cudagraph-capture-size", str(settings.max_cudagraph_capture_size)]
    return argv


def _lora_flags(lora: Lora | None) -> list[str]:
    if lora is None:
        return []
    argv = ["--enable-lora", "--max-loras", str(lora.max_loras), "--max-lora-rank", str(lora.max_lora_rank)]
    if lora.max_cpu_loras != lora.max_loras:
        argv += ["--max-cpu-loras", str(lora.max_cpu_loras)]
    if lora.lora_dtype != "auto":
        argv += ["--lora-dtype", lora.lora_dtype]
    if lora.fully_sharded_loras:
        argv += ["--fully-sharded-loras"]
    if lora.specialize_active_lora:
        argv += ["--specialize-active-lora"]
    if lora.lora_target_modules is not None:
        argv += ["--lora-target-modules", *lora.lora_target_modules]
    return argv


def wrapped(words: tuple[str, ...], *, width: int, indent: str = "  ") -> str:
    """Return quoted words over several lines that a shell reads as one; a flag and its value stay together."""
    units: list[str] = []
    for index, word in enumerate(words):
        belongs = index > 0 and words[index - 1].startswith("-") and not word.startswith("-")
        if belongs:
            units[-1] += " " + shlex.quote(word)
        else:
            units.append(shlex.quote(word))
    lines = [units[0]]
    for unit in units[1:]:
        if len(lines[-1]) + 1 + len(unit) > width - 2:
            lines[-1] += " \\"
            lines.append(indent + unit)
        else:
            lines[-1] += " " + unit
    return "\n".join(lines)
