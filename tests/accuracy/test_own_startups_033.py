"""What starts of vLLM 0.33.0 on H200 noted, held to the engine's own arithmetic: the data cannot drift unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from hw_specs.units import MIB
from planner import PlanRequest, Workload, forecast, load_model, plan
from planner.accuracy.rows import models
from planner.checkpoint.preset import load_preset
from planner.facts import load
from planner.facts.release import resolve_release
from planner.memory.graph_sizes import step_sizes
from planner.serve.log.measured import read_measured
from planner.serve.log.parser import parse_log

LOGS = Path(__file__).parents[1] / "fixtures" / "logs"
ROWS: list[dict[str, Any]] = [
    row
    for name in ("", "-loads", "-tp2", "-load", "-tp4", "-one")
    for row in load(f"measured/startups-h200-0.33{name}.json")["startups"]
]
WITHOUT_GRAPHS = '{"cudagraph_mode": "NONE"}'


def each_stage() -> Iterator[Any]:
    for row in ROWS:
        for number, stage in enumerate(row["stages"]):
            yield pytest.param(row, stage, id=f"{row['name']}-{number}")


@pytest.mark.parametrize(("row", "stage"), each_stage())
def test_the_budget_closes_to_the_byte(row: dict[str, Any], stage: dict[str, Any]) -> None:
    left = stage["requested_bytes"] - stage["total_consumed_bytes"] - stage["transient_peak_headroom_bytes"]
    assert left - stage.get("graphs_estimated_bytes", 0) == stage["kv_available_bytes"]


@pytest.mark.parametrize(("row", "stage"), each_stage())
def test_the_graph_estimate_is_what_the_profile_captured_less_the_second_sample(
    row: dict[str, Any], stage: dict[str, Any]
) -> None:
    """Capturing empties torch's cache inside the sampled interval, so the samples are negative on this card."""
    if "graphs_estimated_bytes" not in stage:
        assert row["enforce_eager"] or WITHOUT_GRAPHS in row["other_flags"]
        return
    _, second = stage["full_graph_samples_bytes"]
    assert second < 0
    expected = stage["graphs_captured_in_profile_bytes"] - second + (stage["full_graphs"] - 1) * MIB
    assert stage["graphs_estimated_bytes"] == expected
    assert stage["graphs_estimated_bytes"] > stage["graphs_actual_bytes"]


@pytest.mark.parametrize(("row", "stage"), each_stage())
def test_a_plan_counts_the_graphs_that_are_captured(row: dict[str, Any], stage: dict[str, Any]) -> None:
    captured = [
        one["sizes"]
        for one in stage.get("captures", ())
        if one["manager"] == "ModelCudaGraphManager" and not one["while_profiling"]
    ]
    if not captured or "--enable-lora" in row.get("other_flags", ()):
        return
    speculation = row.get("speculation") or {"num_speculative_tokens": 3 if row["draft"] else 0}
    sizes = step_sizes(
        resolve_release("0.33.0"), "9.0", max_num_seqs=row["max_num_seqs"],
        max_num_batched_tokens=row["max_num_batched_tokens"],
        per_sequence=1 + speculation["num_speculative_tokens"],
        cudagraph_capture_sizes=None, max_cudagraph_capture_size=None,
    )  # fmt: skip
    assert captured == [len(sizes) + stage["full_graphs"]]


@pytest.mark.parametrize("row", [row for row in ROWS if not row["draft"]], ids=lambda row: row["name"])
def test_blocks_are_what_the_smallest_stage_holds(row: dict[str, Any]) -> None:
    value_bytes = 1 if row["kv_cache_dtype"] == "fp8" else 2
    layers = row["layers"] // row["pipeline_parallel_size"]
    block_bytes = 16 * layers * 2 * 8 * 128 * value_bytes // row["tensor_parallel_size"]
    smallest = min(stage["kv_available_bytes"] for stage in row["stages"])
    assert {stage["num_gpu_blocks"] for stage in row["stages"]} == {smallest // block_bytes}


@pytest.mark.parametrize("row", [row for row in ROWS if "cut8-text-t" in row["name"]], ids=lambda row: row["name"])
def test_a_first_compilation_holds_a_copy_of_the_embedding_and_three_activations(row: dict[str, Any]) -> None:
    model = load_preset()
    wide, tokens = model.hidden_size, row["max_num_batched_tokens"]
    timed = model.vocab_size * wide * 2 + 5 * tokens * wide
    (stage,) = row["stages"]
    if row["compile_cache"] == "cold":
        assert stage["torch_peak_increase_bytes"] == pytest.approx(timed, abs=MIB // 8)
    else:
        assert stage["torch_peak_increase_bytes"] < timed
    if alive := stage.get("alive_at_peak_bytes"):
        assert sorted(alive, reverse=True) == [
            model.vocab_size * wide * 2, tokens * wide * 2, tokens * wide * 2, tokens * wide,
        ]  # fmt: skip


@pytest.mark.parametrize(("row", "stage"), [one for one in each_stage() if "growth" in one.values[1]])
def test_a_ready_server_grows_by_the_activations_of_ever_larger_steps(
    row: dict[str, Any], stage: dict[str, Any]
) -> None:
    """No step takes more than the budget has room for; what smaller steps left behind comes on top, less than again."""
    steps = [one for one in stage["growth"] if one["where"] == "forward"]
    sizes = [one["tokens"] for one in steps]
    assert sizes == sorted(sizes) and sizes[-1] <= row["max_num_batched_tokens"]
    grown = [one["grown_bytes"] for one in stage["growth"]]
    # What stages send and receive comes on top.
    if row["pipeline_parallel_size"] == 1:
        assert max(grown, default=0) <= stage["transient_peak_headroom_bytes"]
        assert sum(grown) < 2 * stage["transient_peak_headroom_bytes"]


def test_an_eagle3_head_is_inside_its_bounds(tmp_path: Path) -> None:
    """Graph estimate and pool of an 8B, less the LM head that a checkpoint brings and random weights leave shared."""
    (start,) = (row for row in ROWS if row["name"] == "llama-8b-eagle3")
    head: dict[str, Any] = {
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 128256, "draft_vocab_size": 32000, "tie_word_embeddings": False,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    }  # fmt: skip
    for folder, config in (("target", models()["meta-llama/Llama-3.1-8B-Instruct"].config), ("head", head)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(dict(config or {})))
    made = plan(
        PlanRequest(
            gpus=parse_gpus("1xH200"), model=load_model(tmp_path / "target"), spec_model=str(tmp_path / "head"),
            spec_method="eagle3", num_speculative_tokens=3, max_model_len=8192, vllm_version="0.33.0",
        )
    )  # fmt: skip
    (stage,) = start["stages"]
    graphs, pool = made.ledger.line("graphs"), made.kv_cache
    assert graphs.low_bytes <= stage["graphs_estimated_bytes"] <= graphs.high_bytes
    assert graphs.low_bytes < graphs.bytes
    with_own_head = stage["kv_available_bytes"] - head["draft_vocab_size"] * head["hidden_size"] * 2
    assert pool.available_low_bytes <= with_own_head <= pool.available_high_bytes


@pytest.mark.parametrize(
    ("row", "talk"),
    [pytest.param(row, talk, id=f"{row['name']}-{talk['agents']}") for row in ROWS for talk in row.get("agents", ())],
)
def test_agents_find_in_the_cache_what_the_planner_plays(row: dict[str, Any], talk: dict[str, Any]) -> None:
    """Hits do not depend on the model: this one's plan stands for the dense 8B's."""
    served = plan(
        PlanRequest(
            gpus=parse_gpus("2xH200"), tensor_parallel_size=2, replicas=1, kv_cache_dtype="fp8", vllm_version="0.33.0"
        )
    )
    workload = Workload(
        prompt_tokens=talk["turn_tokens"],
        system_tokens=talk["system_tokens"],
        output_tokens=talk["output_tokens"],
        turns=talk["turns"],
        concurrency=talk["agents"],
        num_requests=talk["agents"] * talk["turns"],
    )
    measured = talk["prefix_cache_hit_tokens"] / talk["prompt_tokens"]
    assert forecast(served, workload).prefix_cache_hit_rate == pytest.approx(measured, abs=1 / talk["prompt_tokens"])


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("0.33.0-h200", "0.33.0-h200-tp2", "0.33.0-h200-load", "0.33.0-h200-tp4", "0.33.0-h200-one")
        for path in (LOGS / folder).glob("*.log")
    ),
    ids=lambda path: path.stem,
)
def test_the_logs_say_what_the_rows_say(path: Path) -> None:
    found = read_measured(parse_log(path.read_bytes()))
    (row,) = (row for row in ROWS if row["name"] == path.stem)
    # Of several stages the log names whichever wrote last.
    available = [stage["kv_available_bytes"] for stage in row["stages"]]
    assert any(found.kv_available_bytes == pytest.approx(one, abs=found.tolerance_bytes) for one in available)
    assert found.requested_bytes == pytest.approx(row["stages"][0]["requested_bytes"], abs=found.tolerance_bytes)
