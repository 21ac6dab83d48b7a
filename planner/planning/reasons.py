"""Why a layout got its settings or cannot run, in sentences with the numbers that say so. It decides nothing."""

from __future__ import annotations

from hw_specs.units import KIB, counted, format_gib, format_tokens
from planner.facts.policy import policy
from planner.facts.vllm import vllm_facts
from planner.memory.term import Bound
from planner.planning.advice import unprofiled_note
from planner.planning.outcome import Outcome
from planner.planning.solve import solve


def why_not(outcome: Outcome) -> str:
    """Return why nothing fits, with the numbers that say so; what is only tight is called so."""
    said = _fault(outcome)
    if outcome.too_short and outcome.blocker(Bound.EXPECTED) is None:
        length = outcome.settings.max_model_len
        said += f"; with `--max-model-len {length}` it is tight: it starts if every term is as expected"
    return said


def _fault(outcome: Outcome) -> str:
    rank = outcome.tightest
    bound = Bound.EXPECTED if outcome.blocker(Bound.EXPECTED) else Bound.WORST
    blocker = outcome.blocker(bound)
    weights = format_gib(rank.weights.total_bytes)
    free = rank.free_at_start[bound]
    if blocker == "load" and rank.weights.total_bytes > rank.total_bytes:
        return f"{weights} GiB of weights per GPU are more than the {format_gib(rank.total_bytes)} GiB of the GPU"
    if blocker == "load" and rank.weights.total_bytes > free:
        left = f"the {format_gib(free)} GiB that are free of it" if free > 0 else "others leave free of it"
        return f"{weights} GiB of weights per GPU are more than {left}"
    if blocker == "load":
        said = f"loading {weights} GiB of weights needs {format_gib(rank.loading_peak_bytes)} GiB for a moment"
        return said if rank.gpus.free_memory_bytes is None else f"{said}; only {format_gib(free)} GiB are free"
    if blocker == "free":
        said = (
            f"vLLM needs {format_gib(rank.requested_bytes)} GiB free at startup; only {format_gib(free)} GiB are free"
        )
        if rank.gpus.free_memory_bytes is not None:
            said += f" then, {format_gib(rank.gpus.free_memory_bytes)} now"
        if outcome.shortfall_bytes <= rank.requested_bytes - free:
            return said
        return f"{said}, and what it would get has no room for {format_tokens(outcome.settings.max_model_len)} tokens"
    if blocker == "physical":
        room = rank.outside_budget_room_bytes
        left = f"and has {format_gib(room)} GiB" if room >= 0 else f"and the rest is {format_gib(-room)} GiB too large"
        return (
            f"what lives outside the budget {'may need' if bound == Bound.WORST else 'needs'} "
            f"{format_gib(rank.outside_budget_bytes[bound])} GiB {left}{unprofiled_note(rank)}"
        )
    available = rank.available.expected
    if available <= 0:
        beside = format_gib(rank.budget_bytes - rank.weights.total_bytes - available)
        return (
            f"{weights} GiB of weights per GPU and {beside} GiB beside them leave no room for a KV cache: "
            f"{format_gib(-available)} GiB over the budget"
        )
    wanted = format_tokens(outcome.settings.max_model_len)
    if outcome.question.sequences > 1:
        bound = Bound.WORST if outcome.too_short else Bound.EXPECTED
        worst = " with every uncertain term at its worst" if outcome.too_short else ""
        count = outcome.sequences_that_fit(outcome.settings.max_model_len, bound)
        each = format_tokens(outcome.length_per_sequence(bound))
        held = counted(count, "sequence") if count else "no sequence"
        asked = f"{outcome.question.sequences:,}"
        return (
            f"{format_gib(rank.available[bound])} GiB of KV cache hold {held} of {wanted} tokens{worst}, not "
            f"{asked}; {asked} sequences would have {each} tokens each"
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
            f"worst"
        )
    longest = format_tokens(outcome.kv_cache.largest_max_model_len)
    return (
        f"{format_gib(available)} GiB of KV cache are too little for one sequence of {wanted} tokens; "
        f"at most {longest} would start"
    )


def explain(outcome: Outcome) -> list[str]:
    """Return why these settings were chosen, in sentences."""
    rank, settings, request = outcome.tightest, outcome.settings, outcome.question.request
    if outcome.verdict == "does-not-fit":
        return [why_not(outcome)]
    per_token = f"{rank.geometry.bytes_per_token / KIB:,.0f} KiB"
    said = [
        f"weights leave {format_gib(rank.available.expected)} GiB per GPU for KV cache; one token takes {per_token}"
    ]
    if request.layout_open:
        said += _why_this_layout(outcome)
    if outcome.question.gpus.total_gpus < request.gpus.total_gpus:
        said.append(
            f"planned on the {outcome.question.gpus.total_gpus} of {request.gpus.total_gpus} GPUs on which nobody else "
            f"holds memory; on all of them it would not start"
        )
    if settings.max_model_len < outcome.question.wanted_length:
        said.append(
            f"{format_tokens(settings.max_model_len)} tokens is the longest length that fits even if every uncertain "
            f"term is at its worst"
        )
    usual = outcome.question.release.gpu_memory_utilization
    if request.gpu_memory_utilization is None and settings.gpu_memory_utilization < usual:
        said.append(
            f"--gpu-memory-utilization {settings.gpu_memory_utilization}: of {format_gib(rank.total_bytes)} GiB "
            f"{format_gib(rank.free_at_start.worst)} are surely free at start, and up to "
            f"{format_gib(rank.outside_budget_bytes.worst)} lie outside the budget, which is too little for vLLM's own "
            f"{usual}"
        )
    if outcome.question.gpus.spec.vendor in vllm_facts().command.no_prefix_caching_vendors:
        said.append("--no-enable-prefix-caching: vLLM's own recipe serves this model so on AMD")
    tier = outcome.question.batch_tier
    for batch in policy().batches:
        chosen_by_us = [
            f"--{name.replace('_', '-')} {getattr(batch, name)}"
            for name in ("max_num_seqs", "max_num_batched_tokens")
            if getattr(request, name) is None and getattr(settings, name) == getattr(batch, name) != getattr(tier, name)
        ]
        if chosen_by_us:
            said.append(f"{' and '.join(chosen_by_us)}: {batch.reason}")
            break
    return said


def _why_this_layout(outcome: Outcome) -> list[str]:
    """Why an open layout became this one."""
    question, layout = outcome.question, outcome.settings.layout
    across = layout.gpus_per_replica > question.gpus.count
    if not across and layout.pipeline_parallel_size == 1:
        if layout.gpus_per_replica == 1:
            return []
        return ["the largest tensor-parallel size has the shortest steps, and the most room without pipeline stages"]
    if solve(question, question.layouts()[0]).verdict != outcome.verdict:
        if across:
            return [f"no single node holds the model with these settings, so {layout} spans nodes"]
        return [
            f"tensor parallelism alone does not hold the model on these GPUs; single requests are slower in {layout}"
        ]
    ours = policy().layout
    if layout.replicas < question.gpus.nodes:
        return [
            f"{layout} spans nodes: it holds at least {ours.worth_joining_nodes.value:g} times what a server on each "
            f"node would, in one request and in all"
        ]
    return [
        f"{layout} holds requests at least {ours.worth_leaving.value:g} times as long as tensor parallelism alone on "
        f"these GPUs; single requests are slower with pipeline stages"
    ]
