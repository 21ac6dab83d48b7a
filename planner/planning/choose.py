"""From a request to a decision with its reasons; it never formats and never touches the machine."""

from __future__ import annotations

import dataclasses

from hw_specs.spec import GpuSet
from hw_specs.units import KIB, format_gib, format_tokens
from planner.checkpoint import load_preset
from planner.errors import InvalidRequest
from planner.facts import load
from planner.facts.release import Release, resolve_release
from planner.memory.layouts import (
    layouts,
    legal_tensor_parallel_sizes,
    most_replicas,
    tensor_parallel_fault,
    tensor_parallel_limit,
)
from planner.memory.ledger import ledger
from planner.memory.term import Bound
from planner.model import ModelSpec
from planner.planning.advice import find_warnings, unprofiled_note
from planner.planning.answer import Alternative, KvCache, Lever, Plan, PlanWarning, Rejected, Verdict
from planner.planning.levers import find_levers
from planner.planning.request import PlanRequest
from planner.planning.solve import Outcome, check_request, default_batch, solve
from planner.settings import Layout, Settings

__all__ = [
    "Alternative",
    "KvCache",
    "Lever",
    "Plan",
    "PlanWarning",
    "Rejected",
    "Settings",
    "Verdict",
    "all_levers",
    "plan",
]


def plan(request: PlanRequest) -> Plan:
    """Answer `request`: the settings to run, whether they fit, and why.

    What the request leaves open is chosen so that it fits at the low bound. When nothing fits, the plan says so
    (``feasible`` is false) and carries the ledger, the shortfall and the levers.

    Raises:
        InvalidRequest: when the engine would refuse the settings before looking at memory.
        UnknownVersion: when the vLLM release is malformed or too old.

    >>> from hw_specs import parse_gpus
    >>> plan(PlanRequest(gpus=parse_gpus("8xH200"))).settings.max_model_len
    262144
    """
    model = request.model or load_preset()
    release = resolve_release(request.vllm_version)
    gpus = request.gpus
    check_request(request, model)
    text_only = request.language_model_only or request.limit_mm_per_prompt_image == 0 or model.vision is None
    chosen = _chosen_layout(request, model, gpus, text_only=text_only)
    outcome = solve(request, model, gpus, release, chosen)
    alternatives, rejected = _others(request, model, gpus, release, chosen, text_only=text_only)
    short = outcome.settings.max_model_len < outcome.wanted_length
    return Plan(
        request=request,
        model=model,
        gpus=gpus,
        vllm_version=release.version,
        rules_version=release.rules_version,
        verdict=outcome.verdict,
        settings=outcome.settings,
        ledger=ledger(outcome.tightest, _kv_bytes(outcome)),
        weights_bytes_per_gpu=tuple(
            rank.weights.total_bytes for rank in outcome.ranks for _ in range(chosen.tensor_parallel_size)
        ),
        kv_cache=outcome.kv_cache,
        shortfall_bytes=outcome.shortfall_bytes,
        reasons=tuple(_reasons(request, outcome, chosen)),
        alternatives=alternatives,
        rejected=rejected,
        levers=find_levers(request, model, gpus, release, outcome) if short or outcome.verdict != "fits" else (),
        warnings=find_warnings(request, model, gpus, release, outcome),
    )


def all_levers(request: PlanRequest) -> tuple[Lever, ...]:
    """Every single change that gives the KV cache more room, also when nothing is missing.

    Raises:
        InvalidRequest: as :func:`plan` does.
        UnknownVersion: as :func:`plan` does.
    """
    model = request.model or load_preset()
    release = resolve_release(request.vllm_version)
    check_request(request, model)
    text_only = request.language_model_only or request.limit_mm_per_prompt_image == 0 or model.vision is None
    chosen = _chosen_layout(request, model, request.gpus, text_only=text_only)
    return find_levers(request, model, request.gpus, release, solve(request, model, request.gpus, release, chosen))


def _chosen_layout(request: PlanRequest, model: ModelSpec, gpus: GpuSet, *, text_only: bool) -> Layout:
    """The layout the user forces, else the default one."""
    tp, pp, replicas = request.tensor_parallel_size, request.pipeline_parallel_size, request.replicas
    limit = tensor_parallel_limit(gpus)
    valid = legal_tensor_parallel_sizes(model, limit, text_only=text_only)
    if tp is not None:
        fault = tensor_parallel_fault(model, tp, text_only=text_only)
        if fault:
            sizes = legal_tensor_parallel_sizes(model, 32, text_only=text_only)
            raise InvalidRequest(
                "tensor_parallel_size",
                f"tensor_parallel_size {tp} is not valid: {fault}",
                hint=f"valid sizes: {', '.join(map(str, sizes))}",
            )
        if tp > gpus.total_gpus:
            raise InvalidRequest(
                "tensor_parallel_size",
                f"tensor_parallel_size {tp} is larger than the number of GPUs in {gpus}",
                hint=f"the largest valid size here is {valid[-1]}",
            )
    if pp is not None and pp > model.num_hidden_layers:
        raise InvalidRequest(
            "pipeline_parallel_size", f"pipeline_parallel_size {pp} is larger than the {model.num_hidden_layers} layers"
        )
    if request.layout_open:
        default = layouts(model, gpus, text_only=text_only)[0]
        return Layout(tensor_parallel_size=default.tensor_parallel_size, replicas=gpus.nodes)
    stages = pp or 1
    if tp is None:
        room = max(1, gpus.count // stages if gpus.nodes == 1 else min(limit, gpus.total_gpus // stages))
        if replicas is not None:
            room = max(1, min(room, gpus.total_gpus // (stages * replicas)))
        tp = legal_tensor_parallel_sizes(model, room, text_only=text_only)[-1]
    one = Layout(tensor_parallel_size=tp, pipeline_parallel_size=stages)
    per_replica = one.gpus_per_replica
    if per_replica > gpus.total_gpus:
        raise InvalidRequest(
            "pipeline_parallel_size",
            f"{one} needs {per_replica} GPUs, and {gpus} has {gpus.total_gpus}",
            hint="lower tensor_parallel_size or pipeline_parallel_size",
        )
    most = most_replicas(gpus, per_replica)
    if not most:
        raise InvalidRequest(
            "pipeline_parallel_size" if pp else "tensor_parallel_size",
            f"{one} is {per_replica} GPUs per server, which does not fill whole nodes of {gpus.count}",
            hint=f"make tensor x pipeline size a multiple of {gpus.count}, or at most that",
        )
    copies = replicas or most
    if copies > most:
        raise InvalidRequest(
            "replicas",
            f"{copies} x {one} do not fit {gpus}: each server stays inside a node or fills whole ones",
            hint=f"at most {most} of that size",
        )
    return dataclasses.replace(one, replicas=copies)


def _others(
    request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, chosen: Layout, *, text_only: bool
) -> tuple[tuple[Alternative, ...], tuple[Rejected, ...]]:
    """Every other layout: planned if it fits, otherwise with the reason why not."""
    alternatives, rejected = [], []
    for layout in layouts(model, gpus, text_only=text_only):
        if layout.split == chosen.split and layout.replicas <= chosen.replicas:
            continue
        outcome = solve(request, model, gpus, release, layout)
        if outcome.verdict == "does-not-fit":
            rejected.append(Rejected(layout=layout, reason=_why_not(outcome)))
            continue
        kv = outcome.kv_cache
        alternatives.append(
            Alternative(
                layout=layout,
                verdict=outcome.verdict,
                max_model_len=outcome.settings.max_model_len,
                max_concurrency=kv.max_concurrency,
                kv_cache_tokens=kv.tokens,
                reason=_character(layout, gpus),
            )
        )
    for tp in range(1, gpus.count + 1):
        fault = tensor_parallel_fault(model, tp, text_only=text_only)
        if fault and tp > 1 and (gpus.count % tp == 0 or tp == gpus.count):
            layout = Layout(tensor_parallel_size=tp, replicas=gpus.count // tp)
            rejected.append(Rejected(layout=layout, reason=fault))
    return tuple(alternatives), tuple(rejected)


def _character(layout: Layout, gpus: GpuSet) -> str:
    """What a layout is good for, in a sentence."""
    if layout.tensor_parallel_size > gpus.count:
        return "one server over several nodes of one fast link domain"
    if layout.pipeline_parallel_size > 1:
        across = " across nodes" if layout.gpus_per_replica > gpus.count else ""
        return f"pipeline stages{across}: less traffic between GPUs, slower single requests"
    if layout.replicas > 1:
        return f"{layout.replicas} independent servers: more overall throughput, each with less room"
    return "one server on fewer GPUs, the others stay free"


def _why_not(outcome: Outcome) -> str:
    """Why nothing fits, with the numbers that say so."""
    rank = outcome.tightest
    bound = Bound.EXPECTED if outcome.blocker(Bound.EXPECTED) else Bound.WORST
    blocker = outcome.blocker(bound)
    weights = format_gib(rank.weights.total_bytes)
    free = rank.free_at_start[bound]
    if blocker == "load" and rank.weights.total_bytes > rank.total_bytes:
        return f"{weights} GiB of weights per GPU are more than the {format_gib(rank.total_bytes)} GiB of the GPU"
    if blocker == "load" and rank.weights.total_bytes > free:
        return f"{weights} GiB of weights per GPU are more than the {format_gib(free)} GiB that are free of it"
    if blocker == "load":
        return f"loading {weights} GiB of weights needs {format_gib(rank.loading_peak_bytes)} GiB for a moment"
    if blocker == "free":
        return f"vLLM wants {format_gib(rank.requested_bytes)} GiB free at start and {format_gib(free)} GiB are"
    if blocker == "physical":
        return (
            f"what lives outside the budget {'may need' if bound == Bound.WORST else 'needs'} "
            f"{format_gib(rank.outside_budget_bytes[bound])} GiB and has "
            f"{format_gib(rank.outside_budget_room_bytes)} GiB{unprofiled_note(rank)}"
        )
    available = rank.available.expected
    if available <= 0:
        return f"{weights} GiB of weights per GPU leave no room for a KV cache ({format_gib(available)} GiB)"
    wanted = format_tokens(outcome.settings.max_model_len)
    if outcome.sequences > 1:
        bound = Bound.WORST if outcome.too_short else Bound.EXPECTED
        worst = " with every uncertain term at its worst" if outcome.too_short else ""
        count = outcome.sequences_that_fit(outcome.settings.max_model_len, bound)
        each = format_tokens(outcome.length_per_sequence(bound))
        held = f"{count} sequence{'' if count == 1 else 's'}" if count else "no sequence"
        return (
            f"{format_gib(rank.available[bound])} GiB of KV cache hold {held} of {wanted} tokens{worst}, not "
            f"{outcome.sequences}; {outcome.sequences} sequences would have {each} tokens each"
        )
    if outcome.too_short:
        longest_safe = outcome.kv_cache.largest_max_model_len_low
        if not longest_safe:
            return (
                f"{weights} GiB of weights per GPU leave {format_gib(available)} GiB for KV cache, and none of it if "
                f"every uncertain term is at its worst"
            )
        safe = format_tokens(longest_safe)
        return (
            f"{weights} GiB of weights per GPU leave room for {safe} tokens at most if every uncertain term is at its "
            f"worst; ask for a --max-model-len under {wanted} if that is enough"
        )
    longest = format_tokens(outcome.kv_cache.largest_max_model_len)
    return (
        f"{format_gib(available)} GiB of KV cache are too little for one sequence of {wanted} tokens; "
        f"at most {longest} would start"
    )


def _reasons(request: PlanRequest, outcome: Outcome, chosen: Layout) -> list[str]:
    """Why these settings, in sentences."""
    rank, settings = outcome.tightest, outcome.settings
    if outcome.verdict == "does-not-fit":
        return [_why_not(outcome)]
    per_token = f"{rank.geometry.bytes_per_token / KIB:,.0f} KiB"
    said = [
        f"weights leave {format_gib(rank.available.expected)} GiB per GPU for KV cache; one token takes {per_token}"
    ]
    if chosen.gpus_per_replica > 1 and request.tensor_parallel_size is None:
        said.append("one server over the largest tensor-parallel size has the most room and the shortest steps")
    if settings.max_model_len < outcome.wanted_length:
        said.append(
            f"{format_tokens(settings.max_model_len)} tokens is the longest length that fits even if every uncertain "
            f"term is at its worst"
        )
    tier = default_batch(outcome.ranks[0].gpus, outcome.ranks[0].shape.release)
    for batch in load("policy.toml")["batches"]:
        chosen_by_us = [
            f"--{name.replace('_', '-')} {batch[name]}"
            for name in ("max_num_seqs", "max_num_batched_tokens")
            if getattr(request, name) is None and getattr(settings, name) == batch[name] != getattr(tier, name)
        ]
        if chosen_by_us:
            said.append(f"{' and '.join(chosen_by_us)}: {batch['reason']}")
            break
    return said


def _kv_bytes(outcome: Outcome) -> int:
    """KV bytes shown in the ledger: the pool when it fits, what the length needs when it does not."""
    rank = outcome.tightest
    geometry = rank.geometry
    if outcome.verdict == "does-not-fit" and outcome.settings.kv_cache_memory_bytes is None:
        spare = geometry.block_bytes if geometry.null_block_reserved else 0
        return geometry.needed_bytes(outcome.settings.max_model_len, outcome.sequences) + spare
    if outcome.settings.kv_cache_memory_bytes is not None:
        return geometry.num_blocks(rank.available.expected) * geometry.block_bytes
    blocks = outcome.kv_cache.num_gpu_blocks
    return blocks * geometry.block_bytes
