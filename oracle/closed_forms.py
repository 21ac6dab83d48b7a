"""The planner's closed forms against the facts files: differences in bytes, by release and phase. It fits nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hw_specs import get_gpu
from oracle import changes
from oracle.environment import HERE
from oracle.inside_names import PHASES
from planner import load_preset
from planner.facts.release import resolve_release
from planner.memory.activation import activation_phases
from planner.memory.overheads import buffers, draft_embeddings_bytes, uncounted_buffers
from planner.memory.rank import RankShape
from planner.memory.weights import rank_weights

RATCHET = HERE.parent / "tests" / "oracle" / "differences.json"
GPUS = {"cuda-9.0": "h200", "cuda-10.0": "b200", "rocm-gfx942": "mi300x", "rocm-gfx950": "mi355x"}
Differences = dict[str, int]


def shape(version: str, row: dict[str, Any]) -> RankShape:
    """The planner's view of a row of a facts file."""
    return RankShape(
        model=load_preset(),
        gpu=get_gpu(GPUS[row["platform"]]),
        release=resolve_release(version),
        tensor_parallel_size=row["tensor_parallel_size"],
        pipeline_parallel_size=1,
        first_stage=True,
        last_stage=True,
        max_num_seqs=row["max_num_seqs"],
        max_num_batched_tokens=row["max_num_batched_tokens"],
        max_model_len=262144,
        language_model_only=row["language_model_only"],
        enforce_eager=row.get("mode", "eager") == "eager",
        speculative_tokens=row["speculative_tokens"],
        spec_method="eagle" if row["speculative_tokens"] else None,
    )


def _worst(found: Differences, key: str, difference: int) -> None:
    if abs(difference) > abs(found.get(key, -1)) or key not in found:
        found[key] = difference


def differences(facts: dict[str, Any]) -> Differences:
    """Planner minus engine in bytes, the worst point of each `release/platform/mode/phase`.

    Besides the phases: `peak` (the largest phase), `buffers`, and `weights` (target and draft).
    """
    version = facts["vllm_version"]
    found: Differences = {}
    for row in changes.rows(facts, "profile_peaks"):
        if not row["flashinfer_sampler"] and row["platform"].startswith("cuda"):
            continue  # the planner plans for the default sampler
        kind = "text" if row["language_model_only"] else "eagle" if row["speculative_tokens"] else "images"
        key = f"{version}/{row['platform']}/{row['mode']}/{kind}"
        planned = activation_phases(shape(version, row))
        for phase in PHASES:
            if row[phase] is not None:
                _worst(found, f"{key}/{phase}", planned.get(phase, 0) - row[phase])
        if None not in (row[p] for p in PHASES):
            _worst(found, f"{key}/peak", max(planned.values()) - max(row[p] for p in PHASES))
    for row in changes.rows(facts, "buffers"):
        kept = row["init_bytes"] + row["after_load_bytes"]
        planned_shape = shape(version, row)
        planned_bytes = buffers(planned_shape).bytes + uncounted_buffers(planned_shape).bytes
        if row["speculative_tokens"] and planned_shape.release.model_runner == "v2":
            planned_bytes -= draft_embeddings_bytes(planned_shape)  # made while loading: not in this table
        _worst(
            found,
            f"{version}/{row['platform']}/{'eagle-' if row['speculative_tokens'] else ''}buffers",
            planned_bytes - kept,
        )
    return found


def weight_differences(facts: dict[str, Any]) -> Differences:
    """Planner minus engine in bytes, for every row of the weights table with one pipeline stage on CUDA."""
    found: Differences = {}
    for row in changes.rows(facts, "weights", pipeline_parallel_size=1):
        if not row["platform"].startswith("cuda"):
            continue
        draft = row["part"] == "draft"
        (rank,) = rank_weights(
            load_preset(),
            tensor_parallel_size=row["tensor_parallel_size"],
            language_model_only=row["language_model_only"],
            draft=draft,
        )
        planned = rank.draft_bytes if draft else rank.total_bytes
        key = f"{facts['vllm_version']}/{row['platform']}/{row['part']}/tp{row['tensor_parallel_size']}"
        found[key] = planned - row["total"]
    return found


def everything() -> Differences:
    """Differences of all releases whose facts are there."""
    found: Differences = {}
    for facts in changes.load():
        found |= differences(facts)
    return dict(sorted(found.items()))


def write(path: Path = RATCHET) -> Path:
    """Record today's differences; the tests then let none of them grow."""
    lines = ",\n".join(f"  {json.dumps(key)}: {value}" for key, value in everything().items())
    path.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    return path
