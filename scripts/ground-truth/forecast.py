"""Writes the planner's forecast of every run into a file, before the runs are made.

    python forecast.py MODELS RUNS.toml FORECAST.json --vllm-version 0.33.0 --gpu H100

MODELS is the folder that ``models.py`` wrote. One entry for each start, one more for each of its loads; an entry holds
the command and what it printed with ``--json``. A cut with its draft is no model that the command knows: its entry
holds the terms of every stage, as the planner's own ledger gives them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from server import gpus_needed

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from planner.checkpoint.preset import load_preset
from planner.facts.release import resolve_release
from planner.memory.ledger import rank_budgets
from planner.settings import Settings

PASSED = (
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--max-num-batched-tokens",
    "--max-num-seqs",
    "--gpu-memory-utilization",
    "--max-model-len",
    "--kv-cache-dtype",
)
SWITCHES = ("--language-model-only", "--enforce-eager")


def command(run: dict[str, Any], models: Path, *, vllm_version: str, gpu: str) -> list[str]:
    """Return the ``plan`` command for a run: the flags that it is started with, and its GPUs."""
    flags = run["flags"]
    given = {name: flags[flags.index(name) + 1] for name in PASSED if name in flags}
    given.setdefault("--tensor-parallel-size", "1")
    given.setdefault("--pipeline-parallel-size", "1")
    found = [
        sys.executable, "-m", "planner", "plan", "--gpus", f"{gpus_needed(run)}x{gpu}", "--replicas", "1",
        "--vllm-version", vllm_version,
    ]  # fmt: skip
    if run["model"] != "full":
        found += ["--model", str(models / run["model"] / "model")]
    for name, value in given.items():
        found += [name, value]
    found += [name for name in SWITCHES if name in flags]
    if run.get("draft"):
        found += ["--eagle", "3"]
    return [*found, "--json"]


def draft_ledger(run: dict[str, Any], *, vllm_version: str, gpu: str) -> dict[str, Any]:
    """Return the terms of a cut with its EAGLE draft, for each pipeline stage."""
    flags = run["flags"]

    def value(name: str, otherwise: str) -> str:
        return str(flags[flags.index(name) + 1]) if name in flags else otherwise

    whole = load_preset()
    count = whole.num_hidden_layers if run["model"] == "full" else int(run["model"].removeprefix("cut"))
    model = replace(whole, layers=(replace(whole.layers[0], count=count),))
    settings = Settings(
        tensor_parallel_size=int(value("--tensor-parallel-size", "1")),
        pipeline_parallel_size=int(value("--pipeline-parallel-size", "1")),
        replicas=1,
        max_model_len=int(value("--max-model-len", "262144")),
        max_num_seqs=int(value("--max-num-seqs", "1024")),
        max_num_batched_tokens=int(value("--max-num-batched-tokens", "8192")),
        gpu_memory_utilization=float(value("--gpu-memory-utilization", "0.92")),
        kv_cache_dtype=value("--kv-cache-dtype", "auto"),  # type: ignore[arg-type]
        language_model_only="--language-model-only" in flags,
        enforce_eager="--enforce-eager" in flags,
        num_speculative_tokens=3,
        load_format="mistral",
    )
    gpus = GpuSet(spec=get_gpu(gpu), count=gpus_needed(run))
    stages = rank_budgets(model, gpus, settings, resolve_release(vllm_version))
    return {
        "stages": [
            {
                "requested_bytes": stage.requested_bytes,
                "weights": asdict(stage.weights),
                "rope_bytes": stage.rope_bytes,
                "terms": {name: asdict(term) for name, term in stage.terms.items()},
                "outside_budget": {name: asdict(term) for name, term in stage.outside_budget.items()},
            }
            for stage in stages
        ]
    }


def load_options(load: dict[str, Any]) -> list[str]:
    """Return the options for one load; all prompts at once where it has no `concurrency`."""
    figures = {
        "--prompt-tokens": load["input"] + load.get("prefix", 0),
        "--output-tokens": load["output"],
        "--concurrency": load.get("concurrency", load["prompts"]),
        "--num-requests": load["prompts"],
    }
    if "prefix" in load:
        figures["--prefix-cache-hit-rate"] = load["prefix"] / figures["--prompt-tokens"]
    return [word for name, value in figures.items() for word in (name, str(value))]


def ask(arguments: list[str]) -> dict[str, Any]:
    """Run one command; what it printed, or its error."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    try:
        return {"plan": json.loads(done.stdout)}
    except json.JSONDecodeError:
        return {"error": done.stderr[-2000:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--vllm-version", required=True)
    parser.add_argument("--gpu", required=True)
    args = parser.parse_args()
    document = tomllib.loads(args.runs.read_text(encoding="utf-8"))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    entries = []
    for run in document["run"]:
        if run.get("draft"):
            ledger = draft_ledger(run, vllm_version=args.vllm_version, gpu=args.gpu)
            entries.append({"run": run["name"], "load": None, "ledger": ledger})
            continue
        start = command(run, args.models, vllm_version=args.vllm_version, gpu=args.gpu)
        entries.append({"run": run["name"], "load": None, "command": start[1:], **ask(start)})
        for load in run.get("bench", []):
            loaded = [*start[:-1], *load_options(load), "--json"]
            entries.append({"run": run["name"], "load": load, "command": loaded[1:], **ask(loaded)})
    written = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    result = {"commit": commit, "written": written, "gpu": args.gpu, "vllm_version": args.vllm_version}
    args.result.write_text(json.dumps({**result, "entries": entries}, indent=1) + "\n", encoding="utf-8")
    for entry in entries:
        print(
            entry["run"],
            entry["load"] or "",
            entry.get("error", "")[:300] or entry.get("plan", {}).get("verdict", "ledger"),
        )


if __name__ == "__main__":
    main()
