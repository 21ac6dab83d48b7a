"""Turns what the parts of a campaign brought back into fixtures and a data file; it fills in no figure that is missing.

    python harvest.py FOLDER… --logs tests/fixtures/logs/0.33.0-h200 --keep 'cut8-.*' --data …/startups-….json \
        --date 2026-11-28 --gpu h200-sxm --vllm-version 0.33.0 --source TEXT --machine JSON

The folder of a part holds ``results.jsonl`` and ``logs.txt``. Of a run that was started twice the last start that
became ready stays. A row has one entry in ``stages`` for each pipeline stage: its first rank, after all ranks of the
stage were found equal to the byte in what the budget is made from.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from pathlib import Path
from typing import Any

CLEAN = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"/[\w./-]*?(?=/lib/python3)"), "/venv"),
    (re.compile(r"/[\w/]*/(?=m35_probe\.py|m35_fork\.py|zygote\.py)"), "/site-packages/"),
    (re.compile(r"tcp://(?!127\.0\.0\.1)[\d.]+:"), "tcp://192.0.2.1:"),
)
"""Paths and addresses of the machine."""
DEFAULTS = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024, "max_model_len": 262144}
LAYERS = {
    "cut8": 8, "cut24": 24, "cut44": 44, "full": 88,
    "dense-8b": 32, "dense-8b-fp8": 32, "llama-8b": 32, "qwen3-32b": 64,
}  # fmt: skip
OWN = ("cut8", "cut24", "cut44", "full")
SAID = (
    "--language-model-only", "--enforce-eager", "--kv-cache-dtype", "--gpu-memory-utilization",
    "--tensor-parallel-size", "--pipeline-parallel-size", *(f"--{name.replace('_', '-')}" for name in DEFAULTS),
)  # fmt: skip
"""Flags that a row has fields for."""
SIZES = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1}
PATTERNS: dict[str, str] = {
    "load_s": r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds",
    "compile_s": r"torch\.compile took ([\d.]+) s in total",
    "capture_s": r"Graph capturing finished in ([\d.]+) secs",
    "init_engine_s": r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s",
    "kv_tokens": r"KV cache size: ([\d,]+) tokens",
}
BENCH = (
    "completed", "total_input_tokens", "total_output_tokens", "duration", "output_throughput",
    "mean_ttft_ms", "median_ttft_ms", "p95_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "p95_tpot_ms",
    "p99_tpot_ms", "median_itl_ms", "p95_itl_ms", "mean_e2el_ms", "spec_decode_acceptance_length",
)  # fmt: skip
AGENTS = ("completed", "duration", "output_throughput", "mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms")
COMPILED_S = 5.0
"""A start that took longer for ``torch.compile`` found nothing of its own in the cache it was given."""
LARGE = 16 << 20
"""A size that takes this much stands by itself."""
EQUAL = ("requested_bytes", "model_bytes", "torch_peak_increase_bytes", "non_torch_bytes", "kv_available_bytes")
"""Figures that all ranks of a stage must share."""


def clean(text: str, *, work: str) -> str:
    """Replace what names the machine; `work` is the campaign's folder there."""
    root = work.rpartition("/")[0]
    for folder in (work, root):
        for part, neutral in (("models", "/models/"), ("site", "/site-packages/"), ("", "/var/cache/")):
            text = text.replace(f"{folder}/{part}/" if part else f"{folder}/", neutral)
    for pattern, replacement in CLEAN:
        text = pattern.sub(replacement, text)
    return text


def sections(text: str) -> list[tuple[str, str]]:
    """Return name and text of every log in a part's ``logs.txt``."""
    parts = re.split(r"^===== (\S+) =====\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def flag(flags: list[str], name: str, default: str) -> str:
    """Return the value of a run's flag, or `default`."""
    option = f"--{name.replace('_', '-')}"
    return flags[flags.index(option) + 1] if option in flags else default


def costs(event: dict[str, Any]) -> dict[str, Any]:
    """What the sizes of one capture took from the free memory: the large ones each, the others together."""
    befores = [*event["sizes"], [None, None, None, *event["end"]]]
    taken = [[here[0], here[1], here[3] - after[3]] for here, after in itertools.pairwise(befores)]
    large = [one for one in taken if one[2] >= LARGE]
    return {
        "manager": event["manager"],
        "while_profiling": event["profile"],
        "sizes": len(taken),
        "mode_tokens_bytes": large,
        "others_bytes": sum(one[2] for one in taken) - sum(one[2] for one in large),
    }


def rank_figures(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Every figure that one rank's probe noted; sizes in bytes."""
    last = {event["event"]: event for event in events}
    captures = [event["bytes"] for event in events if event["event"] == "graphs_captured"]
    start, load, profile = last["init_device"], last.get("load_model"), last.get("profile")
    snapshot = start["snapshot"]
    found: dict[str, Any] = {
        "rank": start["rank"],
        "total_bytes": snapshot["total_memory"],
        "free_at_start_bytes": snapshot["free_memory"],
        "context_bytes": snapshot["cuda_memory"],
        "requested_bytes": start["requested_bytes"],
        "torch_allocated_at_snapshot_bytes": snapshot.get("torch_allocated", 0),
        "torch_reserved_at_snapshot_bytes": snapshot["torch_memory"],
        "runner_buffers_bytes": start["torch_allocated_bytes"] - snapshot.get("torch_allocated", 0),
    }
    if connected := last.get("distributed"):
        found["context_only_bytes"] = connected["total_bytes"] - connected["free_before_bytes"]
        found["communicators_bytes"] = connected["free_before_bytes"] - connected["free_after_bytes"]
    if load:
        found["model_bytes"] = load["model_bytes"]
        held = load["torch_allocated_bytes"] - load["model_bytes"]
        found["buffers_after_load_bytes"] = held - start["torch_allocated_bytes"]
    if profile:
        found |= {
            "torch_peak_increase_bytes": profile["torch_peak_increase_bytes"],
            "transient_peak_headroom_bytes": profile["transient_peak_headroom_bytes"],
            "non_torch_bytes": profile["non_torch_increase_bytes"],
            "total_consumed_bytes": profile["total_consumed_bytes"],
            "profile_s": profile["profile_s"],
        }
    if "graphs_estimated" in last:
        found["graphs_estimated_bytes"] = last["graphs_estimated"]["bytes"]
    if "full_graphs_estimated" in last:
        estimated = last["full_graphs_estimated"]
        found["full_graph_samples_bytes"] = estimated["samples_bytes"]
        found["full_graphs"] = estimated["graphs"]
        found["graphs_captured_in_profile_bytes"] = captures[0]
    if captures:
        found["graphs_actual_bytes"] = captures[-1]
    if available := last.get("available"):
        found["kv_available_bytes"] = available["available_bytes"]
    if cache := last.get("kv_cache"):
        found["num_gpu_blocks"] = cache["num_blocks"]
    if warm := last.get("warmed_up"):
        found["free_when_warm_bytes"] = warm["free_bytes"]
        found["torch_reserved_when_warm_bytes"] = warm["torch_reserved_bytes"]
        found["torch_allocated_when_warm_bytes"] = warm["torch_allocated_bytes"]
    phases = {event["phase"]: event["peak_bytes"] for event in events if event["event"] == "phase"}
    if phases:
        found["phase_peak_bytes"] = phases
    if sized := [costs(event) for event in events if event["event"] == "captures"]:
        found["captures"] = sized
    if alive := last.get("allocations"):
        found["alive_at_peak_bytes"] = [one["bytes"] for one in alive["at_peak"] if one["bytes"] >= 1 << 20]
    if "warmed_up" in last and (grown := growth(events, since_s=last["warmed_up"]["time_s"])):
        found["growth"] = grown
    return found


def growth(events: list[dict[str, Any]], *, since_s: float) -> list[dict[str, Any]]:
    """At which steps torch took more memory once the server was ready, and for whom, where that was noted."""
    found, reserved = [], None
    for event in events:
        if event["event"] != "growth" or event["time_s"] < since_s:
            continue
        now = event["torch_reserved_bytes"]
        if reserved is not None and now - reserved >= LARGE:
            asked: dict[str, int] = {}
            for one in event["asked"]:
                if one["bytes"] >= LARGE:
                    asked[asker(one["frames"])] = asked.get(asker(one["frames"]), 0) + one["bytes"]
            found.append(
                {
                    "where": event["where"],
                    "tokens": event["tokens"],
                    "requests": event["requests"],
                    "grown_bytes": now - reserved,
                    "free_bytes": event["free_bytes"],
                    **({"asked_bytes": asked} if asked else {}),
                }
            )
        reserved = now
    return found


def asker(frames: list[str]) -> str:
    """Name the function at the top of a stack; a compiled piece's name changes from start to start."""
    place, _, name = frames[0].rpartition(" ")
    file = place.rpartition("/")[2].partition(":")[0]
    return "compiled" if name == "call" else f"{file.removesuffix('.py')}.{name}"


def counted(lines: list[str], name: str) -> float:
    """A counter of the server's metrics."""
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}_total"))


def conversations(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What the agents of a run saw; the hits are the server's own count."""
    found = []
    for one in record.get("bench", []):
        if one.get("status") == "done" and "agents" in one:
            counts = [
                counted(one["metrics_after"], name) - counted(one["metrics_before"], name)
                for name in ("prefix_cache_hits", "prefix_cache_queries")
            ]
            found.append(
                {
                    "agents": one["agents"],
                    "turns": one["turns"],
                    "system_tokens": one["system"],
                    "turn_tokens": one["turn"],
                    "output_tokens": one["answer"],
                    "prefix_cache_hit_tokens": int(counts[0]),
                    "prompt_tokens": int(counts[1]),
                    **{key: one["figures"][key] for key in AGENTS},
                    "by_turn": [{key: turn[key] for key in AGENTS[3:]} for turn in one["figures"]["by_turn"]],
                }
            )
    return found


def stages(record: dict[str, Any], *, ranks_per_stage: int) -> list[dict[str, Any]]:
    """Return the first rank of every pipeline stage, each with what the driver said of its GPU."""
    by_process: dict[int, list[dict[str, Any]]] = {}
    for event in record["probe"]:
        by_process.setdefault(event["pid"], []).append(event)
    ranks = [
        rank_figures(events)
        for events in by_process.values()
        if any(event["event"] == "init_device" for event in events)
    ]
    ranks.sort(key=lambda one: one["rank"] or 0)
    for index, gpu in enumerate(ranks):
        for name, moment in (("used_ready_mib", "ready"), ("used_after_mib", "after_load")):
            if record.get(name):
                gpu[f"driver_used_{moment}_bytes"] = record[name][index] << 20
    found = []
    for index in range(0, len(ranks), ranks_per_stage):
        first, *others = ranks[index : index + ranks_per_stage]
        for other in others:
            different = [name for name in EQUAL if first.get(name) != other.get(name)]
            if different:
                raise SystemExit(f"{record['name']}: ranks {first['rank']} and {other['rank']} differ in {different}")
        found.append({name: value for name, value in first.items() if name != "rank"})
    return found


def speculation(record: dict[str, Any]) -> dict[str, Any]:
    """Return method and tokens of a draft that is not the model's own three tokens of EAGLE."""
    argv = record["argv"]
    if "--speculative-config" not in argv:
        return {}
    asked = json.loads(argv[argv.index("--speculative-config") + 1])
    asked.pop("model", None)
    return {} if asked == {"num_speculative_tokens": 3, "method": "eagle"} else dict(asked)


def other_flags(flags: list[str]) -> list[str]:
    """Return the flags, with their values, that a row has no field for."""
    found, kept = [], False
    for one in map(str, flags):
        kept = one not in SAID if one.startswith("--") else kept
        found += [one] if kept else []
    return found


def row(record: dict[str, Any], log: str) -> dict[str, Any]:
    """One start-up with every figure that was read."""
    flags = record["flags"]
    sizes = {name: int(flag(flags, name, str(default))) for name, default in SIZES.items()}
    told: dict[str, float | int] = {"ready_s": record["ready_s"]}
    for name, pattern in PATTERNS.items():
        if found := re.findall(pattern, log):
            value = found[-1].replace(",", "")
            told[name] = int(value) if name == "kv_tokens" else float(value)
    benches = [
        {
            "max_concurrency": one.get("concurrency"),
            "num_prompts": one["prompts"],
            # Tokens of each prompt of its own, and those that all prompts of the load begin with.
            "input_tokens": one["input"],
            **({"prefix_tokens": one["prefix"]} if "prefix" in one else {}),
            "output_tokens": one["output"],
            **{key: one["figures"][key] for key in BENCH if key in one["figures"]},
        }
        for one in record.get("bench", [])
        if one.get("status") == "done" and "agents" not in one
    ]
    fused = record["env"].get("VLLM_FLASHINFER_ALLREDUCE_BACKEND", "none")
    return {
        "name": record["name"],
        "status": record["status"],
        "gpus": len(record["gpus"]),
        **sizes,
        **({} if record["model"] in OWN else {"model": record["model"]}),
        "layers": LAYERS[record["model"]],
        "language_model_only": "--language-model-only" in flags,
        "draft": record["draft"],
        "enforce_eager": "--enforce-eager" in flags,
        "kv_cache_dtype": flag(flags, "kv_cache_dtype", "auto"),
        "model_runner": 2 if "Using V2 Model Runner" in log else 1,
        "flashinfer_sampler": record["env"].get("VLLM_USE_FLASHINFER_SAMPLER", "1") == "1",
        "fused_all_reduce": fused if sizes["tensor_parallel_size"] > 1 else "none",
        "compile_cache": None
        if "--enforce-eager" in flags
        else "cold"
        if record.get("cache", record["name"]) == record["name"] or told.get("compile_s", 0) > COMPILED_S
        else "warm",
        **{name: int(flag(flags, name, str(default))) for name, default in DEFAULTS.items()},
        "gpu_memory_utilization": float(flag(flags, "gpu_memory_utilization", "0.92")),
        "stages": stages(record, ranks_per_stage=sizes["tensor_parallel_size"]),
        "log": told,
        **({"speculation": asked} if (asked := speculation(record)) else {}),
        **({"other_flags": others} if (others := other_flags(flags)) else {}),
        **({"bench": benches} if benches else {}),
        **({"agents": talks} if (talks := conversations(record)) else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, nargs="+")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--keep", default="", help="only these logs become fixtures, a regular expression")
    parser.add_argument("--data", type=Path, required=True)
    for name in ("date", "gpu", "vllm-version", "source", "machine"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    args.logs.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}
    for part in args.parts:
        records = [json.loads(line) for line in (part / "results.jsonl").read_text(encoding="utf-8").splitlines()]
        logs = sections((part / "logs.txt").read_text(encoding="utf-8"))
        for record, (name, log) in zip(records, logs, strict=True):
            if record["name"] != name:
                raise SystemExit(f"{part}: {name} stands where {record['name']} was expected")
            if record["status"] != "ready":
                print(f"{name}: {record['status']}, left out")
                continue
            work = record["argv"][2].partition("/models/")[0]
            rows[name] = row(record, log)
            if re.search(args.keep, name):
                (args.logs / f"{name}.log").write_text(clean(log, work=work), encoding="utf-8")
                files[f"{name}.log"] = f"{record['purpose']}; {clean(' '.join(record['argv'][1:]), work=work)}"
    document = {
        "source": args.source,
        "date": args.date,
        "note": args.note,
        "vllm_version": args.vllm_version,
        "gpu": args.gpu,
        "machine": json.loads(args.machine),
        "startups": list(rows.values()),
    }
    args.data.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Whole start-up logs of real servers; only paths and addresses were replaced. The worker's DEBUG is on.",
        'kind = "real"',
        f"vllm = {json.dumps(args.vllm_version)}",
        f"machine = {json.dumps(', '.join(f'{name} {value}' for name, value in json.loads(args.machine).items()))}",
        'model = "Mistral-Medium-3.5-128B with some or all of its decoder layers, dummy weights of the real sizes"',
        f"date = {json.dumps(args.date)}",
        "",
        "[files]",
        *(f"{json.dumps(name)} = {json.dumps(what)}" for name, what in files.items()),
    ]
    (args.logs / "PROVENANCE.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
