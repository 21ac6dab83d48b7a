"""Turns what campaign calls brought back into fixtures and data files; it never fills in a figure that was not read.

    python harvest.py CALL_FOLDER… --logs tests/fixtures/logs/0.26.0-h200 --data planner/facts/measured/….json

A call folder holds ``results.jsonl``, ``logs.txt`` and, from the first call, ``machine.json``. Of a run that was
started twice both starts are kept; the second gets the suffix ``-again``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

CLEAN = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"/[\w./-]*?(?=/lib/python3)"), "/venv"),
    (re.compile(r"/[\w/]*/scripts/ground-truth/"), "/site-packages/"),
    (re.compile(r"tcp://(?!127\.0\.0\.1)[\d.]+:"), "tcp://192.0.2.1:"),
)
"""Paths and addresses of the machine."""
FULL = {"cut8": 8, "cut24": 24, "cut44": 44, "full": 88}
DEFAULTS = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024, "max_model_len": 262144}
PATTERNS: dict[str, str] = {
    "load_s": r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds",
    "compile_s": r"torch\.compile took ([\d.]+) s in total",
    "capture_s": r"Graph capturing finished in ([\d.]+) secs",
    "init_engine_s": r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s",
    "kv_tokens": r"KV cache size: ([\d,]+) tokens",
}
BENCH = (
    "completed", "total_input_tokens", "total_output_tokens", "duration", "output_throughput",
    "mean_ttft_ms", "median_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "p95_tpot_ms",
    "median_itl_ms", "p95_itl_ms", "mean_e2el_ms",
)  # fmt: skip


def clean(text: str, *, work: str) -> str:
    """Replace what names the machine; `work` is the campaign's folder there."""
    for part, neutral in (("models", "/models/"), ("site", "/site-packages/"), ("", "/var/cache/")):
        text = text.replace(f"{work}/{part}/" if part else f"{work}/", neutral)
    for pattern, replacement in CLEAN:
        text = pattern.sub(replacement, text)
    return text


def sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^===== (\S+) =====\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def flag(flags: list[str], name: str, default: int) -> int:
    option = f"--{name.replace('_', '-')}"
    return int(flags[flags.index(option) + 1]) if option in flags else default


def row(record: dict[str, Any], log: str) -> dict[str, Any]:
    """One start-up with every figure that was read; sizes in bytes."""
    flags = record["flags"]
    events: dict[str, dict[str, Any]] = {}
    phases = {}
    for event in record["probe"]:
        if event["event"] == "phase":
            phases[event["phase"]] = {key: event[key] for key in ("peak_bytes", "left_bytes")} | (
                {"items": event["items"]} if "items" in event else {}
            )
        else:
            events[event["event"]] = event
    measured: dict[str, Any] = {}
    if start := events.get("init_device"):
        measured |= {
            "total_bytes": start["snapshot"]["total_memory"],
            "free_at_start_bytes": start["snapshot"]["free_memory"],
            "context_bytes": start["snapshot"]["cuda_memory"],
            "requested_bytes": start["requested_bytes"],
            "runner_buffers_bytes": start["torch_allocated_bytes"],
        }
    if load := events.get("load_model"):
        measured |= {
            "model_bytes": load["model_bytes"],
            "buffers_after_load_bytes": load["torch_allocated_bytes"]
            - load["model_bytes"]
            - events["init_device"]["torch_allocated_bytes"],
        }
    if profile := events.get("profile"):
        measured |= {
            "activation_peak_bytes": profile["torch_peak_increase_bytes"],
            "non_torch_bytes": profile["non_torch_increase_bytes"],
            "profile_s": profile["profile_s"],
        }
    if "graphs_estimated" in events:
        measured["graphs_estimated_bytes"] = events["graphs_estimated"]["bytes"]
    if "graphs_captured" in events:
        measured["graphs_actual_bytes"] = events["graphs_captured"]["bytes"]
    if available := events.get("available"):
        measured["kv_available_bytes"] = available["available_bytes"]
    if cache := events.get("kv_cache"):
        measured["num_gpu_blocks"] = cache["num_blocks"]
    if warm := events.get("warmed_up"):
        measured["free_when_warm_bytes"] = warm["free_bytes"]
        measured["torch_reserved_when_warm_bytes"] = warm["torch_reserved_bytes"]
    for name, pattern in PATTERNS.items():
        if found := re.findall(pattern, log):
            value = found[-1] if name != "compile_s" else sum(map(float, found))
            measured[name] = int(value.replace(",", "")) if name == "kv_tokens" else float(value)
    for name, moment in (("used_ready_mib", "ready"), ("used_after_mib", "after_load")):
        if record.get(name):
            measured[f"driver_used_{moment}_bytes"] = record[name][0] << 20
    benches = [
        {"max_concurrency": one["concurrency"], "input_tokens": one["input"], "output_tokens": one["output"]}
        | {key: one["figures"][key] for key in BENCH if key in one["figures"]}
        for one in record.get("bench", [])
        if one.get("status") == "done"
    ]
    second = "Using V2 Model Runner" in log
    return {
        "name": record["name"],
        "layers": FULL[record["model"]],
        "language_model_only": "--language-model-only" in flags,
        "draft": record["draft"],
        "enforce_eager": "--enforce-eager" in flags,
        "kv_cache_dtype": "fp8" if "fp8" in flags else "auto",
        "model_runner": 2 if second else 1,
        "flashinfer_sampler": record["env"].get("VLLM_USE_FLASHINFER_SAMPLER", "1") == "1",
        "compile_cache": None if "--enforce-eager" in flags else "warm" if "Directly load AOT" in log else "cold",
        **{name: flag(flags, name, default) for name, default in DEFAULTS.items()},
        "measured": measured,
        **({"phases": phases} if phases else {}),
        **({"bench": benches} if benches else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=Path, nargs="+")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--date", required=True)
    parser.add_argument(
        "--judging", type=Path, nargs="*", default=[], help="calls after the facts were set: they judge"
    )
    args = parser.parse_args()
    args.logs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    for call in [*args.calls, *args.judging]:
        records = [json.loads(line) for line in (call / "results.jsonl").read_text(encoding="utf-8").splitlines()]
        for record, (name, log) in zip(records, sections((call / "logs.txt").read_text(encoding="utf-8")), strict=True):
            if record["name"] != name:
                raise SystemExit(f"{call}: {name} stands where {record['name']} was expected")
            if record["status"] == "ready":
                again = f"{name}-again" if any(one["name"] == name for one in rows) else name
                rows.append(
                    row(record, log) | {"name": again} | ({"judges_facts": True} if call in args.judging else {})
                )
            else:
                again = f"{name}-failed"
            work = record["argv"][2].partition("/models/")[0]
            text = clean(log, work=work)
            (args.logs / f"{again}.log").write_text(text, encoding="utf-8")
            files[f"{again}.log"] = (
                f"{record['purpose']}; {record['status']}: {clean(' '.join(record['argv'][2:]), work=work)}"
            )
    machine = json.loads((args.calls[0] / "machine.json").read_text(encoding="utf-8"))
    document = {
        "source": "our own starts of vLLM 0.26.0 on one rented NVIDIA H200, scripts/ground-truth",
        "date": args.date,
        "note": "Dummy weights of the real sizes, FP8 values spread over the type's range. The architecture with "
        "`layers` of 88 decoder layers. Bytes are the engine's own integers, read by a plugin; *_s are log lines. "
        "`phases` repeat the parts of the profile run after the KV budget was fixed.",
        "vllm_version": "0.26.0",
        "gpu": "h200-sxm",
        "gpu_memory_utilization": 0.92,
        "tensor_parallel_size": 1,
        "machine": {"nvml": machine["nvml"], "torch": machine["torch"], "driver": "580.159.04"},
        "startups": rows,
    }
    args.data.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Whole start-up logs of real servers; only paths and addresses were replaced. The worker's DEBUG is on.",
        'kind = "real"',
        'vllm = "0.26.0"',
        'machine = "one NVIDIA H200, driver 580.159.04, 16 cores, Python 3.12.3, torch 2.11.0+cu130"',
        'model = "Mistral-Medium-3.5-128B with all or some of its decoder layers, dummy weights of the real sizes"',
        f'date = "{args.date}"',
        "",
        "[files]",
        *(f"{json.dumps(name)} = {json.dumps(what)}" for name, what in files.items()),
    ]
    (args.logs / "PROVENANCE.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
