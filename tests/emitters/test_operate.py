"""What watches and scales a server: read by the real tools where they are, and true to plan and forecast."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from planner import Deployment, InvalidRequest, Plan, Targets, emit
from planner.planning.capacity import most_in_flight
from planner.rendering.emitters.image import startup_s

from .plans import forecast_for, loaded

pytestmark = pytest.mark.slow

OPEN: dict[str, Any] = {"type": "object"}
METADATA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": OPEN},
    "additionalProperties": False,
}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT, COUNT = {"type": "string"}, {"type": "integer"}
RULE = closed(alert=TEXT, record=TEXT, expr=TEXT, labels=OPEN, annotations=OPEN) | {"required": ["expr"]}
RULE["properties"]["for"] = {"type": "string", "pattern": "^[0-9]+m$"}
SPECS = {
    # github.com/prometheus-operator/prometheus-operator example/prometheus-operator-crd, the fields that we use
    "PodMonitor": closed(
        selector=closed(matchLabels=OPEN),
        podMetricsEndpoints={"type": "array", "items": closed(port=TEXT, path=TEXT, interval=TEXT)},
    ),
    "PrometheusRule": closed(
        groups={"type": "array", "items": closed(name=TEXT, interval=TEXT, rules={"type": "array", "items": RULE})}
    ),
    # github.com/kedacore/keda config/crd/bases/keda.sh_scaledobjects.yaml, the fields that we use
    "ScaledObject": closed(
        scaleTargetRef=closed(apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=COUNT, maxReplicaCount=COUNT, pollingInterval=COUNT, cooldownPeriod=COUNT,
        advanced=closed(horizontalPodAutoscalerConfig=closed(behavior=OPEN, name=TEXT)),
        triggers={"type": "array", "items": closed(
            type=TEXT, metricType={"enum": ["AverageValue", "Value", "Utilization"]}, name=TEXT,
            metadata={"type": "object", "additionalProperties": TEXT},
        )},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def answer() -> Plan:
    return loaded("2x8xH200")


@pytest.fixture(scope="module")
def expected() -> Deployment:
    return Deployment(name="chat")


def promtool(*words: str, cwd: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool")
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(answer: Plan) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(emit("prometheus", answer))["groups"]
    return {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}


def test_prometheus_takes_the_rules(answer: Plan, tmp_path: Path) -> None:
    for name, plan in (("with.yaml", answer), ("without.yaml", replace(answer, speed=None))):
        (tmp_path / name).write_text(emit("prometheus", plan) + "\n")
        promtool("check", "rules", name, cwd=tmp_path)


def test_the_plans_figures_are_series(answer: Plan) -> None:
    found = rules(answer)
    section = answer.speed
    assert section is not None
    series = {
        "m35:planned:kv_cache_tokens": answer.kv_cache.tokens,
        "m35:planned:max_num_seqs": answer.settings.max_num_seqs,
        "m35:planned:requests_in_flight": 64,
        "m35:planned:tpot_seconds:high": section.forecast.tpot_ms.high / 1000,
        "m35:planned:output_tokens_per_second:low": section.forecast.output_tokens_per_s.low,
    }
    for name, value in series.items():
        written = float(found[name]["expr"].removeprefix("vector(").removesuffix(")"))
        assert written == pytest.approx(value, rel=1e-4)
        assert found[name]["labels"]["model_name"] == answer.model.name
    assert not [name for name in rules(replace(answer, speed=None)) if "tpot" in name.lower()], (
        "no load, no limit on time"
    )


SERVER = '{model_name="mistralai/Mistral-Medium-3.5-128B", instance="a:8000"}'
UNIT_TEST = """
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'vllm:kv_cache_usage_perc{server}', values: '{kv}x60'}}
      - {{series: 'vllm:num_requests_running{server}', values: '{running}x60'}}
      - {{series: 'vllm:num_requests_waiting{server}', values: '0x60'}}
      - {{series: 'vllm:num_preemptions_total{server}', values: '{preempted}x60'}}
      - {{series: 'vllm:generation_tokens_total{server}', values: '0+100x60'}}
      - {{series: 'vllm:request_time_per_output_token_seconds_sum{server}', values: '0+{tpot}x60'}}
      - {{series: 'vllm:request_time_per_output_token_seconds_count{server}', values: '0+1x60'}}
    promql_expr_test:
      - {{expr: 'count(ALERTS{{alertstate="firing"}}) or vector(0)', eval_time: 50m,
          exp_samples: [{{value: {firing}, labels: '{{}}'}}]}}
      - {{expr: 'count(ALERTS{{alertstate="firing", alertname="{name}"}}) or vector(0)', eval_time: 50m,
          exp_samples: [{{value: {firing}, labels: '{{}}'}}]}}
"""


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("none", {}),
        ("M35KvCacheFull", {"kv": "0.97+0"}),
        ("M35Preemptions", {"preempted": "0+1"}),
        ("M35MoreLoadThanPlanned", {"running": "100+0"}),
        ("M35TpotAboveForecast", {"tpot": "0.5"}),
        # more load than planned explains slow answers, and is said instead
        ("M35MoreLoadThanPlanned", {"running": "100+0", "tpot": "0.5"}),
    ],
)
def test_each_alert_fires_for_its_own_reason(
    name: str, changed: dict[str, str], answer: Plan, expected: Deployment, tmp_path: Path
) -> None:
    quiet = {"kv": "0.3+0", "running": "20+0", "preempted": "0+0", "tpot": "0.001"}
    (tmp_path / "rules.yaml").write_text(emit("prometheus", answer, deployment=expected) + "\n")
    (tmp_path / "test.yaml").write_text(
        UNIT_TEST.format(server=SERVER, name=name, firing=0 if name == "none" else 1, **(quiet | changed))
    )
    promtool("test", "rules", "test.yaml", cwd=tmp_path)


@pytest.mark.parametrize("kind", ["prometheus-operator", "keda", "hpa"])
def test_the_objects_obey_their_schemas(kind: str, answer: Plan, expected: Deployment) -> None:
    for document in yaml.safe_load_all(emit(kind, answer, deployment=expected)):
        if document["kind"] in SPECS:
            jsonschema.validate(document["metadata"], METADATA)
            jsonschema.validate(document["spec"], SPECS[document["kind"]])
        else:
            kubernetes_validate.validate(document, "1.30", strict=True)


def test_the_monitor_finds_the_pods(answer: Plan, expected: Deployment) -> None:
    monitor = next(yaml.safe_load_all(emit("prometheus-operator", answer, deployment=expected)))["spec"]
    objects = list(yaml.safe_load_all(emit("kubernetes", answer, deployment=Deployment(name="chat"))))
    (pod,) = (one["spec"]["template"] for one in objects if one["kind"] == "Deployment")
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {one["port"] for one in monitor["podMetricsEndpoints"]} <= ports


def test_autoscalers_scale_the_deployment_within_the_plan(answer: Plan, expected: Deployment) -> None:
    keda = yaml.safe_load(emit("keda", answer, deployment=expected))["spec"]
    hpa = yaml.safe_load(emit("hpa", answer, deployment=expected))["spec"]
    assert keda["scaleTargetRef"] == hpa["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "chat",
    }  # fmt: skip
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"]) == (1, 2)
    assert keda["triggers"][0]["metadata"]["threshold"] == "32", "64 in flight over two servers"
    assert hpa["metrics"][0]["pods"]["target"]["averageValue"] == "32"
    assert hpa["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == startup_s(answer)
    for kind in ("keda", "hpa"):
        with pytest.raises(InvalidRequest, match="load"):
            emit(kind, replace(answer, speed=None))


def test_the_threshold_is_where_the_targets_break(answer: Plan) -> None:
    loose = forecast_for("2x8xH200", concurrency=8, targets=Targets(tpot_ms=40.0))
    tight = forecast_for("2x8xH200", concurrency=8, targets=Targets(tpot_ms=12.0))
    many, few = most_in_flight(answer, loose), most_in_flight(answer, tight)
    assert 1 <= few < many <= answer.settings.max_num_seqs
    impossible = forecast_for("2x8xH200", concurrency=8, targets=Targets(tpot_ms=0.5))
    with pytest.raises(InvalidRequest, match="one request"):
        most_in_flight(answer, impossible)


def test_a_load_by_rate_is_judged_as_it_comes(answer: Plan) -> None:
    """The asked rate meets the targets, so the threshold is no lower than what it has in flight on one server."""
    targets = Targets(ttft_ms=500.0, tpot_ms=30.0)
    section = forecast_for("2x8xH200", concurrency=None, request_rate=8.0, targets=targets)
    figures = section.forecast
    assert section.meets_targets
    asked = 4.0 * figures.latency_ms.expected / 1000
    assert most_in_flight(answer, section) >= 0.9 * asked
    sooner = forecast_for("2x8xH200", concurrency=None, request_rate=8.0, targets=Targets(ttft_ms=200.0, tpot_ms=20.0))
    assert most_in_flight(answer, sooner) < most_in_flight(answer, section)


@pytest.mark.parametrize("load", [{"concurrency": 64}, {"concurrency": None, "request_rate": 8.0}])
def test_a_looser_target_never_has_a_lower_threshold(answer: Plan, load: dict[str, Any]) -> None:
    section = forecast_for("2x8xH200", targets=Targets(ttft_ms=2000.0), **load)
    looser = [replace(section, targets=Targets(ttft_ms=limit_ms)) for limit_ms in (500.0, 1000.0, 2000.0, 4000.0)]
    thresholds = [most_in_flight(answer, one) for one in looser]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[-1]


@pytest.mark.parametrize("kind", ["keda", "hpa"])
def test_an_autoscaler_says_what_its_threshold_is_made_of(kind: str, answer: Plan) -> None:
    def head(targets: Targets) -> str:
        section = replace(forecast_for("2x8xH200", concurrency=64), targets=targets)
        return emit(kind, replace(answer, speed=section)).partition("apiVersion")[0]

    assert "no target on time was given" in head(Targets())
    assert "above it the mean passes TTFT 900 ms" in head(Targets(ttft_ms=900.0))
    assert "which is max-num-seqs" in head(Targets(tpot_ms=90000.0))


def test_the_dashboard_draws_what_was_planned(answer: Plan, expected: Deployment) -> None:
    board = json.loads(emit("grafana", answer, deployment=expected))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    drawn = {
        target["legendFormat"]: float(target["expr"][7:-1])
        for panel in board["panels"]
        for target in panel["targets"]
        if target["expr"].startswith("vector(")
    }
    assert drawn["planned size of a server"] == answer.kv_cache.tokens
    assert drawn["planned load"] == 64
    assert drawn["all servers, max-num-seqs"] == 2 * answer.settings.max_num_seqs
    for panel in board["panels"]:
        lines = {target["legendFormat"] for target in panel["targets"] if target["refId"].startswith("P")}
        assert lines == {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
