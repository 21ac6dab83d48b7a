"""Shapes of ranks in tests."""

from __future__ import annotations

from hw_specs import get_gpu
from planner import load_preset
from planner.facts import load
from planner.facts.release import Release, resolve_release
from planner.memory.rank import RankShape

MIB, GIB = 2**20, 2**30


MODEL = load_preset()


def shape(version: str, tp: int, T: int, S: int, runner: str = "", **more: object) -> RankShape:
    values: dict[str, object] = {
        "language_model_only": False, "enforce_eager": True, "speculative_tokens": 0, "max_model_len": 262144,
    }  # fmt: skip
    values["spec_method"] = "eagle" if more.get("speculative_tokens") else None
    forced = {"model_runner": runner, "profiled_sampling": "full"} if runner else {}
    return RankShape(
        model=MODEL,
        gpu=get_gpu("h200" if "gpu" not in more else str(more.pop("gpu"))),
        release=Release(**(vars(resolve_release(version)) | forced)),
        tensor_parallel_size=tp,
        pipeline_parallel_size=1,
        first_stage=True,
        last_stage=True,
        max_num_seqs=S,
        max_num_batched_tokens=T,
        **(values | more),  # type: ignore[arg-type]
    )


STARTS = [
    start
    for start in load("measured/startups-h200-0.26.json")["startups"]
    if "activation_peak_bytes" in start["measured"]
]
