"""This project's own start-ups on one H200, judged like the published ones; it never changes a coefficient.

The facts for this card and release were read from most of them, so those show how well the formulas hold, not a
forecast. The ones that came after the facts were set are a group of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from hw_specs.units import GIB
from planner.accuracy.data import Startup
from planner.accuracy.evaluate import COMPONENTS, Comparison, Group, budgets, make_group, weights_gib
from planner.checkpoint.preset import load_preset
from planner.facts import load
from planner.memory.term import Term, used
from planner.settings import Settings

OWN = "measured/startups-h200-0.26.json"
_COMPONENTS = {
    "activations": "activation_peak_bytes",
    "outside_torch": "non_torch_bytes",
    "graphs": "graphs_actual_bytes",
}


def own_groups() -> tuple[Group, ...]:
    """Return the errors by component: of later and eager starts, of first compiled starts, and of those that judge."""
    rows = [row for row in load(OWN)["startups"] if row["model_runner"] == 2]
    groups: tuple[tuple[str, Callable[[dict[str, Any]], bool]], ...] = (
        ("eager, or compiled before", lambda row: row["compile_cache"] != "cold"),
        ("first compiled starts", lambda row: row["compile_cache"] == "cold"),
        ("starts after the facts were set", lambda row: row.get("judges_facts", False)),
    )
    found = []
    for name, belongs in groups:
        comparisons = [one for row in rows if belongs(row) for one in _compare(row)]
        for component in COMPONENTS:
            members = [one for one in comparisons if one.component == component]
            if members:
                found.append(make_group(name, component, members))
    return tuple(found)


def own_startup(row: dict[str, Any]) -> Startup:
    """Return one row of the data as a start-up; sizes in GiB."""
    whole, document = load_preset(), load(OWN)
    measured = {
        key.removesuffix("_bytes") + "_gib": size / GIB for key, size in row["measured"].items() if "_bytes" in key
    }
    return Startup(
        model=replace(whole, layers=(replace(whole.layers[0], count=row["layers"]),)),
        base=f"{row['layers']} layers",
        quantised_on_load=False,
        relative=False,
        gpus=GpuSet(spec=get_gpu(document["gpu"]), count=1, memory_override_bytes=row["measured"]["total_bytes"]),
        vllm_version=document["vllm_version"],
        settings=Settings(
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            replicas=1,
            max_model_len=row["max_model_len"],
            max_num_seqs=row["max_num_seqs"],
            max_num_batched_tokens=row["max_num_batched_tokens"],
            gpu_memory_utilization=document["gpu_memory_utilization"],
            kv_cache_dtype=row["kv_cache_dtype"],
            language_model_only=row["language_model_only"],
            enforce_eager=row["enforce_eager"],
            num_speculative_tokens=3 if row["draft"] else 0,
            load_format="mistral",
        ),
        measured=measured,
        source=row["name"],
    )


def _compare(row: dict[str, Any]) -> list[Comparison]:
    startup = own_startup(row)
    (rank,) = budgets(startup)
    measured = startup.measured
    found = [_of(startup, "weights", weights_gib(rank), measured["model_gib"])]
    for component, key in _COMPONENTS.items():
        name = key.removesuffix("_bytes") + "_gib"
        sizes = rank.outside_budget if component == "graphs" else rank.terms
        if name in measured and sizes[component].bytes:
            found.append(_of(startup, component, _gib(sizes[component]), measured[name]))
    held = measured["runner_buffers_gib"] + measured["buffers_after_load_gib"]
    found.append(_of(startup, "buffers", _gib(rank.outside_budget["buffers"]), held))
    room_gib = rank.requested_bytes / GIB - measured["model_gib"]
    taken = used(term for term in rank.terms.values() if term.name != "weights.rounding")
    pool = room_gib - taken.expected / GIB, room_gib - taken.worst / GIB, room_gib - taken.best / GIB
    found.append(_of(startup, "kv_pool", pool, measured["kv_available_gib"]))
    return found


def _gib(term: Term) -> tuple[float, float, float]:
    return term.bytes / GIB, term.low_bytes / GIB, term.high_bytes / GIB


def _of(startup: Startup, component: str, predicted: tuple[float, float, float], measured: float) -> Comparison:
    expected, low, high = predicted
    return Comparison(
        startup=startup,
        component=component,
        predicted_gib=expected,
        low_gib=low,
        high_gib=high,
        measured_gib=measured,
    )
