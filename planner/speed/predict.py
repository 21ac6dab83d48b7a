"""From settings and a workload to figures with bounds; it never chooses a setting.

The bounds are the errors of forecasts that did not see what they predicted. Where nothing is near, they are the wider
of those errors elsewhere and of the range that every uncertain efficiency at its bound gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, inf, sqrt

from hw_specs.spec import Basis, GpuSpec
from planner.errors import InvalidRequest, PlannerError
from planner.facts.drafts import draft_facts
from planner.facts.policy import policy
from planner.facts.release import Release, resolve_release
from planner.facts.scheduling import scheduling_facts
from planner.facts.speed import Fitted
from planner.facts.vllm import vllm_facts
from planner.memory.graph_sizes import step_sizes
from planner.settings import Settings
from planner.speed.ahead import scheduled_ahead
from planner.speed.answer import ESTIMATED, Estimate, Figures, SpeedCalibration, SpeedForecast
from planner.speed.drafting import draft_costs_more_from, draft_gain, proposed_tokens, tokens_a_step
from planner.speed.hardware import hardware_of
from planner.speed.limits import EngineLimits
from planner.speed.profile import Case, EngineProfile, engine_profile, profile_id_for
from planner.speed.scheduler import RunsOn
from planner.speed.served import Served
from planner.speed.simulation import simulate
from planner.speed.step import StepModel
from planner.speed.territory import spread, territory_of
from planner.speed.trace import Trace, mean, percentile
from planner.speed.work import main_arithmetic, rank_work
from planner.speed.workload import MOST_REQUESTS, Workload

_RATES = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s")


class NoSpeedFacts(PlannerError):
    """Nothing was ever measured for this vendor or link, so a forecast would be a guess."""


def forecast(
    served: Served,
    workload: Workload,
    *,
    calibration: SpeedCalibration | None = None,
    figures: Figures | None = None,
) -> SpeedForecast:
    """Return the forecast for `workload` shared by the equal servers of a plan.

    `figures` are what :func:`expected_figures` says of both, where somebody asked already.

    Raises:
        NoSpeedFacts: when no measurement exists for the GPU's vendor, or its link has no public speed.
        InvalidRequest: when one request does not fit the KV cache.
    """
    profile_id, _ = _facts_for(served)
    territory, notes = territory_of(served, workload, profile_id)
    figures = figures or expected_figures(served, workload)
    cases = [figures]
    if territory == "far" and calibration is None:
        cases += [expected_figures(served, workload, case=case) for case in ("fast", "slow")]
    keeps_up = (
        workload.concurrency is not None or workload.request_rate is None or steady_run(served, workload) is not None
    )
    if not keeps_up:
        notes += ("more requests arrive than are served: the queue grows, and TTFT with it, as long as they do",)
    counted_on = workload.turns > 1 or workload.system_tokens > 0 or workload.prefix_cache_hit_rate > 0
    if counted_on and not _caches_prefixes(served):
        notes += (f"the command has no prefix cache on {served.gpus.spec.name}: every prompt is computed whole",)
    elif workload.turns > 1 and served.settings.replicas > 1:
        notes += ("each chat is taken to stay on one server: elsewhere its next turn finds nothing in the cache",)
    if (served.settings.api_server_count or 1) > 1:
        notes += ("forecast as with one API server: two and four made no difference on one H200, at 1,000 at once",)
    if served.settings.num_speculative_tokens:
        notes += (_draft_note(served, workload),)
    basis: Basis = "assumed" if territory == "far" else "derived"
    ratios = dict.fromkeys(ESTIMATED, 1.0)
    if calibration is not None:
        territory, basis = "measured here", "measured"
        notes = ("scaled by a benchmark on this machine", *(note for note in notes if note.startswith("more requests")))
        ratios |= _spread_ratios(calibration.ratios)
    estimates: dict[str, Estimate] = {}
    for name in ESTIMATED:
        value, seen = getattr(figures, name), [getattr(case, name) for case in cases]
        by = spread(territory, name)
        estimates[name] = Estimate(
            expected=value * ratios[name],
            low=min(*seen, value / by.below) * ratios[name],
            high=max(*seen, value * by.above) * ratios[name],
            basis=basis,
        )
    estimates |= _held_together(estimates, arrives=workload.request_rate is not None)
    out = estimates["output_tokens_per_s"]
    return SpeedForecast(
        workload=workload,
        output_tokens_per_s_per_gpu=out.scaled(1 / served.settings.layout.total_gpus),
        output_tokens_per_s_per_replica=out.scaled(1 / served.settings.replicas),
        kv_cache_peak_use=figures.kv_cache_peak_use,
        kv_cache_mean_use=figures.kv_cache_mean_use,
        prefix_cache_hit_rate=figures.prefix_cache_hit_rate,
        preemptions=figures.preemptions,
        busy_share=figures.busy_share,
        prefill_share=figures.prefill_share,
        acceptance_length=_acceptance_length(served.settings, workload),
        territory=territory,
        keeps_up=keeps_up,
        profile=profile_id,
        notes=notes,
        **estimates,
    )


def _held_together(estimates: dict[str, Estimate], *, arrives: bool) -> dict[str, Estimate]:
    """Return the estimates whose own bounds contradict those of TTFT and TPOT, widened until they do not.

    An answer takes its TTFT and a TPOT for each further token. Where requests in flight are replaced as they end, their
    rate is as many times lower as they take longer (Little's law).
    """
    ttft, tpot, latency = (estimates[name] for name in ("ttft_ms", "tpot_ms", "latency_ms"))
    further = (latency.expected - ttft.expected) / tpot.expected if tpot.expected else 0.0
    wide = replace(
        latency,
        low=min(latency.low, ttft.low + further * tpot.high),
        high=max(latency.high, ttft.high + further * tpot.low),
    )
    found = {"latency_ms": wide}
    if not arrives:
        longer, shorter = wide.high / latency.high, latency.low / wide.low
        for name in _RATES:
            rate = estimates[name]
            found[name] = replace(rate, low=rate.low / longer, high=rate.high * shorter)
    return found


def expected_figures(served: Served, workload: Workload, *, case: Case = "expected", until_s: float = inf) -> Figures:
    """Return the value of every figure; no bounds, so fast.

    Raises:
        NoSpeedFacts: as :func:`forecast`.
        RunsOn: some request has no answer at `until_s`.
        InvalidRequest: when one request does not fit the KV cache.
    """
    step = step_model_for(served, case=case, acceptance_length=workload.acceptance_length)
    settings, vision = served.settings, served.model.vision
    limits = EngineLimits(
        max_num_seqs=settings.max_num_seqs, max_num_batched_tokens=settings.max_num_batched_tokens,
        # One block of the engine's count is the null block.
        num_blocks=served.kv_cache.num_gpu_blocks - 1, block_size=settings.block_size,
        prefix_caching=_caches_prefixes(served), long_prefill_token_threshold=settings.long_prefill_token_threshold,
        tokens_per_step=tokens_a_step(settings, case, workload.acceptance_length),
    )  # fmt: skip
    image_tokens = 0
    if vision is not None and workload.images_per_request:
        side = vision.max_image_size // (vision.patch_size * vision.spatial_merge_size)
        image_tokens = side * (side + 1)
    traces: list[Trace] = []
    played: dict[Workload, Trace] = {}
    for index in range(settings.replicas):
        share = workload.share(settings.replicas, index)
        if share is None:
            continue
        share = replace(share, seed=workload.seed)  # another seed would be another run of the same load
        if share not in played:
            played[share] = simulate(
                step, limits, share, image_tokens=image_tokens, vision=not settings.language_model_only, until_s=until_s
            )
        traces.append(played[share])
    return _figures(traces)


def _caches_prefixes(served: Served) -> bool:
    """Whether the server is started with a prefix cache."""
    return served.gpus.spec.vendor not in vllm_facts().command.no_prefix_caching_vendors


def _acceptance_length(settings: Settings, workload: Workload) -> Estimate | None:
    if settings.spec_method is None:
        return None
    basis: Basis = "assumed" if draft_facts().methods[settings.spec_method].basis == "assumed" else "derived"
    return Estimate(
        expected=tokens_a_step(settings, "expected", workload.acceptance_length),
        low=tokens_a_step(settings, "slow", workload.acceptance_length),
        high=tokens_a_step(settings, "fast", workload.acceptance_length),
        basis=basis if workload.acceptance_length is None else "measured",
    )  # fmt: skip


def _draft_note(served: Served, workload: Workload) -> str:
    """What the draft brings one request, and from how many in flight on it costs more than it brings."""
    settings, told = served.settings, workload.acceptance_length
    model = step_model_for(served, acceptance_length=told)
    context = workload.mean_prompt_tokens + workload.output_tokens / 2
    low, length, high = (tokens_a_step(settings, case, told) for case in ("slow", "expected", "fast"))
    alone = draft_gain(model, 1, context, length) - 1
    turn = draft_costs_more_from(model, settings.max_num_seqs, context, length)
    crowd = f"from {turn:,} requests on one server it costs more than it brings" if turn else "it pays at any load"
    gives = f"a step with {settings.num_speculative_tokens} drafted tokens gives {length:.2f}"
    if told is None:
        gives += f" ({low:.2f} to {high:.2f}) "
        shown = settings.draft_model
        gives += "by what drafts on other models showed" if shown else "by how much an answer repeats: it is a guess"
    return f"{gives}: {alone:+.0%} for one request, and {crowd}"


def _facts_for(served: Served) -> tuple[str, Release]:
    """The engine build to use and the release's rules."""
    release, gpu = resolve_release(served.vllm_version), served.gpus.spec
    try:
        profile_id = profile_id_for(
            gpu.vendor, release.version, architecture=gpu.architecture, arithmetic=main_arithmetic(served.model)
        )
    except KeyError:
        raise NoSpeedFacts(f"there is no public measurement of {gpu.vendor} GPUs") from None
    if not gpu.bandwidth_bytes_per_s or not gpu.bf16_flops_per_s:
        raise NoSpeedFacts(f"the speeds of {gpu.name} are not known")
    return profile_id, release


def calibrate(forecasted: SpeedForecast, measured: dict[str, float], served: Served) -> SpeedCalibration:
    """Return how a benchmark of these settings compares with their forecast.

    `measured` holds ``output_tokens_per_s``, ``ttft_ms`` and ``tpot_ms``, as :mod:`planner.serve.bench` reads them.
    """
    names = ("output_tokens_per_s", "ttft_ms", "tpot_ms")
    return SpeedCalibration(
        gpu=served.gpus.spec.id, model=served.model.name, vllm_version=served.vllm_version,
        tensor_parallel_size=served.settings.tensor_parallel_size,
        pipeline_parallel_size=served.settings.pipeline_parallel_size,
        ratios={name: measured[name] / getattr(forecasted, name).expected for name in names if measured.get(name)},
    )  # fmt: skip


def calibrated(figures: Figures, calibration: SpeedCalibration) -> Figures:
    """Return `figures` scaled as :func:`forecast` scales its own by a benchmark."""
    ratios = _spread_ratios(calibration.ratios)
    return replace(figures, **{name: getattr(figures, name) * ratio for name, ratio in ratios.items()})


def _spread_ratios(ratios: dict[str, float]) -> dict[str, float]:
    """Carry the three measured ratios over to the figures they speak for."""
    throughput = ratios.get("output_tokens_per_s", 1.0)
    decode, prefill = ratios.get("tpot_ms", 1.0), ratios.get("ttft_ms", 1.0)
    return {
        **dict.fromkeys(_RATES, throughput),
        **dict.fromkeys(("ttft_ms", "ttft_p99_ms"), prefill),
        **dict.fromkeys(("tpot_ms", "tpot_p99_ms", "itl_ms", "itl_p99_ms"), decode),
        "latency_ms": 1 / throughput,
    }


def step_model_for(served: Served, *, case: Case = "expected", acceptance_length: float | None = None) -> StepModel:
    """Return the step model of one replica; `acceptance_length` is what its draft gives, where that is known.

    Raises:
        NoSpeedFacts: as :func:`forecast`.
    """
    settings, gpu = served.settings, served.gpus.spec
    profile_id, release = _facts_for(served)
    profile = engine_profile(profile_id, case)
    if profile.async_scheduling and not scheduled_ahead(settings, release):
        profile = _synchronous(profile, case)
    if settings.tensor_parallel_size > 1 and not served.gpus.fully_connected:
        # Without fast links between all pairs the engine's own kernel is off; every message goes the long way.
        profile = replace(profile, custom_allreduce_bytes_per_s=profile.custom_allreduce_bytes_per_s / 2)
    return StepModel(
        work=rank_work(
            served.model, tensor_parallel_size=settings.tensor_parallel_size, kv_cache_dtype=settings.kv_cache_dtype,
            language_model_only=settings.language_model_only, with_draft=settings.draft_model,
        ),
        hardware=hardware_of(gpu),
        profile=profile,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        num_speculative_tokens=proposed_tokens(
            settings.num_speculative_tokens, case, settings.spec_method, acceptance_length
        ),
        enforce_eager=settings.enforce_eager,
        graph_tokens=_graph_tokens(settings, release, gpu),
        graphs_with_prompts=settings.cudagraph_mode != "FULL_DECODE_ONLY",
    )  # fmt: skip


def _synchronous(profile: EngineProfile, case: Case) -> EngineProfile:
    """`profile` where each step waits for the one before: its host time is not hidden."""
    added = scheduling_facts().synchronous

    def bound(fact: Fitted) -> float:
        return {"expected": fact.value, "fast": fact.low, "slow": fact.high}[case]

    return replace(
        profile,
        async_scheduling=False,
        step_s=profile.step_s + bound(added.step_s),
        sequence_s=profile.sequence_s + bound(added.sequence_s),
    )


def _graph_tokens(settings: Settings, release: Release, gpu: GpuSpec) -> int:
    """Tokens of the largest step that a graph covers; 0 without graphs."""
    if settings.cudagraph_mode == "NONE":
        return 0
    sizes = step_sizes(
        release,
        gpu.architecture,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        per_sequence=1 + settings.num_speculative_tokens,
        cudagraph_capture_sizes=settings.cudagraph_capture_sizes,
        max_cudagraph_capture_size=settings.max_cudagraph_capture_size,
    )
    return max(sizes, default=0)


def figures_alone(served: Served, workload: Workload) -> Figures:
    """Return the figures of one user after another, who nobody else disturbs.

    Raises:
        NoSpeedFacts, InvalidRequest: as :func:`expected_figures`.
    """
    one = replace(workload, request_rate=None, concurrency=1, num_requests=2 * workload.turns)
    return expected_figures(served, one)


def steady_run(served: Served, workload: Workload, *, alone: Figures | None = None) -> Figures | None:
    """Return the figures of a run at the workload's rate that is long enough to be judged; None: it falls behind.

    A rate is kept up with when a run of several chats' length ends one slowed-down chat after the last arrival, a chat
    of one turn being one answer: a queue that grows would end later. The pauses of a chat are not slowed down.

    Raises:
        NoSpeedFacts, InvalidRequest: as :func:`expected_figures`; also when the workload has no rate.
    """
    if workload.request_rate is None:
        raise InvalidRequest("request_rate", "request_rate must be given", hint="how many requests arrive each second")
    alone, limits, turns = alone or figures_alone(served, workload), policy().capacity, workload.turns
    answers_s, pauses_s = turns * alone.latency_ms / 1000, (turns - 1) * workload.pause_s
    chats_per_s = workload.request_rate / turns
    length_s = limits.run_in_answers.value * (answers_s + pauses_s)
    chats = min(
        max(limits.fewest_requests.value, ceil(min(chats_per_s * length_s, MOST_REQUESTS))), MOST_REQUESTS // turns
    )
    # Replicas with as many chats each are alike: one of them is played.
    chats = max(1, chats // served.settings.replicas) * served.settings.replicas
    # Random arrivals alone make a run of n chats longer by about sqrt(n) gaps.
    in_time_s = limits.slowed_down.value * answers_s + pauses_s + 2 * sqrt(chats) / chats_per_s
    run = replace(workload, concurrency=None, num_requests=chats * turns)
    try:
        return expected_figures(served, run, until_s=chats / chats_per_s + in_time_s)
    except RunsOn:
        return None


def _figures(traces: Sequence[Trace]) -> Figures:
    """Read the figures off the runs of all replicas."""
    ttft = [value for trace in traces for value in trace.ttft_s]
    tpot = [value for trace in traces for value in trace.tpot_s]
    latency = [value for trace in traces for value in trace.latency_s]
    longest = max(trace.duration_s for trace in traces)
    gaps = sum(trace.gaps.number for trace in traces)
    gap_total = sum(trace.gaps.mean_s * trace.gaps.number for trace in traces)
    output = sum(sum(trace.output_tokens) for trace in traces)
    prompt = sum(sum(trace.prompt_tokens) for trace in traces)
    return Figures(
        output_tokens_per_s=output / longest,
        total_tokens_per_s=(output + prompt) / longest,
        requests_per_s=len(ttft) / longest,
        ttft_ms=mean(ttft) * 1e3,
        ttft_p99_ms=percentile(ttft, 99) * 1e3,
        tpot_ms=mean(tpot) * 1e3,
        tpot_p99_ms=percentile(tpot, 99) * 1e3,
        itl_ms=gap_total / gaps * 1e3 if gaps else 0.0,
        itl_p99_ms=max(trace.gaps.percentile_s(99) for trace in traces) * 1e3,
        latency_ms=mean(latency) * 1e3,
        kv_cache_peak_use=max(trace.kv_peak_blocks / trace.num_blocks for trace in traces),
        kv_cache_mean_use=mean([trace.kv_mean_blocks / trace.num_blocks for trace in traces]),
        prefix_cache_hit_rate=sum(trace.prefix_cache_hit_rate * sum(trace.prompt_tokens) for trace in traces) / prompt,
        preemptions=sum(trace.preemptions for trace in traces),
        busy_share=mean([trace.busy_s / longest for trace in traces]),
        prefill_share=mean([trace.prefill_s / longest for trace in traces]),
    )
