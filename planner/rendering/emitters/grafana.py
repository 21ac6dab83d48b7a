"""A Grafana dashboard of the server, with the plan's figures drawn in as lines."""

from __future__ import annotations

import json
from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import (
    GENERATED,
    KV_USE,
    PREEMPTIONS,
    RUNNING,
    TPOT,
    TTFT,
    WAITING,
    chosen,
    load_note,
    planned,
)
from planner.rendering.emitters.image import heading, resource_name

READS = frozenset({"name", "labels"})
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_DASHED = {"fill": "dash", "dash": [8, 6]}


def dashboard(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return the dashboard's JSON model, for Grafana's import or its provisioning folder."""
    matcher = chosen(plan)
    lines = {one.name: one.value for one in planned(plan)}

    def total(gauge: str) -> str:
        return f"sum({gauge}{{{matcher}}})"

    def rate(counter: str) -> str:
        return f"rate({counter}{{{matcher}}}[$__rate_interval])"

    def mean(metric: str) -> str:
        return f"sum({rate(f'{metric}_sum')}) / sum({rate(f'{metric}_count')})"

    def p99(metric: str) -> str:
        return f"histogram_quantile(0.99, sum by (le) ({rate(f'{metric}_bucket')}))"

    def bounds(name: str) -> list[tuple[str, float]]:
        found = [(f"forecast, {bound}", f"m35:planned:{name}:{bound}") for bound in ("low", "expected", "high")]
        return [(legend, lines[series]) for legend, series in found if series in lines]

    servers = plan.settings.replicas
    load_planned = lines.get("m35:planned:requests_in_flight")
    panels = [
        ("Requests", "short", [("running", total(RUNNING)), ("waiting", total(WAITING))],
         [("all servers, max-num-seqs", float(plan.settings.max_num_seqs * servers)),
          *([("planned load", load_planned)] if load_planned else [])]),
        ("KV cache in use", "percentunit", [("{{instance}}", f"{KV_USE}{{{matcher}}}")],
         [("planned peak", plan.speed.forecast.kv_cache_peak_use)] if plan.speed else []),
        ("Tokens in the KV cache", "short", [("{{instance}}", f"{KV_USE}{{{matcher}}} * {plan.kv_cache.tokens}")],
         [("planned size of a server", float(plan.kv_cache.tokens))]),
        ("Time to first token", "s", [("mean", mean(TTFT)), ("p99", p99(TTFT))], bounds("ttft_seconds")),
        ("Time per output token", "s", [("mean", mean(TPOT)), ("p99", p99(TPOT))], bounds("tpot_seconds")),
        ("Answer tokens per second", "short", [("all servers", f"sum({rate(GENERATED)})")],
         bounds("output_tokens_per_second")),
        ("Preemptions per second", "short", [("{{instance}}", rate(PREEMPTIONS))],
         []),
    ]  # fmt: skip
    return {
        "uid": resource_name(plan, deployment),
        "title": f"vLLM: {plan.model.name} on {plan.gpus}",
        "description": heading(plan, "Grafana dashboard", load_note(plan)),
        "tags": ["vllm", *(f"{label}={value}" for label, value in deployment.labels)],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }


def _panel(
    number: int, title: str, unit: str, measured: list[tuple[str, str]], drawn: list[tuple[str, float]]
) -> dict[str, Any]:
    """One graph; what was planned is a dashed line of its own."""
    targets = [
        {"refId": f"A{index}", "datasource": _SOURCE, "legendFormat": legend, "expr": expression}
        for index, (legend, expression) in enumerate(measured)
    ]
    targets += [
        {"refId": f"P{index}", "datasource": _SOURCE, "legendFormat": legend, "expr": f"vector({value:.12g})"}
        for index, (legend, value) in enumerate(drawn)
    ]
    dashed = [
        {
            "matcher": {"id": "byName", "options": legend},
            "properties": [{"id": "custom.lineStyle", "value": _DASHED}],
        }
        for legend, _ in drawn
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": dashed},
        "targets": targets,
    }


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the dashboard as JSON."""
    return json.dumps(dashboard(plan, deployment), indent=2)
