"""Starts of vLLM 0.33.0 on one H200 with room for adapters and without graphs, which no coefficient was read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, load_model, plan
from planner.facts import load

STARTS = {row["name"]: row for row in load("measured/startups-h200-0.33-one.json")["startups"]}
DENSE_8B = {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
    "vocab_size": 128256, "rope_theta": 500000.0, "norm_eps": 1e-5, "tied_embeddings": False,
    "max_position_embeddings": 8192,
}  # fmt: skip


def made(folder: Path, **asked: Any) -> Plan:
    (folder / "params.json").write_text(json.dumps(DENSE_8B))
    return plan(
        PlanRequest(
            gpus=parse_gpus("1xH200"), model=load_model(folder), max_model_len=8192, vllm_version="0.33.0", **asked
        )
    )


def test_adapters_take_what_the_engine_reserved_for_them(tmp_path: Path) -> None:
    """326 MiB of tensors with the rest of their blocks, 334 MiB with the rest of torch's segments."""
    line = made(tmp_path, enable_lora=True, max_loras=4, max_lora_rank=16).ledger.line("weights.lora")
    (with_room,), (without,) = (STARTS[name]["stages"] for name in ("dense-8b-lora", "dense-8b-servers1"))
    reserved = with_room["total_consumed_bytes"] - without["total_consumed_bytes"]
    assert line.bytes == reserved
    assert line.low_bytes < with_room["model_bytes"] - without["model_bytes"] < line.bytes


def test_each_graph_is_captured_twice_with_adapters(tmp_path: Path) -> None:
    (stage,) = STARTS["dense-8b-lora"]["stages"]
    found = made(tmp_path, enable_lora=True, max_loras=4)
    estimate = found.ledger.line("graphs")
    assert f"{stage['full_graphs']} full graphs" in estimate.formula
    assert estimate.low_bytes <= stage["graphs_estimated_bytes"] <= estimate.high_bytes
    captured = next(term for term in found.ledger.outside_budget if term.name == "graphs")
    assert captured.low_bytes <= stage["graphs_actual_bytes"] <= captured.high_bytes
    pool = found.kv_cache
    assert pool.available_low_bytes <= stage["kv_available_bytes"] <= pool.available_high_bytes


@pytest.mark.parametrize("name", ["dense-8b-no-graphs", "dense-8b-lora", "dense-8b-no-async", "dense-8b-servers4"])
def test_the_pool_is_met(tmp_path: Path, name: str) -> None:
    asked: dict[str, dict[str, Any]] = {
        "dense-8b-no-graphs": {"cudagraph_mode": "NONE"},
        "dense-8b-lora": {"enable_lora": True, "max_loras": 4},
        "dense-8b-no-async": {"async_scheduling": False},
        "dense-8b-servers4": {"api_server_count": 4},
    }
    (stage,) = STARTS[name]["stages"]
    pool = made(tmp_path, **asked[name]).kv_cache
    assert pool.available_low_bytes <= stage["kv_available_bytes"] <= pool.available_high_bytes
    assert pool.available_bytes == pytest.approx(stage["kv_available_bytes"], rel=0.002)
