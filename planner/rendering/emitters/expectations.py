"""What monitoring holds a server against: the plan's figures and the forecast's, and the metrics that show them.

Metric names are vLLM 0.33's (github.com/vllm-project/vllm/blob/v0.33.0/vllm/v1/metrics/loggers.py); all of them bear
``model_name``, the name that the server is asked under.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.image import in_container, resource_name

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
KV_USE, PREEMPTIONS = "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total"
TTFT, TPOT = "vllm:time_to_first_token_seconds", "vllm:request_time_per_output_token_seconds"
GENERATED = "vllm:generation_tokens_total"
IN_FLIGHT = "m35:requests_in_flight"
"""A recorded series: running and waiting together, for each server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One figure of the plan or of its forecast, as a recorded series."""

    name: str
    """``m35:planned:…``"""
    value: float
    meaning: str


def chosen(plan: Plan) -> str:
    """The label matcher that picks this model's series, braces left out."""
    return f"model_name={json.dumps(in_container(plan)[0].model.name)}"


def planned(plan: Plan) -> list[Planned]:
    """Return every figure that a dashboard draws a line for."""
    settings, section = plan.settings, plan.speed
    found = [
        Planned(name="m35:planned:kv_cache_tokens", value=plan.kv_cache.tokens, meaning="tokens of KV cache a server"),
        Planned(name="m35:planned:max_num_seqs", value=settings.max_num_seqs, meaning="requests a server runs at once"),
        Planned(name="m35:planned:max_model_len", value=settings.max_model_len, meaning="tokens of one request"),
    ]
    if section is None:
        return found
    for name, estimate, scale in (
        ("ttft_seconds", section.forecast.ttft_ms, 1e-3),
        ("ttft_p99_seconds", section.forecast.ttft_p99_ms, 1e-3),
        ("tpot_seconds", section.forecast.tpot_ms, 1e-3),
        ("output_tokens_per_second", section.forecast.output_tokens_per_s, 1.0),
    ):
        for bound in ("low", "expected", "high"):
            value = round(getattr(estimate, bound) * scale, 6)
            found.append(Planned(name=f"m35:planned:{name}:{bound}", value=value, meaning=f"{bound} by the forecast"))
    if section.forecast.workload.concurrency is not None:
        load_meaning = "requests in flight that were planned for, over all servers"
        found.append(
            Planned(
                name="m35:planned:requests_in_flight", value=section.forecast.workload.concurrency, meaning=load_meaning
            )
        )
    return found


def rule_groups(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return a Prometheus rule file as a value: the plan's figures as series, and the alerts."""
    limits = policy().alerts
    matcher, section = chosen(plan), plan.speed
    name = resource_name(plan, deployment)
    wait, window = f"{limits.for_minutes.value}m", f"{limits.speed_window_minutes.value}m"
    labels = {"model_name": in_container(plan)[0].model.name, "gpus": str(plan.gpus), "vllm": plan.vllm_version}
    records: list[dict[str, Any]] = [
        {"record": one.name, "expr": f"vector({one.value:g})" if one.value < 1e6 else f"vector({one.value:.0f})",
         "labels": labels}
        for one in planned(plan)
    ]  # fmt: skip
    records.append({"record": IN_FLIGHT, "expr": f"{RUNNING}{{{matcher}}} + {WAITING}{{{matcher}}}"})
    by_model = "sum by (model_name)"
    alerts = [
        _alert("M35ServerGone", f"absent({RUNNING}{{{matcher}}})", wait, "critical",
               "no server of this model answers Prometheus", ""),
        _alert("M35KvCacheFull", f"{KV_USE}{{{matcher}}} > {limits.kv_cache_use.value}", wait, "warning",
               "the KV cache is nearly full",
               f"{plan.kv_cache.tokens} tokens were planned a server: requests are longer or more than planned"),
        _alert("M35Preemptions", f"increase({PREEMPTIONS}{{{matcher}}}[{window}]) > 0", wait, "warning",
               "requests are preempted and recomputed", "lower max-num-seqs, or add a server"),
        _alert("M35Queue", f"{WAITING}{{{matcher}}} > 0", wait, "warning", "requests wait for a place",
               f"a server runs at most {plan.settings.max_num_seqs} at once, as far as the KV cache holds them"),
        _alert("M35Restarts", f"resets({GENERATED}{{{matcher}}}[1h]) > {limits.restarts_per_hour.value}", "0m",
               "critical", "the server restarts again and again", "`m35-plan diagnose LOG` names the cause"),
    ]  # fmt: skip
    if section is not None:
        in_load = ""
        if section.forecast.workload.concurrency is not None:
            concurrency = section.forecast.workload.concurrency
            in_load = f" and on (model_name) {by_model}({IN_FLIGHT}{{{matcher}}}) <= {concurrency}"
            alerts.append(
                _alert("M35MoreLoadThanPlanned", f"{by_model}({IN_FLIGHT}{{{matcher}}}) > {concurrency}", wait,
                       "warning", "more requests are in flight than were planned for",
                       f"planned: {concurrency} over {plan.settings.replicas} server(s)")
            )  # fmt: skip
        for metric, estimate, what in (
            (TTFT, section.forecast.ttft_ms, "Ttft"),
            (TPOT, section.forecast.tpot_ms, "Tpot"),
        ):
            mean = _mean(metric, matcher, window)
            limit = estimate.high / 1000
            alerts.append(
                _alert(f"M35{what}AboveForecast", f"{mean} > {limit:.6g}{in_load}", wait, "warning",
                       f"mean {what.upper()} is above the highest that was forecast",
                       f"forecast: {estimate.low:.4g} to {estimate.high:.4g} ms for {_load_words(plan)}")
            )  # fmt: skip
    return {
        "groups": [
            {"name": f"{name}-plan", "interval": "30s", "rules": records},
            {"name": f"{name}-alerts", "rules": alerts},
        ]
    }


def _mean(metric: str, matcher: str, window: str) -> str:
    parts = [f"sum by (model_name) (rate({metric}_{part}{{{matcher}}}[{window}]))" for part in ("sum", "count")]
    return f"{parts[0]} / {parts[1]}"


def _load_words(plan: Plan) -> str:
    assert plan.speed is not None, "only asked where there is one"
    return plan.speed.forecast.workload.lengths_in_words


def _alert(name: str, expression: str, wait: str, severity: str, summary: str, description: str) -> dict[str, Any]:
    annotations = {"summary": summary, **({"description": description} if description else {})}
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": annotations,
    }


def load_note(plan: Plan) -> str:
    """One sentence of the head: what the limits on time rest on, or what brings them."""
    if plan.speed is None:
        return "no load was given: `--prompt-tokens N --output-tokens N --concurrency N` brings limits on TTFT and TPOT"
    return f"limits on time: the forecast for {_load_words(plan)} ({plan.speed.forecast.territory})"
