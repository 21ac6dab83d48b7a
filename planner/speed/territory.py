"""How close a question is to anything measured, and how far a forecast may therefore be off; it never forecasts.

*Near* promises bounds no wider than 35 %; whatever cannot keep that is *far* and says why.
"""

from __future__ import annotations

from functools import cache

from planner.facts.graphs import graph_facts
from planner.facts.release import parse_version
from planner.facts.speed import MeasuredLoad, Spread, speed_facts
from planner.settings import Settings
from planner.speed.answer import Territory
from planner.speed.measurement import Measurement, measured_model, measured_speed
from planner.speed.served import Served
from planner.speed.work import main_arithmetic
from planner.speed.workload import Workload


def spread(territory: Territory, figure: str) -> Spread:
    """Return how far a figure of that territory may be off."""
    kind = "ttft" if figure.startswith("ttft") else "rate" if "_per_s" in figure else "tpot"
    name = "measured" if territory == "measured here" else territory
    return speed_facts().territory[name][kind]


@cache
def _fitted_on(profile_id: str, gpu: str) -> tuple[Measurement, ...]:
    records = measured_speed().records
    return tuple(one for one in records if (one.profile, one.role, one.gpu) == (profile_id, "fit", gpu))


@cache
def _this_model() -> frozenset[str]:
    return frozenset(key for key, one in measured_speed().models.items() if one.preset and not one.num_hidden_layers)


def territory_of(served: Served, workload: Workload, profile_id: str) -> tuple[Territory, tuple[str, ...]]:
    """Return how close the question is to anything that was measured, and why, in sentences."""
    settings, gpu = served.settings, served.gpus.spec
    profile = speed_facts().profile[profile_id]
    far = _unmeasured(served, workload)
    on_gpu = _fitted_on(profile_id, gpu.id)
    if not on_gpu:
        far.insert(0, f"nothing was measured on {gpu.name}: efficiencies are carried over from {profile.about}")
    elif main_arithmetic(served.model) not in _arithmetics(on_gpu):
        far.insert(0, f"no model with {main_arithmetic(served.model).upper()} layers was measured on {gpu.name}")
    if far:
        return "far", tuple(far)
    notes = []
    beyond = parse_version(served.vllm_version) > parse_version(profile.until)
    if beyond:
        notes.append(f"measured up to vLLM {profile.until}; {served.vllm_version} may be faster or slower")
    this = [
        record
        for record in on_gpu
        if record.model in _this_model() and served.model.name.endswith("Mistral-Medium-3.5-128B")
    ]
    same_size = [record for record in this if record.tensor_parallel_size == settings.tensor_parallel_size]
    if not this:
        notes.append(f"this model was not measured on {gpu.name}, others were")
    elif not same_size:
        notes.append(f"this model was not measured on {settings.tensor_parallel_size} x {gpu.name}")
    load = speed_facts().measured_workload.get(profile_id)
    table = [record for record in same_size if load and record.id in load.records]
    if not load or not table:
        return "near", tuple(notes or ["the load of what was measured here is not known"])
    outside = _outside(load, table, settings, workload)
    if not outside and not beyond:
        return "measured", ("this model on this GPU count at about this load was measured",)
    return "near", (*notes, *outside)


def _arithmetics(records: tuple[Measurement, ...]) -> set[str]:
    return {main_arithmetic(measured_model(record.model)) for record in records}


def _outside(load: MeasuredLoad, table: list[Measurement], settings: Settings, workload: Workload) -> tuple[str, ...]:
    """What of the question lies outside a measured table."""
    notes = []
    asked = (
        (load.prompt_tokens, workload.mean_prompt_tokens), (load.output_tokens, workload.output_tokens),
        (load.concurrency, (workload.concurrency or 0) / settings.replicas),
    )  # fmt: skip
    if not all(span.low <= value <= span.high for span, value in asked):
        notes.append(f"the measured runs had {load.about}")
    if settings.max_num_batched_tokens not in {record.max_num_batched_tokens for record in table}:
        notes.append(f"not measured with max_num_batched_tokens {settings.max_num_batched_tokens}")
    return tuple(notes)


def _other_graphs(settings: Settings) -> bool:
    """Whether other steps run as graphs than by default."""
    asked = (settings.cudagraph_capture_sizes, settings.max_cudagraph_capture_size)
    own = graph_facts().modes.default
    return settings.cudagraph_mode not in (None, own) or any(one is not None for one in asked)


def _unmeasured(served: Served, workload: Workload) -> list[str]:
    """What of the question was not measured well enough for near bounds."""
    settings, near = served.settings, speed_facts().near
    most, longest = near.in_flight.value, near.prompt_tokens.value
    if workload.concurrency is not None or workload.request_rate is None:
        in_flight = min(workload.concurrency or workload.total_requests, workload.total_requests) / settings.replicas
    else:
        in_flight = 0
    crowd = (
        f"more than {most} requests at once on one server: its front end and host decide as much as the GPU,"
        " and machines differ"
    )
    checks = (
        (settings.num_speculative_tokens > 0, "how many of the draft's tokens are accepted depends on the text"
         if workload.acceptance_length is None
         else "no run of a draft with real text was published for these GPUs"),
        (settings.pipeline_parallel_size > 1, "pipeline stages were measured on two pairs of cards only"),
        (settings.tensor_parallel_size > 1 and not served.gpus.fully_connected,
         "tensor parallelism without fast links between all pairs hangs on the host's lanes"),
        (settings.enforce_eager, "no eager run of this model was published"),
        (not settings.enforce_eager and _other_graphs(settings), "steps without graphs were measured on one host only"
         if settings.cudagraph_mode == "NONE" else "no run with other graphs than vLLM's own was published"),
        (not settings.enforce_eager and settings.cudagraph_mode == "PIECEWISE",
         "what launching attention between pieces takes is not counted"),
        (settings.async_scheduling is False,
         "what a step takes without async scheduling was measured on one host only"),
        (settings.lora is not None,
         "what requests with adapters take is not counted: a server was measured with none loaded, and was as fast"),
        (workload.images_per_request > 0, "no run with images was published"),
        (workload.prefix_cache_hit_rate > 0 or workload.turns > 1 or workload.system_tokens > 0,
         "no run with a prefix cache was published"),
        (workload.mean_prompt_tokens > longest, f"few runs had prompts over {longest:,} tokens"),
        (in_flight > most, crowd),
    )  # fmt: skip
    return [what for is_so, what in checks if is_so]
