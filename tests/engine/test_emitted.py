"""What is emitted meets the real engine: its parser takes every argv, and a real Prometheus its metrics."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, Workload, emit
from planner.facts import load
from planner.planning.choose_by_speed import plan_for_workload
from planner.serve.preflight.installed import InstalledEngine
from tests.emitters.argvs import SETS, emitted
from tests.ports import own_port

from .conftest import ROOT, Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


@pytest.mark.parametrize("gpus", SETS)
def test_the_engines_parser_takes_every_argv(gpus: str, engine: InstalledEngine) -> None:
    modules = load("preflight.toml")["parser_modules"]["modules"]
    child = ROOT / "planner" / "serve" / "preflight" / "argv_child.py"
    seen: dict[tuple[str, ...], str] = {}
    for kind, args in emitted(gpus, SETS[gpus]):
        seen.setdefault(tuple(args), kind)
    assert seen
    for args, kind in seen.items():
        question = json.dumps({"argv": list(args), "modules": modules})
        done = subprocess.run(
            [engine.executable.parent / "python", child], input=question, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        assert answer["ok"] is True, f"{kind}: {answer}"


@pytest.fixture
def prometheus(served: Served, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes the engine, with the plan's rules; the URL."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus")
    chosen = plan_for_workload(
        PlanRequest(gpus=parse_gpus("8xH200")), Workload(prompt_tokens=64, output_tokens=16, concurrency=8)
    )
    assert chosen.speed is not None
    speed = chosen.speed.forecast
    never = dataclasses.replace(speed.tpot_ms, low=1e-6, expected=1e-6, high=1e-6)
    rules = emit(
        "prometheus",
        dataclasses.replace(
            chosen, speed=dataclasses.replace(chosen.speed, forecast=dataclasses.replace(speed, tpot_ms=never))
        ),
    )
    (tmp_path / "rules.yaml").write_text(rules.replace("for: 10m", "for: 0s").replace("interval: 30s", "interval: 1s"))
    target = served.run.url.removeprefix("http://")
    (tmp_path / "prometheus.yaml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n"
        f"scrape_configs: [{{job_name: vllm, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    port = own_port()
    process = subprocess.Popen(
        [
            program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def test_a_real_prometheus_reads_the_engine_and_one_alert_fires(served: Served, prometheus: str) -> None:
    model = served.stage.plan.model.name
    deadline = time.monotonic() + 120
    firing: set[str] = set()
    while "M35TpotAboveForecast" not in firing and time.monotonic() < deadline:
        httpx.post(
            f"{served.run.url}/v1/completions",
            json={"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}, timeout=60,
        ).raise_for_status()  # fmt: skip
        try:
            alerts = httpx.get(f"{prometheus}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        except httpx.TransportError:
            time.sleep(0.5)  # it has not opened its port yet
            continue
        firing = {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}
    assert "M35TpotAboveForecast" in firing
    assert firing <= {"M35TpotAboveForecast", "M35TtftAboveForecast"}, "a CPU is slow, and nothing else is wrong"
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": "m35:planned:kv_cache_tokens"}, timeout=10).json()
    (series,) = answer["data"]["result"]
    assert series["metric"]["model_name"] == model
    rules = httpx.get(f"{prometheus}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}
