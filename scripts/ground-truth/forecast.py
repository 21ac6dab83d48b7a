"""Writes the planner's forecast of every run into a file, before the runs are made.

    python forecast.py RUNS.toml FORECAST.json --vllm-version 0.33.0 --gpu H100 [--only EXPRESSION] [--models MODELS]

One entry for each start, one more for each of its loads: the plan as ``m35-plan --json`` prints it, with the forecast
of a load in ``speed``. The settings are the run's own; what it leaves open is the release's default. MODELS, the folder
that ``models.py`` wrote, is needed for the dense model only: the others are the shipped one with fewer layers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents import expected
from server import gpus_needed

from hw_specs import parse_gpus
from planner import M35Error, Plan, PlanRequest, Workload, forecast, load_model, plan, plan_document, to_json_value
from planner.checkpoint.preset import load_preset
from planner.model import ModelSpec

VALUES: dict[str, Any] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "max_num_batched_tokens": int,
    "max_num_seqs": int,
    "gpu_memory_utilization": float,
    "max_model_len": int,
    "kv_cache_dtype": str,
}
SWITCHES = ("language_model_only", "enforce_eager")
DRAFT_TOKENS = 3
MODELLED = ("eagle",)
"""Methods of a draft that these forecasts say; a start with another is forecast without its draft."""
SPEED = ("output_tokens_per_s", "ttft_ms", "ttft_p99_ms", "tpot_ms", "itl_ms", "itl_p99_ms", "acceptance_length")


def option(name: str) -> str:
    """Return vLLM's flag for a setting."""
    return f"--{name.replace('_', '-')}"


def model_of(run: dict[str, Any], models: Path | None) -> ModelSpec:
    """Return the shipped model, cut to the run's layers, or what MODELS has of that name."""
    whole = load_preset()
    if run["model"] == "full":
        return whole
    if run["model"].startswith("cut"):
        return replace(whole, layers=(replace(whole.layers[0], count=int(run["model"].removeprefix("cut"))),))
    if models is None:
        raise SystemExit(f"{run['name']}: --models is needed for {run['model']}")
    return load_model(models / run["model"] / "model")


def draft_tokens(run: dict[str, Any]) -> int:
    """Return the tokens of a run's draft, 0 where the forecasts do not say its method."""
    speculation: dict[str, Any] = (
        {"method": "eagle", "num_speculative_tokens": DRAFT_TOKENS} if run.get("draft") else {}
    )
    speculation |= run.get("speculation", {})
    return int(speculation["num_speculative_tokens"]) if speculation.get("method") in MODELLED else 0


def left_out(run: dict[str, Any]) -> list[str]:
    """Return what a run asks for and its plan does not say: the plan is then that of the same start without it."""
    known = {option(name) for name in (*VALUES, *SWITCHES)}
    found = [flag for flag in map(str, run["flags"]) if flag.startswith("--") and flag not in known]
    method = run.get("speculation", {}).get("method", "eagle")
    return found + ([] if method in MODELLED else [method])


def planned(run: dict[str, Any], models: Path | None, *, vllm_version: str, gpu: str) -> Plan:
    """Return the plan of a start."""
    flags = list(map(str, run["flags"]))
    given: dict[str, Any] = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1}
    given |= {name: VALUES[name](flags[flags.index(option(name)) + 1]) for name in VALUES if option(name) in flags}
    given |= {name: True for name in SWITCHES if option(name) in flags}
    return plan(
        PlanRequest(
            gpus=parse_gpus(f"{gpus_needed(run)}x{gpu}"),
            model=model_of(run, models),
            replicas=1,
            num_speculative_tokens=draft_tokens(run),
            vllm_version=vllm_version,
            **given,
        )
    )


def workload(load: dict[str, Any]) -> Workload:
    """Return one load; all prompts at once where it has no `concurrency`. Agents are requests of their mean prompt."""
    if "agents" in load:
        prompt, hits = expected(load)
        return Workload(
            prompt_tokens=prompt,
            output_tokens=load["answer"],
            concurrency=load["agents"],
            num_requests=load["agents"] * load["turns"],
            prefix_cache_hit_rate=hits,
        )
    prompt = load["input"] + load.get("prefix", 0)
    return Workload(
        prompt_tokens=prompt,
        output_tokens=load["output"],
        concurrency=load.get("concurrency", load["prompts"]),
        num_requests=load["prompts"],
        prefix_cache_hit_rate=load.get("prefix", 0) / prompt,
    )


def entries(run: dict[str, Any], models: Path | None, *, vllm_version: str, gpu: str) -> list[dict[str, Any]]:
    """Return what is forecast for a run: its start, then its loads."""
    try:
        start = planned(run, models, vllm_version=vllm_version, gpu=gpu)
    except M35Error as error:
        return [{"run": run["name"], "load": None, "error": str(error)}]
    found = [{"run": run["name"], "load": None, "left_out": left_out(run), "plan": to_json_value(plan_document(start))}]
    for load in run.get("bench", []):
        try:
            speed = forecast(start, workload(load))
        except M35Error as error:
            found.append({"run": run["name"], "load": load, "error": str(error)})
            continue
        figures = {
            name: [round(value.low, 3), round(value.expected, 3), round(value.high, 3)]
            for name in SPEED
            if (value := getattr(speed, name, None)) is not None
        }
        found.append({"run": run["name"], "load": load, "speed": figures})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--vllm-version", required=True)
    parser.add_argument("--gpu", required=True)
    parser.add_argument("--only", default="", help="only runs whose name matches this expression")
    parser.add_argument("--models", type=Path)
    args = parser.parse_args()
    document = tomllib.loads(args.runs.read_text(encoding="utf-8"))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    made = [
        entry
        for run in document["run"]
        if re.search(args.only, run["name"])
        for entry in entries(run, args.models, vllm_version=args.vllm_version, gpu=args.gpu)
    ]
    written = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    result = {"commit": commit, "written": written, "gpu": args.gpu, "vllm_version": args.vllm_version}
    args.result.write_text(json.dumps({**result, "entries": made}, indent=1) + "\n", encoding="utf-8")
    for entry in made:
        what = entry.get("error") or entry.get("speed") or entry["plan"]["verdict"]
        print(entry["run"], entry["load"] or "", what)


if __name__ == "__main__":
    main()
