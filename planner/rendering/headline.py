"""A plan in two lines: the verdict with its conditions, and what is missing. It never colours or prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw_specs.units import GIB, format_excess, format_gib, format_tokens
from planner.planning.answer import Plan

if TYPE_CHECKING:
    from planner.speed.answer import SpeedForecast, SpeedSection, Targets

VERDICT_WORDS = {"fits": "fits", "tight": "tight", "does-not-fit": "does not fit"}
"""Verdict → what people read."""


def verdict_words(plan: Plan) -> str:
    """The verdict with its conditions: how much of the context is left where the planner cut it, and missed targets.

    >>> from hw_specs import parse_gpus
    >>> from planner import PlanRequest, plan
    >>> verdict_words(plan(PlanRequest(gpus=parse_gpus("8xH200"))))
    'fits'
    """
    words = VERDICT_WORDS[plan.verdict]
    if plan.feasible and plan.request.max_model_len is None:
        share = plan.settings.max_model_len / plan.model.max_position_embeddings
        if share < 1:
            words += f", context cut to {max(1, round(share * 100))} %"
    misses = missed_targets(plan.speed)
    return f"{words}, but misses {' and '.join(misses)}" if misses else words


def missed_targets(speed: SpeedSection | None) -> tuple[str, ...]:
    """Every target that the forecast does not meet, with the factor: ``TTFT 100 ms by 5.7 x``."""
    return () if speed is None else misses(speed.forecast, speed.targets)


def misses(forecast: SpeedForecast, targets: Targets) -> tuple[str, ...]:
    """What a forecast does not meet: a rate at which its queue grows, and every one of `targets`, with the factor."""
    found = [] if forecast.keeps_up else [f"{forecast.workload.request_rate:g} requests/s (the queue grows)"]
    for name, target, expected in (
        ("TTFT", targets.ttft_ms, forecast.ttft_ms),
        ("TPOT", targets.tpot_ms, forecast.tpot_ms),
    ):
        if target is not None and expected.expected > target:
            found.append(f"{name} {target:g} ms by {format_excess(expected.expected / target)}")
    if targets.tokens_per_s is not None and forecast.output_tokens_per_s.expected < targets.tokens_per_s:
        factor = targets.tokens_per_s / forecast.output_tokens_per_s.expected
        found.append(f"{targets.tokens_per_s:,g} tokens/s by {format_excess(factor)}")
    return tuple(found)


def headline(plan: Plan, *, brief: bool = False) -> str:
    """Length and machine in one line, idle GPUs named; a `brief` one does not say that images are served."""
    settings, kv = plan.settings, plan.kv_cache
    limit = plan.model.max_position_embeddings
    length = format_tokens(settings.max_model_len)
    of = f" of {format_tokens(limit)}" if settings.max_model_len < limit else ""
    sight = ", text only" if settings.language_model_only else "" if brief else ", vision on"
    if plan.model.vision is None:
        sight = ""
    ending = f"on {where(plan)}{sight}, vLLM {plan.vllm_version}"
    if plan.feasible:
        return f"{length}{of} tokens {ending}"
    if (plan.request.concurrency or 1) > 1:
        return f"{plan.request.concurrency:,} x {length} tokens {ending}"
    if plan.request.max_model_len is not None:
        return f"{length} tokens {ending}"
    best = kv.largest_max_model_len_low
    start = f" (at most {format_tokens(best)} tokens would start safely)" if best else ""
    return f"the model{start} {ending}"


def where(plan: Plan) -> str:
    """The GPUs of a plan: ``8 x H200``, ``4 of 7 x H200 (3 idle)``, ``4 of 8 x H200 (3 idle, 1 held by others)``."""
    gpus, used = plan.request.gpus, plan.settings.layout.total_gpus
    idle, held = plan.gpus.total_gpus - used, plan.gpus_left_out
    machine = f"{gpus.count} x {gpus.spec.name}"
    if gpus.nodes > 1:
        machine = f"{gpus.nodes} x {machine}"
    rest = ", ".join(f"{count} {word}" for count, word in ((idle, "idle"), (held, "held by others")) if count > 0)
    return f"{used} of {machine} ({rest})" if rest else machine


def held_bytes(plan: Plan) -> int:
    """GPU memory that others hold and that this plan would need; 0 where it does not stop the start."""
    free_bytes = plan.gpus.free_memory_bytes
    if free_bytes is None or plan.feasible or plan.ledger.budget_bytes <= free_bytes:
        return 0
    held = plan.ledger.total_bytes - free_bytes
    # Where the model would be too large for an empty GPU as well, no other process is to blame.
    return held if plan.ledger.line("free").bytes >= 0 else 0


def summary(plan: Plan) -> str:
    """The second line: what is missing, what is safe, and who holds the GPUs that are left out."""
    if held := held_bytes(plan):
        holders = f": {'; '.join(plan.gpus.holders[:3])}" if plan.gpus.holders else ""
        return (
            f"{format_gib(held)} of {format_gib(plan.ledger.total_bytes)} GiB are held by others{holders}. vLLM needs "
            f"{format_gib(plan.ledger.budget_bytes)} GiB free at startup; only "
            f"{format_gib(plan.ledger.total_bytes - held)} GiB are free"
        )
    if not plan.feasible:
        missing = f"{format_gib(plan.shortfall_bytes)} GiB per GPU are missing: "
        return f"{missing if plan.shortfall_bytes > GIB // 200 else ''}{plan.reasons[0]}"
    said = []
    if plan.verdict == "tight":
        low, length = plan.kv_cache.largest_max_model_len_low, format_tokens(plan.settings.max_model_len)
        safe = (
            f"{format_tokens(low)} is safe"
            if low
            else "at its worst, memory outside this share of the GPU stops it at any length"
        )
        said.append(f"{length} fits if every uncertain term is as expected; {safe}")
    if plan.gpus_left_out and plan.request.gpus.holders:
        said.append(f"left out: {'; '.join(plan.request.gpus.holders[:3])}")
    return ". ".join(said)
