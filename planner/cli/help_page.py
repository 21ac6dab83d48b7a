"""The help of a command: options in groups, then examples. Loaded only for help, and by the tests."""

from __future__ import annotations

from collections.abc import Mapping

import click

from planner.cli.charset import UNBROKEN
from planner.planning.engine_limits import LORA_FIELDS
from planner.planning.load import LOAD, WORKLOAD
from planner.planning.request import SETTINGS, option_for
from planner.rendering.json_flags import GRAPH_KEYS

PLAN = "plan"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "GPUs, model and release": ("gpus", "gpu_memory", "model", "load_format", "vllm_version"),
    "Layout": ("tensor_parallel_size", "pipeline_parallel_size", "replicas"),
    "Context and requests": (
        "max_model_len", "concurrency", "max_num_seqs", "max_num_batched_tokens",
        "long_prefill_token_threshold", "limit_mm_per_prompt_image",
        "language_model_only",
    ),
    "Memory and engine": (
        "gpu_memory_utilization", "kv_cache_memory_bytes", "kv_cache_dtype", "block_size", "enforce_eager",
        "cudagraph_mode", "cudagraph_capture_sizes", "max_cudagraph_capture_size", "compilation_config",
        "async_scheduling", "api_server_count",
        "mm_encoder_tp_mode", "spec_method", "num_speculative_tokens", "spec_model", "speculative_max_model_len",
        "speculative_config",
    ),
    "LoRA adapters": (
        "enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras", "fully_sharded_loras", "lora_dtype",
        "specialize_active_lora", "lora_target_modules",
    ),
    "Load": WORKLOAD,
    "Targets and price": tuple(name for name in LOAD if name not in WORKLOAD),
    "To deploy": (
        "emit_kind", "output_dir", "emit_unfit", "host", "port", "name", "namespace", "image", "image_digest",
        "storage_class", "secret", "pull_secret", "mig_strategy", "head_address", "prometheus", "env", "labels",
    ),
}  # fmt: skip
"""Heading → parameters of a plan; what is in no group stands under "Output"."""

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "plan": (
        ("m35-plan --gpus 1xMI300X", "what one MI300X holds"),
        ("m35-plan --gpus 8xH200 --concurrency 32 --ttft-ms 500", "for a load with a target"),
        ("m35-plan --gpus 8xH200 --emit kubernetes --output deploy", "the manifests of that plan"),
    ),
    "detect": (
        ("m35-plan detect", "the GPUs of this machine"),
        ("m35-plan detect --json > host.json", "a snapshot; `m35-plan --gpus @host.json` plans for it elsewhere"),
        ("m35-plan detect examples/hosts/8xH200.json", "what a snapshot says"),
    ),
    "fleet": (
        ("m35-plan fleet examples/hosts/*.json", "one row per host; `--json` for programs"),
        (
            "kubectl get nodes -o json | m35-plan fleet -",
            "the nodes of a cluster; `scontrol show node` of Slurm as well",
        ),
    ),
    "gpus": (
        ("m35-plan gpus", "the catalogue"),
        ("m35-plan gpus H200", "one card, with sources"),
        ("m35-plan gpus --json", "for programs"),
    ),
    "spec": (("m35-plan spec", "every command, option and schema as JSON"),),
    "review": (
        ("m35-plan review --gpus 8xH200 -- vllm serve mistralai/Mistral-Medium-3.5-128B", "a command"),
        ("m35-plan review --gpus 8xH200 examples/compose.yaml", "a file; by line"),
        ("m35-plan review --gpus 8xH200 --diff examples/compose.yaml", "what --fix would change"),
    ),
    "sweep": (
        ("m35-plan sweep --gpus 8xH200,4xB200 --max-model-len 32K,256K", "what each layout holds"),
        ("m35-plan sweep --gpus 4xH200,8xH200 --prompt-tokens 2048", "how fast each is"),
        ("m35-plan sweep --gpus 8xH200 --plot terminal -x max_model_len", "as a curve"),
    ),
    "diff": (
        ("m35-plan diff --gpus 8xH200 --vllm-version 0.28.0 0.33.0", "two releases"),
        ("m35-plan diff 8xH200 4xB200", "two sets of GPUs"),
        ("m35-plan diff examples/plan.json 0.33.0 --markdown", "a kept plan against another release"),
    ),
    "bench": (
        ("m35-plan bench --print --concurrency 32", "the command it would run"),
        ("m35-plan bench --plan plan.json --concurrency 32", "measure, beside the forecast"),
        ("m35-plan bench --result result.json --plan plan.json", "read what was measured before"),
    ),
    "check": (
        ("m35-plan check", "this machine, its own GPUs"),
        ("m35-plan check --gpus 8xH200 --vllm /opt/vllm/bin/vllm", "another vLLM than the one on PATH"),
        ("m35-plan check --gpus 8xH200 --target docker", "for a container"),
    ),
    "rehearse": (
        ("m35-plan rehearse --gpus 8xH200", "the same flags on a tiny twin"),
        ("m35-plan rehearse --gpus auto --full-size", "the real sizes on these GPUs, random weights"),
        ("m35-plan rehearse --gpus 8xH200 --json", "for programs"),
    ),
    "launch": (
        ("m35-plan launch --gpus 8xH200", "check, start, follow until ready"),
        ("m35-plan launch --gpus 8xH200 --dry-run", "show what would be started"),
        ("m35-plan launch --gpus 8xH200 -- --served-model-name m35", "more flags for vLLM"),
    ),
    "attach": (
        ("m35-plan attach latest", "keep watching the last run"),
        ("m35-plan attach latest --until end", "until it stops"),
        ("m35-plan attach latest --json", "every event as a JSON line"),
    ),
    "stop": (
        ("m35-plan stop latest", "the last run"),
        ("m35-plan stop --all", "every run of this machine"),
        ("m35-plan stop latest --json", "for programs"),
    ),
    "runs": (
        ("m35-plan runs", "what was launched here"),
        ("m35-plan runs --json", "for programs"),
    ),
    "watch": (
        ("m35-plan watch latest", "the newest run, a line every five seconds"),
        ("m35-plan watch http://127.0.0.1:8000 --every 1", "any server"),
        ("m35-plan watch latest --json", "every sample as a JSON line"),
    ),
    "verify": (
        ("m35-plan verify", "the server on port 8000"),
        ("m35-plan verify http://127.0.0.1:8001 --plan plan.json", "against a plan"),
        ("m35-plan verify --run latest --long", "a launched run, its whole context too"),
        ("m35-plan verify --run latest --report acceptance.html", "with the page to hand on"),
    ),
    "diagnose": (
        ("m35-plan diagnose examples/logs/kv-cache-too-small.log", "a log"),
        ("m35-plan diagnose latest", "a launched run"),
        ("m35-plan diagnose node-0.log node-1.log", "a start over two nodes"),
        ("kubectl logs POD --previous | m35-plan diagnose -", "from a pod that died"),
    ),
    "calibrate": (
        ("m35-plan calibrate latest", "keep what the last start measured"),
        ("m35-plan calibrate examples/logs/1xH200-text.log --gpus 1xH200 --dry-run", "what a log says"),
        ("m35-plan calibrate --list", "what is kept"),
    ),
    "accuracy": (
        ("m35-plan accuracy", "predicted against measured"),
        ("m35-plan accuracy --json", "for programs"),
    ),
    "help": (("m35-plan help targets", "a topic"),),
}
"""Command → lines to copy, and what each is for."""


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of `command`: in groups for a plan, and only its own in full for any other."""
    records = {param.name or "": record for param in command.get_params(ctx) if (record := param.get_help_record(ctx))}
    grouped = {name for names in GROUPS.values() for name in names}
    if ctx.info_name == PLAN:
        for title, names in GROUPS.items():
            _section(formatter, title, [records[name] for name in names])
        _section(formatter, "Output", [record for name, record in records.items() if name not in grouped])
        return
    shared = [
        name
        for name in records
        if name in SETTINGS or name in ("model", "gpu_memory", "speculative_config", "compilation_config")
    ]
    whole_plan = len(shared) > len(GROUPS["Layout"]) and ctx.info_name != "sweep"
    own = {name: record for name, record in records.items() if not (whole_plan and name in shared)}
    _section(formatter, "Options", list(own.values()))
    if whole_plan:
        # What needs another option, or says a part of one, is found beside it.
        beside = (*LORA_FIELDS, *(name for name, _ in GRAPH_KEYS.values()), "speculative_max_model_len")
        words = " ".join(option_for(name) for name in shared if name not in beside)
        with formatter.section("Options of a plan, explained by `m35-plan plan --help`"):
            formatter.write_text(words.replace("-", UNBROKEN))


def _section(formatter: click.HelpFormatter, title: str, records: list[tuple[str, str]]) -> None:
    if records:
        with formatter.section(title):
            formatter.write_dl([(option, text.replace("-", UNBROKEN)) for option, text in records])


def write_examples(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write what people copy, each with what it is for."""
    with formatter.section("Examples"):
        for line, purpose in EXAMPLES[ctx.info_name or PLAN]:
            formatter.write(f"  # {purpose}\n  {line}\n")
