"""The choice that follows speed: which layout serves a workload best, and why. It never formats.

Every layout is planned by :func:`planner.planning.choose.plan` first, so only what fits in memory is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hw_specs.units import format_excess, format_figure
from planner.errors import InvalidRequest
from planner.planning.answer import Lever, Plan
from planner.planning.choose import make_plan
from planner.planning.pick import nearest, pick
from planner.planning.request import PlanRequest
from planner.planning.target_levers import target_levers
from planner.planning.ways import Comparison, Way, after, alone, benchmark_for
from planner.speed.answer import (
    Cost,
    LayoutSpeed,
    Objective,
    SpeedCalibration,
    SpeedForecast,
    SpeedSection,
    Targets,
)
from planner.speed.workload import Workload


def plan_for_workload(
    request: PlanRequest,
    workload: Workload,
    *,
    objective: Objective = "balanced",
    targets: Targets | None = None,
    price_per_gpu_hour: float | None = None,
    price_per_kwh: float | None = None,
    calibrations: tuple[SpeedCalibration, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Answer `request` with the layout that serves `workload` best; the plan holds the forecast.

    What the request fixes stays; tensor parallelism, replicas and ``max_num_batched_tokens`` follow the forecast where
    it leaves them open. A draft is compared, and taken only when asked for: no acceptance rate of it was published.
    When nothing fits in memory, the plain plan is returned with its shortfall and levers. `progress` hears how many
    ways of how many are compared.

    Raises:
        InvalidRequest: when the engine would refuse the settings, or no layout can hold one request.
        NoSpeedFacts: when nothing was measured for these GPUs.
    """
    from planner.speed.drafting import check_acceptance
    from planner.speed.energy import energy_of
    from planner.speed.predict import steady_run

    targets = targets or Targets()
    _check(request, workload, price_per_gpu_hour, price_per_kwh)
    comparison = Comparison(request, calibrations)
    first = comparison.first(workload)
    if not first.feasible:
        return make_plan(first.request)
    if not request.num_speculative_tokens and first.model.draft is not None:
        check_acceptance(first.model.draft.card_num_speculative_tokens, workload.acceptance_length)
    steps = 0

    def heard(done: int, total: int) -> None:
        nonlocal steps
        steps = total
        if progress is not None:
            progress(done, total)

    candidates = comparison.ways(workload, targets, progress=heard)
    chosen = pick(candidates, objective, targets)
    speed = _forecast(chosen, workload, calibrations)
    compared, queues = candidates, []
    if not speed.keeps_up:
        asked = [way for way in candidates if way.asked]
        steady, look = [], after(steps, progress)
        for number, way in enumerate(asked):
            if look is not None:
                look(number, len(asked))
            if way is not chosen and steady_run(way.plan, workload) is not None:
                steady.append(way)
        steps += len(asked)
        rate = f"{workload.request_rate:g} requests/s"
        queues.append(f"{len(asked) - len(steady)} of {len(asked)} ways compared fall behind {rate}")
        if steady:
            # A queue that grows meets no target for long.
            chosen, compared = (
                pick(steady, objective, targets),
                [*steady, *(way for way in candidates if not way.asked)],
            )
            speed = _forecast(chosen, workload, calibrations)
    reasons = [*_reasons(chosen, compared, workload, objective, targets), *queues]
    meets = chosen.miss(targets) <= 1
    if meets:
        levers = tuple(lever for lever in make_plan(chosen.plan.request).levers if not _may_miss(lever, targets))
    else:
        reasons += _limits(chosen, comparison, workload, targets)
        others = target_levers(comparison, workload, objective, targets, progress=after(steps, progress))
        levers = others.levers  # what holds more does not cure a missed target
        if not others.complete:
            reasons.append("this load is long to play, so not every lever was tried; --num-requests shortens it")
    section = SpeedSection(
        objective=objective, targets=targets, meets_targets=meets, forecast=speed,
        reasons=tuple(reasons), layouts=_rows(candidates, chosen, targets),
        cost=cost_of(speed, chosen.plan, price_per_gpu_hour),
        energy=energy_of(
            speed, gpu_id=chosen.plan.gpus.spec.id, total_gpus=chosen.plan.settings.layout.total_gpus,
            price_per_kwh=price_per_kwh,
        ),
    )  # fmt: skip
    return dataclasses.replace(chosen.plan, reasons=(*chosen.plan.reasons, *reasons), levers=levers, speed=section)


def _forecast(way: Way, workload: Workload, calibrations: tuple[SpeedCalibration, ...]) -> SpeedForecast:
    """The forecast of a way that was compared; what was played then is not played again."""
    from planner.speed.predict import forecast

    benchmark = benchmark_for(calibrations, way.plan)
    return forecast(way.plan, workload, calibration=benchmark, figures=way.figures if benchmark is None else None)


def _may_miss(lever: Lever, targets: Targets) -> bool:
    """Whether a lever that makes room takes speed, which nobody forecast against the targets that are met."""
    return lever.cost == "speed" and any(value is not None for value in dataclasses.astuple(targets))


def _check(
    request: PlanRequest, workload: Workload, price_per_gpu_hour: float | None, price_per_kwh: float | None
) -> None:
    from planner.speed.drafting import check_acceptance

    length = workload.longest_tokens
    if request.max_model_len is not None and length > request.max_model_len:
        raise InvalidRequest(
            "max_model_len",
            f"requests of {length:,} tokens ({workload.lengths_in_words}) are longer than max_model_len "
            f"{request.max_model_len:,}",
            hint=f"raise max_model_len to at least {length}",
        )
    check_acceptance(request.num_speculative_tokens, workload.acceptance_length)
    if workload.images_per_request and request.language_model_only:
        raise InvalidRequest(
            "images_per_request", "images need the vision tower, and language_model_only leaves it out"
        )
    for name, price in (("price_per_gpu_hour", price_per_gpu_hour), ("price_per_kwh", price_per_kwh)):
        if price is not None and not 0 < price < float("inf"):
            raise InvalidRequest(name, f"{name} must be above 0, not `{price}`")


def _rows(candidates: list[Way], chosen: Way, targets: Targets) -> tuple[LayoutSpeed, ...]:
    """The chosen way, the front, and the best of every layout that is not on it; fastest first."""
    front = [c for c in candidates if not any(o.beats(c) for o in candidates)]
    shown: list[Way] = [chosen]
    for candidate in front:
        if all(candidate.reading() != other.reading() for other in shown):
            shown.append(candidate)
    for candidate in sorted(candidates, key=lambda c: c.figures.latency_ms):
        if all(candidate.name != other.name for other in shown):
            shown.append(candidate)
    ordered = sorted(shown, key=lambda c: (c is not chosen, c.figures.latency_ms))
    rows = []
    for candidate in ordered:
        settings, figures = candidate.plan.settings, candidate.figures
        rows.append(
            LayoutSpeed(
                layout=settings.layout,
                max_num_seqs=settings.max_num_seqs,
                max_num_batched_tokens=settings.max_num_batched_tokens,
                num_speculative_tokens=settings.num_speculative_tokens,
                spec_method=settings.spec_method,
                max_model_len=settings.max_model_len,
                output_tokens_per_s=figures.output_tokens_per_s,
                ttft_ms=figures.ttft_ms,
                tpot_ms=figures.tpot_ms,
                latency_ms=figures.latency_ms,
                kv_cache_peak_use=candidate.figures.kv_cache_peak_use,
                meets_targets=candidate.miss(targets) <= 1,
                on_front=any(candidate is c for c in front),
                chosen=candidate is chosen,
                reason=_against(candidate, chosen),
            )
        )
    return tuple(rows)


def _against(candidate: Way, chosen: Way) -> str:
    """What a way would change, in words."""
    if candidate is chosen:
        return "chosen"
    words = []
    for name, label in (("output_tokens_per_s", "tokens/s"), ("ttft_ms", "TTFT"), ("tpot_ms", "TPOT")):
        own = getattr(chosen.figures, name)
        if not own:
            continue  # an answer of one token has no TPOT
        change = getattr(candidate.figures, name) / own - 1
        if abs(change) >= 0.03:
            words.append(f"{label} {change:+.0%}")
    length = candidate.plan.settings.max_model_len - chosen.plan.settings.max_model_len
    if length:
        words.append(f"length {length:+,}")
    text = ", ".join(words) or "about the same"
    return text if candidate.asked else f"{text}; if the draft's guesses are accepted as assumed"


def _reasons(
    chosen: Way, candidates: list[Way], workload: Workload, objective: Objective, targets: Targets
) -> list[str]:
    asked = [c for c in candidates if c.asked]
    meeting = [c for c in asked if c.miss(targets) <= 1]
    wanted = any(value is not None for value in dataclasses.astuple(targets))
    said = []
    if wanted and not meeting:
        said.append(
            f"none of the {len(asked)} ways compared meets every target; "
            f"{chosen.name} misses the hardest one by {format_excess(chosen.miss(targets))}"
        )
    elif wanted:
        said.append(f"{len(meeting)} of {len(asked)} ways meet every target")
    # A batch size that the user did not ask for wins by a lead only, so that it does not rival the engine's own.
    rivals = sorted(
        (c for c in (meeting or asked) if c.name != chosen.name and c.default_batch >= chosen.default_batch),
        key=lambda c: c.figures.latency_ms,
    )
    figures = chosen.figures
    aim = {
        "latency": "shortest end-to-end latency", "throughput": "most tokens per second",
        "context": "longest context", "balanced": "best product of tokens per second and answer time",
    }[objective]  # fmt: skip
    own = f"{chosen.name} has the {aim}: {format_figure(figures.output_tokens_per_s)} tok/s"
    own += f", TPOT {figures.tpot_ms:.1f} ms" if figures.tpot_ms else ""
    if rivals:
        rival = rivals[0]
        theirs = rival.figures
        own += f"; next is {rival.name} with {format_figure(theirs.output_tokens_per_s)}"
        own += f" and {theirs.tpot_ms:.1f}" if theirs.tpot_ms else ""
    if meeting:
        said.append(own)
    drafted = [c for c in candidates if not c.asked and c.name.startswith(chosen.name)]
    if drafted and drafted[0].figures.tpot_ms < figures.tpot_ms:
        tokens, tpot_ms = drafted[0].plan.settings.num_speculative_tokens, drafted[0].figures.tpot_ms
        at = "the assumed acceptance rate; none was published, so it is not chosen unasked"
        if workload.acceptance_length is not None:
            at = f"{workload.acceptance_length:g} tokens a step"
        said.append(f"--spec-tokens {tokens} could bring TPOT to {tpot_ms:.1f} ms at {at}")
    return said


def _limits(chosen: Way, comparison: Comparison, workload: Workload, targets: Targets) -> list[str]:
    """What no layout of these GPUs is faster than, and which were not compared."""
    said = []
    if single := comparison.forecast(comparison.asked(workload), alone(workload)):
        one = nearest(single, targets)
        said.append(
            f"one request alone has TTFT {one.figures.ttft_ms:,.0f} ms and TPOT {one.figures.tpot_ms:.1f} "
            f"ms with {one.name}"
        )
    gpus = chosen.plan.gpus
    if comparison.request.layout_open and gpus.count > 1 and chosen.plan.settings.pipeline_parallel_size == 1:
        said.append(
            "layouts with pipeline stages inside a node are not compared: how long prompts take through stages was "
            "measured on two pairs of cards only; -pp N forecasts one with wide bounds"
        )
    return said


def cost_of(speed: SpeedForecast, answer: Plan, price_per_gpu_hour: float | None) -> Cost | None:
    """Return what tokens cost on all GPUs of `answer` at that price; None without one."""
    if price_per_gpu_hour is None:
        return None
    per_s = price_per_gpu_hour * answer.gpus.total_gpus / 3600

    return Cost(
        price_per_gpu_hour=price_per_gpu_hour,
        per_million_output_tokens=speed.output_tokens_per_s.inverse(per_s * 1e6),
        per_million_total_tokens=speed.total_tokens_per_s.inverse(per_s * 1e6),
    )
