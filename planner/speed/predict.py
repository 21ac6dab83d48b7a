"""From settings and a workload to figures with bounds; it never chooses a setting.

Inside measured territory the bounds are the errors of forecasts that did not see what they predicted. Outside they
are the wider of those errors elsewhere and of the range that every uncertain efficiency at its bound gives.
"""

from __future__ import annotations

from dataclasses import replace

from hw_specs.spec import Basis, GpuSet
from planner import facts
from planner.errors import PlannerError
from planner.facts.release import Release, parse_version, resolve_release
from planner.model import ModelSpec
from planner.settings import Settings
from planner.speed.answer import Estimate, SpeedCalibration, SpeedForecast, Territory
from planner.speed.hardware import hardware_of
from planner.speed.profile import Case, engine_profile, profile_id_for
from planner.speed.simulation import EngineLimits, simulate
from planner.speed.step import StepModel
from planner.speed.trace import Trace
from planner.speed.work import main_arithmetic, rank_work
from planner.speed.workload import Workload

_RISING = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s")
_PREFILL = ("ttft_ms", "ttft_p99_ms")


class NoSpeedFacts(PlannerError):
    """Nothing was ever measured for this vendor or link, so a forecast would be a guess."""


FIGURES = (
    "output_tokens_per_s", "total_tokens_per_s", "requests_per_s", "ttft_ms", "ttft_p99_ms", "tpot_ms", "tpot_p99_ms",
    "itl_ms", "itl_p99_ms", "latency_ms",
)  # fmt: skip


def forecast(
    settings: Settings,
    workload: Workload,
    *,
    model: ModelSpec,
    gpus: GpuSet,
    num_gpu_blocks: int,
    vllm_version: str | None = None,
    calibration: SpeedCalibration | None = None,
) -> SpeedForecast:
    """Return the forecast for `settings.replicas` equal servers that share `workload`.

    `num_gpu_blocks` is the KV pool of one replica in blocks, the null block included.

    Raises:
        NoSpeedFacts: when no measurement exists for the GPU's vendor, or its link has no public speed.
        InvalidRequest: when one request does not fit the KV cache.
    """
    release = resolve_release(vllm_version)
    profile_id, ceiling = _facts_for(model, gpus, release)
    territory, notes = _territory(settings, workload, model, gpus, profile_id, release.version)

    def run(case: Case) -> dict[str, float]:
        return _run(case, settings, workload, model, gpus, num_gpu_blocks - 1, profile_id, ceiling)[0]

    expected, traces = _run("expected", settings, workload, model, gpus, num_gpu_blocks - 1, profile_id, ceiling)
    ranges = {name: (value, value) for name, value in expected.items()}
    if territory in ("near", "far"):
        fast, slow = run("fast"), run("slow")
        ranges = {
            name: (min(fast[name], slow[name], v), max(fast[name], slow[name], v)) for name, v in expected.items()
        }
    if workload.request_rate is not None and any(_queue_grows(trace) for trace in traces):
        notes += ("more requests arrive than are served: the queue grows, and TTFT with it, as long as they do",)
    basis: Basis = "assumed" if territory == "far" else "derived"
    ratios = dict.fromkeys(FIGURES, 1.0)
    if calibration is not None:
        territory, basis = "measured here", "measured"
        notes = ("scaled by a benchmark on this machine", *(note for note in notes if note.startswith("more requests")))
        ranges = {name: (value, value) for name, value in expected.items()}
        ratios |= _spread_ratios(calibration.ratios)
    estimates: dict[str, Estimate] = {}
    for name, value in expected.items():
        factor = _factor(territory, gpus.spec.vendor, "prefill" if name in _PREFILL else "decode")
        low, high = ranges[name]
        estimates[name] = Estimate(
            expected=value * ratios[name],
            low=min(low, value / factor) * ratios[name],
            high=max(high, value * factor) * ratios[name],
            basis=basis,
        )
    per_replica = settings.layout.gpus_per_replica
    out = estimates["output_tokens_per_s"]
    return SpeedForecast(
        workload=workload,
        output_tokens_per_s_per_gpu=_divided(out, settings.replicas * per_replica),
        output_tokens_per_s_per_replica=_divided(out, settings.replicas),
        kv_cache_peak_use=max(trace.kv_peak_blocks / trace.num_blocks for trace in traces),
        kv_cache_mean_use=sum(trace.kv_mean_blocks / trace.num_blocks for trace in traces) / len(traces),
        preemptions=sum(trace.preemptions for trace in traces),
        territory=territory,
        profile=profile_id,
        notes=notes,
        **estimates,
    )


def expected_figures(
    settings: Settings,
    workload: Workload,
    *,
    model: ModelSpec,
    gpus: GpuSet,
    num_gpu_blocks: int,
    vllm_version: str | None = None,
) -> tuple[dict[str, float], float]:
    """Return the expected value of every figure and the largest share of the KV cache in use; no bounds, so fast.

    Raises:
        NoSpeedFacts: as :func:`forecast`.
        InvalidRequest: when one request does not fit the KV cache.
    """
    profile_id, ceiling = _facts_for(model, gpus, resolve_release(vllm_version))
    figures, traces = _run("expected", settings, workload, model, gpus, num_gpu_blocks - 1, profile_id, ceiling)
    return figures, max(trace.kv_peak_blocks / trace.num_blocks for trace in traces)


def _facts_for(model: ModelSpec, gpus: GpuSet, release: Release) -> tuple[str, int]:
    """The engine build to use and the largest batch in tokens its graphs cover."""
    try:
        profile_id = profile_id_for(
            gpus.spec.vendor, release.version, architecture=gpus.spec.architecture, arithmetic=main_arithmetic(model)
        )
    except KeyError:
        raise NoSpeedFacts(f"no public measurement tells how fast {gpus.spec.vendor} GPUs serve") from None
    if not gpus.spec.bandwidth_bytes_per_s or not gpus.spec.bf16_flops_per_s:
        raise NoSpeedFacts(f"the speeds of {gpus.spec.name} are not known")
    ceiling = next(
        size for prefix, size in release.graph_ceiling if prefix in ("*", gpus.spec.architecture[: len(prefix)])
    )
    return profile_id, ceiling


def calibrate(
    forecasted: SpeedForecast,
    measured: dict[str, float],
    settings: Settings,
    *,
    model: ModelSpec,
    gpus: GpuSet,
    vllm_version: str,
) -> SpeedCalibration:
    """Return how a benchmark of these settings compares with their forecast.

    `measured` holds ``output_tokens_per_s``, ``ttft_ms`` and ``tpot_ms``, as :mod:`planner.serve.bench` reads them.
    """
    names = ("output_tokens_per_s", "ttft_ms", "tpot_ms")
    return SpeedCalibration(
        gpu=gpus.spec.id, model=model.name, vllm_version=vllm_version,
        tensor_parallel_size=settings.tensor_parallel_size, pipeline_parallel_size=settings.pipeline_parallel_size,
        ratios={name: measured[name] / getattr(forecasted, name).expected for name in names if measured.get(name)},
    )  # fmt: skip


def _spread_ratios(ratios: dict[str, float]) -> dict[str, float]:
    """Carry the three measured ratios over to the figures they speak for."""
    throughput = ratios.get("output_tokens_per_s", 1.0)
    decode, prefill = ratios.get("tpot_ms", 1.0), ratios.get("ttft_ms", 1.0)
    return {
        **dict.fromkeys(_RISING, throughput),
        **dict.fromkeys(_PREFILL, prefill),
        **dict.fromkeys(("tpot_ms", "tpot_p99_ms", "itl_ms", "itl_p99_ms"), decode),
        "latency_ms": 1 / throughput,
    }


def step_model_for(
    settings: Settings,
    *,
    model: ModelSpec,
    gpus: GpuSet,
    profile_id: str,
    case: Case = "expected",
    graph_tokens: int = 512,
) -> StepModel:
    """Return the step model of one replica."""
    profile = engine_profile(profile_id, case)
    if settings.tensor_parallel_size > 1 and not gpus.fully_connected:
        # Without fast links between all pairs the engine's own kernel is off; every message goes the long way.
        profile = replace(profile, custom_allreduce_bytes_per_s=profile.custom_allreduce_bytes_per_s / 2)
    return StepModel(
        work=rank_work(
            model, tensor_parallel_size=settings.tensor_parallel_size, kv_cache_dtype=settings.kv_cache_dtype,
            language_model_only=settings.language_model_only, with_draft=settings.num_speculative_tokens > 0,
        ),
        hardware=hardware_of(gpus.spec),
        profile=profile,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        num_speculative_tokens=settings.num_speculative_tokens,
        enforce_eager=settings.enforce_eager,
        graph_tokens=graph_tokens,
    )  # fmt: skip


def _run(
    case: Case, settings: Settings, workload: Workload, model: ModelSpec, gpus: GpuSet, num_blocks: int,
    profile_id: str, graph_tokens: int,
) -> tuple[dict[str, float], list[Trace]]:  # fmt: skip
    step = step_model_for(settings, model=model, gpus=gpus, profile_id=profile_id, case=case, graph_tokens=graph_tokens)
    acceptance = facts.load("speed.toml")["eagle"]["acceptance_rate"]
    limits = EngineLimits(
        max_num_seqs=settings.max_num_seqs, max_num_batched_tokens=settings.max_num_batched_tokens,
        num_blocks=num_blocks, block_size=settings.block_size,
        acceptance_rate=acceptance[{"expected": "value", "fast": "high", "slow": "low"}[case]],
    )  # fmt: skip
    image_tokens = 0
    if model.vision is not None and workload.images_per_request:
        side = model.vision.max_image_size // (model.vision.patch_size * model.vision.spatial_merge_size)
        image_tokens = side * (side + 1)
    shares = [workload.share(settings.replicas, index) for index in range(settings.replicas)]
    traces: list[Trace] = []
    played: dict[Workload, Trace] = {}
    for share in shares:
        if share is None:
            continue
        if share.request_rate is None and not share.length_range_ratio:
            share = replace(share, seed=0)  # nothing is drawn, so equal shares run alike
        if share not in played:
            played[share] = simulate(
                step, limits, share, image_tokens=image_tokens, vision=not settings.language_model_only
            )
        traces.append(played[share])
    return _figures(traces), traces


def _figures(traces: list[Trace]) -> dict[str, float]:
    import numpy as np

    ttft = np.concatenate([trace.ttft_s for trace in traces])
    tpot = np.concatenate([trace.tpot_s for trace in traces])
    latency = np.concatenate([trace.latency_s for trace in traces])
    longest = max(trace.duration_s for trace in traces)
    slowest_gap = max(trace.gap_percentile_s(99) for trace in traces)
    gaps = sum(float(trace.gap_count.sum()) for trace in traces)
    gap_total = sum(float((trace.gap_s * trace.gap_count).sum()) for trace in traces)
    return {
        "output_tokens_per_s": sum(int(t.output_tokens.sum()) for t in traces) / longest,
        "total_tokens_per_s": sum(int(t.output_tokens.sum() + t.prompt_tokens.sum()) for t in traces) / longest,
        "requests_per_s": len(ttft) / longest,
        "ttft_ms": float(ttft.mean()) * 1e3,
        "ttft_p99_ms": float(np.percentile(ttft, 99)) * 1e3,
        "tpot_ms": float(tpot.mean()) * 1e3 if tpot.size else 0.0,
        "tpot_p99_ms": float(np.percentile(tpot, 99)) * 1e3 if tpot.size else 0.0,
        "itl_ms": gap_total / gaps * 1e3 if gaps else 0.0,
        "itl_p99_ms": slowest_gap * 1e3,
        "latency_ms": float(latency.mean()) * 1e3,
    }


def _queue_grows(trace: Trace) -> bool:
    """Whether more than a tenth of all requests still wait for their first token when the last one arrives."""
    waiting = trace.first_token_s > trace.sent_s.max()
    return bool(waiting.mean() > 0.1 and waiting.sum() > 10)


def _divided(estimate: Estimate, by: int) -> Estimate:
    return Estimate(
        expected=estimate.expected / by, low=estimate.low / by, high=estimate.high / by, basis=estimate.basis
    )


def _factor(territory: Territory, vendor: str, kind: str) -> float:
    table = facts.load("speed.toml")["territory"]
    return float(table["measured" if territory == "measured here" else territory][vendor][kind]["factor"])


def _territory(
    settings: Settings, workload: Workload, model: ModelSpec, gpus: GpuSet, profile_id: str, version: str
) -> tuple[Territory, tuple[str, ...]]:
    """Say how close the question is to anything that was measured, and why."""
    speed = facts.load("speed.toml")
    profile = speed["profile"][profile_id]
    notes: list[str] = []
    records = [
        r for r in facts.load("measured_speed.json")["records"] if r.get("profile") == profile_id and r["role"] == "fit"
    ]
    on_gpu = [r for r in records if r["gpu"] == gpus.spec.id]
    models = facts.load("measured_speed.json")["models"]
    presets = {key for key, entry in models.items() if "preset" in entry and "num_hidden_layers" not in entry}
    this = [r for r in on_gpu if r["model"] in presets and model.name.endswith("Mistral-Medium-3.5-128B")]
    same_size = [r for r in this if r["tensor_parallel_size"] == settings.tensor_parallel_size]
    if not on_gpu:
        notes.append(f"nothing was measured on {gpus.spec.name}: efficiencies are carried over from {profile['about']}")
    elif not this:
        notes.append(f"this model was not measured on {gpus.spec.name}, others were")
    elif not same_size:
        notes.append(f"this model was not measured on {settings.tensor_parallel_size} x {gpus.spec.name}")
    beyond = parse_version(version) > parse_version(profile["until"])
    if beyond:
        notes.append(f"measured up to vLLM {profile['until']}; {version} may be faster or slower")
    for is_so, what in (
        (settings.num_speculative_tokens > 0, "no acceptance rate of the draft was published"),
        (settings.pipeline_parallel_size > 1, "pipeline stages were measured on one pair of cards only"),
        (settings.enforce_eager, "no eager run of this model was published"),
        (workload.images_per_request > 0, "no run with images was published"),
        (workload.prefix_cache_hit_rate > 0, "no run with a prefix cache was published"),
    ):
        if is_so:
            notes.append(what)
    exotic = len(notes) > (not on_gpu) + (bool(on_gpu) and not this) + (bool(this) and not same_size) + beyond
    if not on_gpu or exotic:
        return "far", tuple(notes)
    # A reading without its load makes no territory; the tables that do are named with the load they speak for.
    box = speed["measured_workload"].get(profile_id)
    table = [record for record in same_size if box and record["id"] in box["records"]]
    if not box or not table:
        if not notes:
            notes.append("the load of what was measured here is not known")
        return "near", tuple(notes)
    inside = all(
        box[name]["low"] <= value <= box[name]["high"]
        for name, value in (
            ("prompt_tokens", workload.prompt_tokens),
            ("output_tokens", workload.output_tokens),
            ("concurrency", (workload.concurrency or 0) / settings.replicas),
        )
    )
    if not inside:
        notes.append(f"the measured runs had {box['about']}")
    if settings.max_num_batched_tokens not in {record["max_num_batched_tokens"] for record in table}:
        inside = False
        notes.append(f"not measured with max_num_batched_tokens {settings.max_num_batched_tokens}")
    if inside and not beyond:
        return "measured", ("this model on this GPU count at about this load was measured",)
    return "near", tuple(notes)
