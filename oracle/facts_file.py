"""Turns results into a release's facts file, in the schema of `planner/facts/engine/README.md`; it measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oracle import grid, texts
from oracle.environment import HERE, Release
from oracle.inside_names import COMPONENTS, PHASES
from oracle.run import DEVICES, Results, model_facts

SCHEMA_VERSION = 1
FOLDER = HERE.parent / "planner" / "facts" / "engine"
RECORDED_COMPONENTS = tuple(c for c in COMPONENTS if c not in ("rope_cache", "scales"))
COLUMNS: dict[str, tuple[str, ...]] = {
    "defaults": (
        "device", "driver_bytes", "max_num_batched_tokens", "max_num_seqs", "gpu_memory_utilization",
        "cudagraph_max_tokens", "cudagraph_sizes", "block_size", "model_runner",
    ),
    "weights": (
        "platform", "tensor_parallel_size", "pipeline_parallel_size", "rank", "part", "language_model_only",
        *RECORDED_COMPONENTS, "total", "rope_cache", "scales",
    ),
    "loading": ("platform", "tensor_parallel_size", "speculative_tokens", "loaded_bytes", "transient_bytes"),
    "profile_peaks": (
        "platform", "tensor_parallel_size", "max_num_batched_tokens", "max_num_seqs", "mode", "language_model_only",
        "speculative_tokens", "flashinfer_sampler", *PHASES, "left",
    ),
    "buffers": (
        "platform", "tensor_parallel_size", "max_num_batched_tokens", "max_num_seqs", "language_model_only",
        "speculative_tokens", "init_bytes", "after_load_bytes",
    ),
    "buffer_items": (
        "platform", "max_num_batched_tokens", "max_num_seqs", "speculative_tokens", "when", "bytes", "shape", "dtype",
        "where",
    ),
    "after_profile": (
        "platform", "tensor_parallel_size", "max_num_batched_tokens", "max_num_seqs", "speculative_tokens",
        "attention_backend", "other_bytes", "items",
    ),
    "kv_vectors": (
        "layers", "kv_heads", "kv_cache_dtype", "available_bytes", "max_model_len", "blocks", "fitted_len", "tokens",
        "concurrency", "error",
    ),
}  # fmt: skip
PRETENDED = (
    "device tensors: sizes without data (torch FakeTensorMode); values read back are zeros",
    "compiled operations of vLLM: do nothing, their Python callers allocate the outputs",
    "Triton kernels: do nothing; FlashInfer: the real Python of sampling.py, everything else empty",
    "communication: torch's fake backend, PyNccl all-reduce allocates its output, custom all-reduces switched off",
    "torch.compile of small functions: one kernel that allocates only its outputs",
    "AITER: not installed, so the ROCm rows are those of VLLM_ROCM_USE_AITER=0",
    "models of two layers for peaks and buffers; weights by difference of depths, checked against one full load",
)
LARGEST_BYTES = 150_000


def _point(task: dict[str, Any]) -> list[Any]:
    return [task["tensor_parallel_size"], task["max_num_batched_tokens"], task["max_num_seqs"]]


def _linear(results: dict[str, dict[str, Any]], part: str) -> dict[str, int]:
    """Bytes of the full depth, from two layers of each kind and one more of each kind."""
    facts = model_facts()
    shallow = results["shallow"]
    more_text = facts["layers"][0]["count"] - 2 if part != "draft" else 0
    more_vision = facts["vision"]["num_hidden_layers"] - 2 if part != "draft" else 0

    def value(entry: Any, name: str) -> int:
        return int(entry[part][name] if name in COMPONENTS else entry[name])

    names = (*COMPONENTS, "loaded") if part == "target" else COMPONENTS
    return {
        n: value(shallow, n)
        + more_text * (value(results["text+1"], n) - value(shallow, n))
        + more_vision * (value(results["vision+1"], n) - value(shallow, n))
        for n in names
    }


def _weights_row(platform: str, task: dict[str, Any], part: str, sums: dict[str, int]) -> list[Any]:
    recorded = [sums[c] for c in RECORDED_COMPONENTS]
    where = [platform, task["tensor_parallel_size"], task.get("pipeline_parallel_size", 1), task.get("rank", 0)]
    only_text = bool(task.get("language_model_only"))
    return [*where, part, only_text, *recorded, sum(recorded), sums["rope_cache"], sums["scales"]]


class _Tables:
    """The growing tables and the gaps of one release."""

    def __init__(self, fused: dict[int, int]) -> None:
        self.fused = fused
        self.rows: dict[str, list[list[Any]]] = {name: [] for name in COLUMNS}
        self.options: dict[str, Any] = {}
        self.gaps: list[dict[str, str]] = []
        self.runner = ""
        self.by_depth: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.full: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def profile(self, platform: str, task: dict[str, Any], out: dict[str, Any], *, flashinfer: bool) -> None:
        compiled = not task["enforce_eager"]
        only_text, draft = bool(task.get("language_model_only")), task.get("speculative_tokens", 0)
        self.runner = out["runner"]
        phases = {p: out[p] for p in PHASES}
        if compiled:
            piece = self.fused[task["tensor_parallel_size"]] * task["max_num_batched_tokens"]
            phases["forward"] = out["held"] + piece
        mode = "compiled" if compiled else "eager"
        peaks = [platform, *_point(task), mode, only_text, draft, flashinfer, *phases.values(), out["left"]]
        if peaks not in self.rows["profile_peaks"]:
            self.rows["profile_peaks"].append(peaks)
        buffers = [platform, *_point(task), only_text, draft, out["init"], out["after_load"]]
        if buffers not in self.rows["buffers"]:
            self.rows["buffers"].append(buffers)
        for when, size, shape, dtype, where in out.get("items", ()):
            point = _point(task)[1:]
            self.rows["buffer_items"].append([platform, *point, draft, when, size, shape, dtype, where])

    def weights(self, platform: str, task: dict[str, Any], out: dict[str, Any]) -> None:
        depth = task["model"]
        if task.get("language_model_only") or depth == "full":
            self.full.append((platform, task, out))
            return
        key = (platform, task["tensor_parallel_size"], task.get("speculative_tokens", 0))
        self.by_depth.setdefault(key, {})[depth] = out

    def finish_weights(self) -> None:
        for (platform, tp, draft), depths in self.by_depth.items():
            if set(depths) != set(grid.WEIGHT_MODELS):
                continue
            point = {"tensor_parallel_size": tp}
            sums = _linear(depths, "target")
            loaded = [platform, tp, draft, sums["loaded"], depths["shallow"]["transient"]]
            self.rows["weights"].append(_weights_row(platform, point, "target", sums))
            self.rows["loading"].append(loaded)
            if draft:
                self.rows["weights"].append(_weights_row(platform, point, "draft", _linear(depths, "draft")))
        known = {tuple(r[:6]): r for r in self.rows["weights"]}
        for platform, task, out in self.full:
            if task["model"] != "full":  # text only at two layers: nothing but the vision parts may be missing
                if out["target"]["vision_tower"] or out["target"]["projector"]:
                    self.gaps.append(
                        {"part": "weights", "platform": platform, "reason": "vision weights without vision"}
                    )
                continue
            row = _weights_row(platform, task, "target", out["target"])
            same = known.get(tuple(row[:6]))
            if same is None:
                self.rows["weights"].append(row)
            elif same != row:
                reason = f"full depth differs from the sum of layers by {row[-3] - same[-3]} bytes"
                self.gaps.append({"part": "weights", "platform": platform, "reason": reason})

    def after_profile(self, platform: str, task: dict[str, Any], out: dict[str, Any]) -> None:
        items = [
            [size, shape, dtype, where]
            for size, shape, dtype, where in out["items"]
            if 1 << 16 < size != out["kv_bytes"]
        ]
        draft = task.get("speculative_tokens", 0)
        self.rows["after_profile"].append([platform, *_point(task), draft, out["backend"], out["other_bytes"], items])


def assemble(
    release: Release, results: dict[str, Results], *, scope: str, seconds: float, fused: dict[int, int]
) -> dict[str, Any]:
    """The facts document of one release; tasks that failed stand in `provenance.gaps`.

    `fused` is the peak of one compiled decoder piece in bytes per token, by tensor parallel size.
    """
    tables = _Tables(fused)
    for key, entries in results.items():
        platform, _, variant = key.partition("/")
        for entry in entries:
            task: dict[str, Any] = entry["task"]
            out: Any = entry.get("result")
            kind = task["kind"]
            if "error" in entry:
                tables.gaps.append({"part": _name(task), "platform": key, "reason": entry["error"]})
            elif kind == "profile":
                tables.profile(platform, task, out, flashinfer=platform.startswith("cuda") and not variant)
            elif kind == "weights":
                tables.weights(platform, task, out)
            elif kind == "after_profile":
                tables.after_profile(platform, task, out)
            elif kind == "options":
                tables.options = out
            elif kind == "defaults":
                row = [task["card"]["name"], task["card"]["driver_bytes"], *(out[c] for c in COLUMNS["defaults"][2:8])]
                tables.rows["defaults"].append([*row, out["runner"]])
            elif kind == "kv_vectors":
                for v, answer in zip(task["vectors"], out, strict=True):
                    values = [answer.get(c) for c in COLUMNS["kv_vectors"][5:]]
                    given = [v["layers"], v["kv_heads"], v["dtype"], v["available"], v["max_model_len"]]
                    tables.rows["kv_vectors"].append([*given, *values])
    tables.finish_weights()
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "vllm_version": release.version,
        "provenance": {
            "wheel": release.wheel,
            "wheel_sha256": release.wheel_sha256,
            "command": f"python -m oracle --vllm {release.version} --scope {scope}",
            "seconds": round(seconds),
            "packages": release.packages,
            "model_runner": tables.runner,
            "fused_bytes_per_token": {str(tp): size for tp, size in fused.items()},
            "platforms": DEVICES["platforms"],
            "pretended": list(PRETENDED),
            "gaps": _merged(tables.gaps),
        },
    }
    for name, columns in COLUMNS.items():
        document[name] = {"columns": list(columns), "rows": tables.rows[name]}
    return document | {"cli_options": tables.options, "texts": texts.read(release.source)}


def _name(task: dict[str, Any]) -> str:
    notable = {k: task[k] for k in ("language_model_only", "speculative_tokens", "model", "items") if task.get(k)}
    return str(task["kind"]) + (f" {notable}" if notable else "")


def _merged(gaps: list[dict[str, str]]) -> list[dict[str, Any]]:
    counted: dict[tuple[str, ...], int] = {}
    for gap in gaps:
        key = (gap["part"], gap["platform"], gap["reason"].split("\n", maxsplit=1)[0])
        counted[key] = counted.get(key, 0) + 1
    return [{"part": p, "platform": f, "reason": r, "tasks": n} for (p, f, r), n in counted.items()]


def dump(document: dict[str, Any]) -> str:
    """JSON with one table row per line: compact, and a diff shows the rows that changed."""
    lines = ["{"]
    entries = list(document.items())
    for i, (key, value) in enumerate(entries):
        comma = "," if i + 1 < len(entries) else ""
        if isinstance(value, dict) and set(value) == {"columns", "rows"}:
            rows = ",\n".join("  " + _compact(row) for row in value["rows"])
            lines.append(f'"{key}": {{"columns": {_compact(value["columns"])}, "rows": [\n{rows}\n]}}{comma}')
        elif isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(k)}: {_compact(v)}" for k, v in value.items())
            lines.append(f'"{key}": {{\n{inner}\n}}{comma}')
        else:
            lines.append(f'"{key}": {_compact(value)}{comma}')
    return "\n".join([*lines, "}"]) + "\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)


def write(document: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write the document atomically.

    Raises:
        ValueError: when it is larger than a data file of the wheel may be.
    """
    text = dump(document)
    if len(text.encode()) > LARGEST_BYTES:
        raise ValueError(f"{len(text.encode())} bytes are too many for a facts file (at most {LARGEST_BYTES})")
    path = folder / f"{document['vllm_version']}.json"
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
