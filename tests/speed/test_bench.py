"""Reading the engine's own benchmark, in both of its forms."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from planner.cli import main
from planner.errors import InvalidRequest, LogNotUnderstood, PlannerError
from planner.serve.bench import bench_argv, gsm8k_argv, keep_benchmark, kept_benchmarks, read_result, run_bench
from planner.speed.answer import SpeedCalibration
from planner.speed.workload import Workload

TABLE = """
============ Serving Benchmark Result ============
Successful requests:                     100
Failed requests:                         0
Maximum request concurrency:             32
Benchmark duration (s):                  48.75
Total input tokens:                      102400
Total generated tokens:                  102400
Request throughput (req/s):              2.05
Output token throughput (tok/s):         2100.42
Peak output token throughput (tok/s):    3136.00
Total token throughput (tok/s):          4200.84
---------------Time to First Token----------------
Mean TTFT (ms):                          618.96
Median TTFT (ms):                        610.09
P99 TTFT (ms):                           1128.58
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          11.88
P99 TPOT (ms):                           12.50
==================================================
"""
DOCUMENT = {
    "duration": 48.75, "completed": 100, "total_input_tokens": 102400, "total_output_tokens": 102400,
    "request_throughput": 2.05, "output_throughput": 2100.42, "total_token_throughput": 4200.84,
    "mean_ttft_ms": 618.96, "p99_ttft_ms": 1128.58, "mean_tpot_ms": 11.88, "p99_tpot_ms": 12.5, "ttfts": [0.1],
}  # fmt: skip


def test_the_table_and_the_json_read_alike() -> None:
    assert read_result(TABLE) == read_result(json.dumps(DOCUMENT))
    assert read_result(TABLE).output_tokens_per_s == 2100.42
    assert read_result(TABLE).itl_ms is None


@pytest.mark.parametrize(
    "text", ["", "Segmentation fault", "{", "{}", "[1]", TABLE.replace("Mean TTFT", "x"), '{"completed": 0}']
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(LogNotUnderstood):
        read_result(text)


def test_the_command_plays_the_load() -> None:
    argv = bench_argv(
        Workload(prompt_tokens=1024, output_tokens=512, concurrency=32, request_rate=2.5, num_requests=100),
        model="m", url="http://h:1",
    )  # fmt: skip
    words = " ".join(argv)
    for part in (
        "vllm bench serve", "--random-input-len 1024", "--random-output-len 512", "--num-prompts 100", "--ignore-eos",
        "--max-concurrency 32", "--request-rate 2.5", "--base-url http://h:1", "--tokenizer-mode mistral",
    ):  # fmt: skip
        assert part in words
    assert "key" not in words.lower()


def test_gsm8k_is_five_shot_with_the_regex_fix() -> None:
    words = " ".join(gsm8k_argv(model="m", url="http://h:1/"))
    assert "local-completions" in words
    assert "--num_fewshot 5" in words
    assert "fix_mistral_regex=True" in words
    assert "base_url=http://h:1/v1/completions" in words


def fake_vllm(folder: Path, body: str) -> str:
    path = folder / "vllm"
    path.write_text(f"#!/usr/bin/env python3\nimport sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_run_reads_the_file_the_tool_wrote(tmp_path: Path) -> None:
    body = f"""
import json, pathlib
argv = sys.argv
folder, name = argv[argv.index("--result-dir") + 1], argv[argv.index("--result-filename") + 1]
pathlib.Path(folder, name).write_text(json.dumps({DOCUMENT!r}))
print("narration")"""
    result = run_bench(Workload(concurrency=4), model="m", url="http://h:1", executable=fake_vllm(tmp_path, body))
    assert result.ttft_ms == 618.96


@pytest.mark.parametrize(("body", "said"), [("sys.exit(3)", "code 3"), ("pass", "result")])
def test_a_failed_run_is_told(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(PlannerError, match=said):
        run_bench(Workload(concurrency=4), model="m", url="http://h:1", executable=fake_vllm(tmp_path, body))


def test_a_missing_tool_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="no executable"):
        run_bench(Workload(concurrency=4), model="m", url="http://h:1", executable=str(tmp_path / "none"))


def test_kept_benchmarks_survive_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record = SpeedCalibration(
        gpu="h200-sxm", model="m", vllm_version="0.33.0", tensor_parallel_size=8, pipeline_parallel_size=1,
        ratios={"tpot_ms": 1.2},
    )  # fmt: skip
    assert kept_benchmarks() == ((), ())
    keep_benchmark(record)
    (tmp_path / "m35-plan" / "benchmarks.jsonl").open("a").write('{"schema": 99}\nnot json\n')
    keep_benchmark(record)
    kept, faults = kept_benchmarks()
    assert kept == (record, record) and len(faults) == 1 and "line 3" in faults[0]


def test_bench_holds_a_result_against_the_plan_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plan, result = tmp_path / "plan.json", tmp_path / "result.json"
    assert main(["--gpus", "8xH200", "--json"]) == 0
    plan.write_text(capsys.readouterr().out)
    result.write_text(json.dumps(DOCUMENT))
    argv = ["bench", "--plan", str(plan), "--result", str(result), "--concurrency", "32"]
    assert main([*argv, "--keep"]) == 0
    assert "forecast" in capsys.readouterr().out
    assert kept_benchmarks()[0][0].tensor_parallel_size == 8
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["territory"] in ("near", "far")
    assert main(["--gpus", "8xH200", "--concurrency", "32", "--objective", "latency", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speed"]["forecast"]["territory"] == "measured here"


def test_shared_tokens_reach_the_tool_and_chats_do_not() -> None:
    def words(load: Workload) -> str:
        return " ".join(bench_argv(load, model="m", url="http://h:1"))

    assert "--random-prefix-len 500" in words(Workload(system_tokens=500))
    assert "--random-input-len 250" in words(Workload(prompt_tokens=1000, prefix_cache_hit_rate=0.75))
    assert "--random-prefix-len" not in words(Workload())
    with pytest.raises(InvalidRequest, match="no chats"):
        words(Workload(turns=3))


def test_a_count_beyond_counting_is_passed_over() -> None:
    text = json.dumps({"completed": 4, "output_throughput": 900.0, "mean_ttft_ms": 400.0, "mean_itl_ms": 10**30})
    assert read_result(text).itl_ms is None
