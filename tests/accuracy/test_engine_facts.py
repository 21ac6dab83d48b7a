"""Closed forms against what the engine's own code allocated on a fake device, for every platform that was run."""

from __future__ import annotations

from typing import Any

import pytest

from hw_specs import get_gpu
from planner import load_preset
from planner.accuracy.data import sibling
from planner.facts import load
from planner.facts.release import resolve_release
from planner.memory.activation import activation_phases
from planner.memory.rank import RankShape

MIB = 2**20
GPUS = {"cuda-9.0": "h200", "cuda-10.0": "b200", "rocm-gfx942": "mi300x", "rocm-gfx950": "mi355x"}
PHASES = ("encoder", "forward", "logits", "sampler")


def rows(version: str) -> list[dict[str, Any]]:
    table = load(f"engine/{version}.json")["profile_peaks"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


@pytest.mark.parametrize("version", ["0.28.0", "0.31.0", "0.32.0", "0.33.0"])
@pytest.mark.parametrize("platform", GPUS)
def test_phases_are_those_of_the_engine(version: str, platform: str) -> None:
    compared = 0
    for row in rows(version):
        gpu = get_gpu(GPUS[platform])
        if row["platform"] != platform or row["flashinfer_sampler"] != (gpu.vendor == "nvidia"):
            continue
        phases = activation_phases(
            RankShape(
                model=load_preset(),
                gpu=gpu,
                release=resolve_release(version),
                tensor_parallel_size=row["tensor_parallel_size"],
                pipeline_parallel_size=1,
                first_stage=True,
                last_stage=True,
                max_num_seqs=row["max_num_seqs"],
                max_num_batched_tokens=row["max_num_batched_tokens"],
                max_model_len=262144,
                language_model_only=row["language_model_only"],
                enforce_eager=row["mode"] == "eager",
                speculative_tokens=row["speculative_tokens"],
                spec_method="eagle" if row["speculative_tokens"] else None,
            )
        )
        for phase in PHASES:
            if row[phase] is not None:
                compared += 1
                assert phases.get(phase, 0) == pytest.approx(row[phase], abs=2 * MIB), (phase, row)
    if not compared:
        pytest.skip(f"{platform} was not run with {version}")


def test_eager_forward_of_plain_models_is_that_of_the_engine() -> None:
    table = load("engine/residuals.json")["rows"]
    names = {"codellama/CodeLlama-7b-hf", "ibm-granite/granite-3.1-8b-instruct"}
    for values in table["rows"]:
        row = dict(zip(table["columns"], values, strict=True))
        if row["oracle_phase"] != "forward" or row["model"] not in names:
            continue
        shape = RankShape(
            model=sibling(row["model"]),
            gpu=get_gpu("h100"),
            release=resolve_release("0.19.0"),
            tensor_parallel_size=row["tensor_parallel_size"],
            pipeline_parallel_size=1,
            first_stage=True,
            last_stage=True,
            max_num_seqs=1024,
            max_num_batched_tokens=8192,
            max_model_len=8192,
            language_model_only=True,
            enforce_eager=True,
            speculative_tokens=0,
            spec_method=None,
        )
        assert activation_phases(shape)["forward"] == pytest.approx(row["oracle_peak_bytes"], abs=MIB)


def test_what_no_fake_device_sees_is_bounded_by_twice_the_largest_residual() -> None:
    summary = load("engine/residuals.json")["summary"]
    bounds = load("overheads.toml")["activations"]["bounds"]
    assert bounds["unseen_high_bytes"] == 2 * summary["peak_highest_bytes"]
    workspace = load("overheads.toml")["gemm_workspace"][0]["bytes"]
    assert summary["peak_lowest_bytes"] <= workspace <= summary["peak_highest_bytes"]
