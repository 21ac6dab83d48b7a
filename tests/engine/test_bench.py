"""The engine's own benchmark, run by us against a real server."""

from __future__ import annotations

import json

import pytest

from planner.cli import main
from planner.speed.workload import Workload

from .conftest import Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def test_the_benchmark_runs_and_its_result_is_read(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    load = Workload(prompt_tokens=32, output_tokens=8, concurrency=2, num_requests=6)
    code = main(
        [
            "bench", served.run.url, "--model", served.stage.rehearsal.expectations.model or "",
            "--tokenizer", str(served.stage.twin.path), "--vllm", str(served.stage.engine.executable),
            "--prompt-tokens", str(load.prompt_tokens), "--output-tokens", str(load.output_tokens),
            "--concurrency", str(load.concurrency), "--num-requests", str(load.num_requests), "--json",
        ]
    )  # fmt: skip
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert code == 0
    assert measured["completed"] == load.num_requests
    assert measured["total_output_tokens"] == load.output_tokens * load.total_requests
    for name in ("output_tokens_per_s", "ttft_ms", "tpot_ms", "ttft_p99_ms", "itl_ms", "duration_s"):
        assert measured[name] > 0, name
