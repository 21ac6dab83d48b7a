"""What would change the answer: each lever is the same request solved once more. It never recommends silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from hw_specs.spec import GpuSet
from hw_specs.units import MIB, format_tokens
from planner.facts import load
from planner.facts.release import Release
from planner.memory.layouts import layouts
from planner.memory.term import Bound
from planner.model import ModelSpec
from planner.planning.answer import Lever
from planner.planning.request import PlanRequest
from planner.planning.solve import Outcome, solve

VERDICTS = ("does-not-fit", "tight", "fits")
"""From worst to best."""
MAX_COUNT_SHOWN = 16
"""Largest number of GPUs per node that the lever "more GPUs" looks at."""


def find_levers(
    request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, outcome: Outcome
) -> tuple[Lever, ...]:
    """Return every single change that helps, best first: those that make it fit, then by tokens won."""
    layout = outcome.settings.layout
    # What fits with a shorter length wants the full one; what does not fit wants the length that it was judged at.
    wanted = outcome.settings.max_model_len if outcome.verdict == "does-not-fit" else outcome.wanted_length
    # Pinned to the batch of the answer, so that each lever moves one thing.
    base = dataclasses.replace(
        request,
        max_model_len=wanted,
        max_num_seqs=outcome.settings.max_num_seqs,
        max_num_batched_tokens=outcome.settings.max_num_batched_tokens,
    )
    before = solve(base, model, gpus, release, layout)
    # More tokens are worth nothing to a plan that something else than the KV cache stops.
    stopped_by_kv = not before.stopped_otherwise(Bound.WORST)
    found = [*_shorter(request, outcome), *_fewer(request, outcome)]
    for name, flag, changed, note in _changes(base, model, outcome):
        after = solve(changed, model, gpus, release, layout)
        gain_tokens = _tokens(after) - _tokens(before)
        better = VERDICTS.index(after.verdict) - VERDICTS.index(before.verdict)
        if stopped_by_kv and after.stopped_otherwise(Bound.WORST):
            continue  # more tokens, but something else would now stop it
        if better > 0 or (better == 0 and stopped_by_kv and gain_tokens > 0):
            found.append(
                Lever(
                    name=name,
                    flag=flag,
                    gain_bytes=after.tightest.available.expected - before.tightest.available.expected,
                    gain_tokens=gain_tokens,
                    fits=after.verdict == "fits",
                    note=note,
                )
            )
    found += _more_gpus(request, model, gpus, release, outcome)
    if outcome.verdict == "fits":
        found.sort(key=lambda lever: (lever.name == "gpus", -lever.gain_tokens))
    else:
        found.sort(key=lambda lever: (not lever.fits, lever.name == "gpus", -lever.gain_tokens))
    return tuple(found)


def _tokens(outcome: Outcome) -> int:
    """Tokens the pool would hold at the expected bound; negative budgets count as negative tokens."""
    rank = outcome.tightest
    return rank.available.expected // rank.geometry.block_bytes * rank.geometry.block_size


def _changes(request: PlanRequest, model: ModelSpec, outcome: Outcome) -> Iterator[tuple[str, str, PlanRequest, str]]:
    """The requests that differ from this one by one flag."""
    settings, policy = outcome.settings, load("policy.toml")
    if model.vision is not None and not settings.language_model_only:
        yield "text-only", "--language-model-only", dataclasses.replace(request, language_model_only=True), "no images"
    if outcome.tightest.geometry.bytes_per_token and settings.kv_cache_dtype in ("auto", "bfloat16", "float16"):
        dtype = policy["levers"]["kv_cache_dtype"]["value"]
        if not model.kv_cache_scheme:
            yield (
                "fp8-kv",
                f"--kv-cache-dtype {dtype}",
                dataclasses.replace(request, kv_cache_dtype=dtype),
                "quality not measured",
            )
    for batch in policy["batches"]:
        fewer = batch["max_num_seqs"]
        if settings.max_num_seqs > fewer >= outcome.sequences:
            yield "max-num-seqs", f"--max-num-seqs {fewer}", dataclasses.replace(request, max_num_seqs=fewer), ""
            break
    for batch in policy["batches"]:
        batched = batch["max_num_batched_tokens"]
        if settings.max_num_batched_tokens > batched >= settings.max_num_seqs:
            yield (
                "max-num-batched-tokens",
                f"--max-num-batched-tokens {batched}",
                dataclasses.replace(request, max_num_batched_tokens=batched),
                "longer prompts take more steps",
            )
            break
    yield from _budgets(request, outcome)
    if not settings.enforce_eager and outcome.tightest.terms["graphs"].bytes:
        yield (
            "enforce-eager",
            "--enforce-eager",
            dataclasses.replace(request, enforce_eager=True),
            "slower decoding",
        )
    if settings.num_speculative_tokens:
        yield "no-draft", "without --eagle", dataclasses.replace(request, num_speculative_tokens=0), "slower decoding"


def _budgets(request: PlanRequest, outcome: Outcome) -> Iterator[tuple[str, str, PlanRequest, str]]:
    """Another share of the GPU: a smaller one where something outside the budget stops it, else a larger one."""
    settings = outcome.settings
    by_hand = settings.kv_cache_memory_bytes
    if by_hand is not None:
        rooms = [by_hand + rank.outside_budget_room_bytes - rank.outside_budget_bytes.worst for rank in outcome.ranks]
        smaller = min(rooms) // MIB * MIB
        if 0 < smaller < by_hand:
            changed = dataclasses.replace(request, kv_cache_memory_bytes=smaller)
            yield "kv-cache-memory-bytes", f"--kv-cache-memory-bytes {smaller}", changed, "what is really there"
        return
    if outcome.blocker(Bound.WORST) in ("free", "physical"):
        passing = passing_utilization(outcome)
        if 0 < passing < settings.gpu_memory_utilization:
            changed = dataclasses.replace(request, gpu_memory_utilization=passing)
            yield "gpu-memory-utilization", f"--gpu-memory-utilization {passing}", changed, "what is really free"
        return
    highest = load("policy.toml")["levers"]["gpu_memory_utilization"]["value"]
    if settings.gpu_memory_utilization < highest:
        yield (
            "gpu-memory-utilization",
            f"--gpu-memory-utilization {highest}",
            dataclasses.replace(request, gpu_memory_utilization=highest),
            "less room for what lives outside the budget",
        )


def passing_utilization(outcome: Outcome) -> float:
    """Largest share, in hundredths, that is surely free at start and leaves room for what lives outside; 0 if none."""
    shares = [
        min(rank.free_at_start.worst, rank.total_bytes - rank.outside_budget_bytes.worst) / rank.total_bytes
        for rank in outcome.ranks
    ]
    return max(0, int(min(shares) * 100)) / 100


def _fewer(request: PlanRequest, outcome: Outcome) -> Iterator[Lever]:
    """The number of sequences that surely fits, where more were asked for."""
    if request.concurrency is None or outcome.verdict == "fits":
        return
    fitting = outcome.sequences_that_fit(outcome.settings.max_model_len, Bound.WORST)
    if 0 < fitting < request.concurrency:
        yield Lever(
            name="concurrency",
            flag=f"--concurrency {fitting}",
            gain_bytes=0,
            gain_tokens=0,
            fits=outcome.blocker(Bound.WORST) == "kv",
            note=f"sequences of {format_tokens(outcome.settings.max_model_len)} that fit at the low bound",
        )


def _shorter(request: PlanRequest, outcome: Outcome) -> Iterator[Lever]:
    """The length that safely starts, when a longer one was asked for."""
    policy = load("policy.toml")["context"]
    step, spare = policy["round_tokens"]["value"], policy["spare_blocks"]["value"]
    blocks = outcome.length_per_sequence(Bound.WORST) // outcome.settings.block_size - spare
    length = max(0, blocks * outcome.settings.block_size) // step * step
    if outcome.verdict != "fits" and request.max_model_len is not None and 0 < length < request.max_model_len:
        yield Lever(
            name="max-model-len",
            flag=f"--max-model-len {length}",
            gain_bytes=0,
            gain_tokens=0,
            fits=outcome.blocker(Bound.WORST) == "kv",
            note=f"{format_tokens(length)} tokens fit at the low bound",
        )


def _more_gpus(
    request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, outcome: Outcome
) -> Iterator[Lever]:
    """The same GPUs once they are free; else the next larger number of them, and the smallest single product."""
    free = request.with_layout(None)
    beyond = 0 if outcome.verdict == "does-not-fit" else outcome.settings.max_model_len - 1
    if gpus.free_memory_bytes is not None and outcome.stopped_otherwise(Bound.WORST):
        emptied = dataclasses.replace(gpus, free_memory_bytes=None, holders=())
        found = _fitting(free, model, emptied, release, beyond)
        if found is not None:
            yield dataclasses.replace(found, note=f"once nothing else holds their memory: {found.note}")
            return
    count = gpus.count
    while count < min(gpus.spec.max_gpus_per_node, MAX_COUNT_SHOWN):
        count *= 2
        larger = GpuSet(spec=gpus.spec, count=count, memory_override_bytes=gpus.memory_override_bytes)
        found = _fitting(free, model, larger, release, beyond)
        if found is not None:
            yield found
            break
    from hw_specs import list_gpus

    # A set that cannot hold the weights needs no planning to be ruled out.
    least_bytes = sum(rank.weights.total_bytes for rank in outcome.ranks) * outcome.settings.tensor_parallel_size
    bigger = sorted(
        (
            spec
            for spec in list_gpus()
            if spec.released
            and spec.engine_memory_bytes > gpus.memory_bytes
            and spec.engine_memory_bytes * gpus.count > least_bytes
            and spec.fp8_kind != "none"
            and spec.max_gpus_per_node >= gpus.count
        ),
        key=lambda spec: (spec.engine_memory_bytes, spec.vendor != gpus.spec.vendor),
    )
    for spec in bigger:
        found = _fitting(free, model, GpuSet(spec=spec, count=gpus.count), release, beyond)
        if found is not None:
            yield found
            return


def _fitting(request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, beyond: int) -> Lever | None:
    """A lever when the largest tensor-parallel layout of `gpus` fits at the low bound, longer than `beyond` tokens."""
    layout = layouts(model, gpus, text_only=request.language_model_only)[0]
    layout = dataclasses.replace(layout, replicas=1)
    outcome = solve(request, model, gpus, release, layout)
    if outcome.verdict != "fits" or outcome.settings.max_model_len <= beyond:
        return None
    kv = outcome.kv_cache
    return Lever(
        name="gpus",
        flag=f"--gpus {gpus}",
        gain_bytes=0,
        gain_tokens=0,
        fits=True,
        note=f"fits {format_tokens(outcome.settings.max_model_len)} tokens, {kv.max_concurrency:.1f} requests",
    )
