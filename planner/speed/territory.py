"""How close a question is to anything measured, and how far a forecast may therefore be off; it never forecasts.

*Near* promises bounds no wider than 35 %; whatever cannot keep that is *far* and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from planner import facts
from planner.facts.release import parse_version
from planner.settings import Settings
from planner.speed.answer import Territory
from planner.speed.served import Served
from planner.speed.work import main_arithmetic
from planner.speed.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far measurements lay from forecasts that had not seen them, as factors on the forecast, both at least 1."""

    below: float
    above: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLoad:
    """The loads inside which a table of the 128B model speaks: lowest and highest of each."""

    about: str
    records: tuple[str, ...]
    prompt_tokens: tuple[float, float]
    output_tokens: tuple[float, float]
    concurrency: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Beyond what loads nothing is near."""

    in_flight: int
    prompt_tokens: int


@cache
def spread(territory: Territory, figure: str) -> Spread:
    """Return how far a figure of that territory may be off."""
    kind = "ttft" if figure.startswith("ttft") else "rate" if "_per_s" in figure else "tpot"
    name = "measured" if territory == "measured here" else territory
    return Spread(**facts.load("speed.toml")["territory"][name][kind])


@cache
def reach() -> Reach:
    """Return the loads beyond which nothing is near."""
    entry = facts.load("speed.toml")["near"]
    return Reach(in_flight=entry["in_flight"]["value"], prompt_tokens=entry["prompt_tokens"]["value"])


@cache
def measured_loads() -> dict[str, MeasuredLoad]:
    """Return the loads of the 128B model's tables by engine build."""
    return {
        name: MeasuredLoad(
            about=box["about"], records=tuple(box["records"]),
            **{key: (box[key]["low"], box[key]["high"]) for key in ("prompt_tokens", "output_tokens", "concurrency")},
        )
        for name, box in facts.load("speed.toml")["measured_workload"].items()
    }  # fmt: skip


@cache
def _fitted_on(profile_id: str, gpu: str) -> tuple[dict[str, Any], ...]:
    records = facts.load("measured_speed.json")["records"]
    return tuple(r for r in records if r.get("profile") == profile_id and r["role"] == "fit" and r["gpu"] == gpu)


@cache
def _this_model() -> frozenset[str]:
    models = facts.load("measured_speed.json")["models"]
    return frozenset(key for key, entry in models.items() if "preset" in entry and "num_hidden_layers" not in entry)


def territory_of(served: Served, workload: Workload, profile_id: str) -> tuple[Territory, tuple[str, ...]]:
    """Return how close the question is to anything that was measured, and why, in sentences."""
    settings, gpu = served.settings, served.gpus.spec
    profile = facts.load("speed.toml")["profile"][profile_id]
    far = _unmeasured(served, workload)
    on_gpu = _fitted_on(profile_id, gpu.id)
    if not on_gpu:
        far.insert(0, f"nothing was measured on {gpu.name}: efficiencies are carried over from {profile['about']}")
    elif main_arithmetic(served.model) not in _arithmetics(on_gpu):
        far.insert(0, f"no model with {main_arithmetic(served.model).upper()} layers was measured on {gpu.name}")
    if far:
        return "far", tuple(far)
    notes = []
    beyond = parse_version(served.vllm_version) > parse_version(profile["until"])
    if beyond:
        notes.append(f"measured up to vLLM {profile['until']}; {served.vllm_version} may be faster or slower")
    this = [
        record
        for record in on_gpu
        if record["model"] in _this_model() and served.model.name.endswith("Mistral-Medium-3.5-128B")
    ]
    same_size = [record for record in this if record["tensor_parallel_size"] == settings.tensor_parallel_size]
    if not this:
        notes.append(f"this model was not measured on {gpu.name}, others were")
    elif not same_size:
        notes.append(f"this model was not measured on {settings.tensor_parallel_size} x {gpu.name}")
    load = measured_loads().get(profile_id)
    table = [record for record in same_size if load and record["id"] in load.records]
    if not load or not table:
        return "near", tuple(notes or ["the load of what was measured here is not known"])
    outside = _outside(load, table, settings, workload)
    if not outside and not beyond:
        return "measured", ("this model on this GPU count at about this load was measured",)
    return "near", (*notes, *outside)


def _arithmetics(records: tuple[dict[str, Any], ...]) -> set[str]:
    from planner.speed.measured import measured_model

    return {main_arithmetic(measured_model(record["model"])) for record in records}


def _outside(
    load: MeasuredLoad, table: list[dict[str, Any]], settings: Settings, workload: Workload
) -> tuple[str, ...]:
    """What of the question lies outside a measured table."""
    notes = []
    asked = (
        (load.prompt_tokens, workload.prompt_tokens), (load.output_tokens, workload.output_tokens),
        (load.concurrency, (workload.concurrency or 0) / settings.replicas),
    )  # fmt: skip
    if not all(low <= value <= high for (low, high), value in asked):
        notes.append(f"the measured runs had {load.about}")
    if settings.max_num_batched_tokens not in {record["max_num_batched_tokens"] for record in table}:
        notes.append(f"not measured with max_num_batched_tokens {settings.max_num_batched_tokens}")
    return tuple(notes)


def _unmeasured(served: Served, workload: Workload) -> list[str]:
    """What of the question nobody measured well enough for near bounds."""
    settings, limit = served.settings, reach()
    if workload.concurrency is not None or workload.request_rate is None:
        in_flight = min(workload.concurrency or workload.total_requests, workload.total_requests) / settings.replicas
    else:
        in_flight = 0
    crowd = (
        f"more than {limit.in_flight} requests at once on one server: its front end and host decide as much as the GPU,"
        " and machines differ"
    )
    checks = (
        (settings.num_speculative_tokens > 0, "how many of the draft's tokens are accepted depends on the text"),
        (settings.pipeline_parallel_size > 1, "pipeline stages were measured on one pair of cards only"),
        (settings.tensor_parallel_size > 1 and not served.gpus.fully_connected,
         "tensor parallelism without fast links between all pairs hangs on the host's lanes"),
        (settings.enforce_eager, "no eager run of this model was published"),
        (workload.images_per_request > 0, "no run with images was published"),
        (workload.prefix_cache_hit_rate > 0, "no run with a prefix cache was published"),
        (workload.prompt_tokens > limit.prompt_tokens, f"few runs had prompts over {limit.prompt_tokens:,} tokens"),
        (in_flight > limit.in_flight, crowd),
    )  # fmt: skip
    return [what for is_so, what in checks if is_so]
