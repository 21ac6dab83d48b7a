"""What would change the answer: each lever is the same request solved once more. It never recommends silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from hw_specs.spec import GpuSet
from hw_specs.units import MIB, format_tokens
from planner.facts.policy import policy
from planner.memory.term import Bound
from planner.planning.answer import LEVER_COSTS, VERDICTS, Lever, LeverCost
from planner.planning.outcome import Outcome
from planner.planning.question import Question
from planner.planning.setting import SettingValue
from planner.planning.solve import solve


class Change(NamedTuple):
    """A setting to try, what it costs, and what to say about it."""

    name: str
    setting: str
    value: SettingValue
    cost: LeverCost
    note: str = ""


def find_levers(outcome: Outcome) -> tuple[Lever, ...]:
    """Return every single change that helps, best first: those that make it fit, then by tokens won."""
    settings, question = outcome.settings, outcome.question
    # What fits with a shorter length wants the full one; what does not fit wants the length that it was judged at.
    wanted = settings.max_model_len if outcome.verdict == "does-not-fit" else question.wanted_length
    lowered = settings.gpu_memory_utilization < question.release.gpu_memory_utilization
    # Pinned to the batch and a lowered share of the answer, so that each lever moves one thing.
    base = question.but(
        max_model_len=wanted,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        gpu_memory_utilization=settings.gpu_memory_utilization if lowered else question.request.gpu_memory_utilization,
    )
    before = solve(base, settings.layout)
    # More tokens are worth nothing to a plan that something else than the KV cache stops.
    stopped_by_kv = not before.stopped_otherwise(Bound.WORST)
    found = [*_shorter(outcome), *_fewer(outcome)]
    for name, setting, value, cost, note in changes(outcome):
        after = solve(base.but(**{setting: value}), settings.layout)
        gain_tokens = _tokens(after) - _tokens(before)
        gain_bytes = after.tightest.available.expected - before.tightest.available.expected
        better = VERDICTS.index(after.verdict) - VERDICTS.index(before.verdict)
        if stopped_by_kv and after.stopped_otherwise(Bound.WORST):
            continue  # more tokens, but something else would now stop it
        if better > 0 or (better == 0 and stopped_by_kv and gain_tokens > 0):
            found.append(
                Lever(
                    name=name,
                    change={setting: value},
                    gain_bytes=gain_bytes if stopped_by_kv else 0,
                    gain_tokens=gain_tokens if stopped_by_kv else 0,
                    fits=after.verdict == "fits",
                    cost=cost,
                    note=note if stopped_by_kv else f"{note}{_fits_then(question.but(**{setting: value}), after)}",
                )
            )
    found += [*_idle_gpus(outcome), *_more_gpus(outcome)]
    wanting = outcome.verdict != "fits"
    cheap = LEVER_COSTS[: LEVER_COSTS.index("context")]
    if wanting and not any(lever.fits and lever.cost in cheap for lever in found):
        found += combined(outcome)
    found.sort(key=lambda lever: (wanting and not lever.fits, LEVER_COSTS.index(lever.cost), -lever.gain_tokens))
    return tuple(found)


def _fits_then(question: Question, after: Outcome) -> str:
    """What a change that starts at all holds, as the end of a note; empty where it does not surely start."""
    if after.verdict != "fits":
        return ""
    opened = after if question.request.max_model_len is not None else solve(question, after.settings.layout)
    return f": fits {format_tokens(max(opened.settings.max_model_len, after.settings.max_model_len))} tokens"


def combined(outcome: Outcome) -> Iterator[Lever]:
    """The cheapest sets of two or three changes that fit together, where no cheap one does; each proven by a plan."""
    question, layout = outcome.question, outcome.settings.layout
    singles = [change for change in changes(outcome, alone=False) if change.setting != "num_speculative_tokens"]
    groups = [group for size in (1, 2, 3) for group in combinations(singles, size)]
    found: list[set[str]] = []
    shown = 0
    for group in sorted(groups, key=_price):
        names = {change.name for change in group}
        if len({change.setting for change in group}) < len(group) or any(known <= names for known in found):
            continue
        after = solve(question.but(**{change.setting: change.value for change in group}), layout)
        if after.verdict != "fits":
            continue
        found.append(names)
        if len(group) == 1:
            continue  # a lever of its own already, and no part of a set
        length, requests = after.settings.max_model_len, after.kv_cache.max_concurrency
        given_up = ", ".join(change.note for change in group if change.note)
        yield Lever(
            name="+".join(change.name for change in group),
            change={change.setting: change.value for change in group},
            gain_bytes=0,
            gain_tokens=0,
            fits=True,
            cost=max((change.cost for change in group), key=LEVER_COSTS.index),
            note=f"together: {format_tokens(length)} tokens, {requests:.1f} requests; {given_up}",
        )
        shown += 1
        if shown == policy().levers.most_combined.value:
            return


def ways_out(outcome: Outcome, levers: Sequence[Lever]) -> str:
    """The first changes that make an open length fit on the same GPUs, with the length each leaves; empty for none."""
    question, layout = outcome.question, outcome.settings.layout
    if question.request.max_model_len is not None or outcome.verdict != "does-not-fit":
        return ""
    said, most = [], policy().levers.most_said.value
    for lever in [lever for lever in levers if lever.fits and lever.cost not in ("quality", "hardware")][:most]:
        after = solve(question.but(**lever.change), layout)
        if after.verdict == "fits":
            said.append(f"`{lever.flag}` fits {format_tokens(after.settings.max_model_len)} tokens")
    return ", ".join(said)


def _price(group: tuple[Change, ...]) -> tuple[int, int, int]:
    costs = [LEVER_COSTS.index(change.cost) for change in group]
    return max(costs), len(group), sum(costs)


def _tokens(outcome: Outcome) -> int:
    """Tokens the pool would hold at the expected bound; negative budgets count as negative tokens."""
    rank = outcome.tightest
    return rank.available.expected // rank.geometry.block_bytes * rank.geometry.block_size


def changes(outcome: Outcome, *, alone: bool = True) -> Iterator[Change]:
    """Every setting that may make room; without `alone` also what only helps beside others."""
    settings, model, ours = outcome.settings, outcome.question.model, policy()
    if not settings.language_model_only:
        yield Change("text-only", "language_model_only", True, "images", "no images")
    if settings.kv_cache_dtype in ("auto", "bfloat16", "float16") and not model.kv_cache_scheme:
        yield Change("fp8-kv", "kv_cache_dtype", ours.levers.kv_cache_dtype.value, "quality", "quality not measured")
    for batch in ours.batches:
        if settings.max_num_seqs > batch.max_num_seqs >= outcome.question.sequences:
            yield Change("max-num-seqs", "max_num_seqs", batch.max_num_seqs, "speed", "fewer requests at once")
            break
    for batch in ours.batches:
        batched = batch.max_num_batched_tokens
        if settings.max_num_batched_tokens > batched >= settings.max_num_seqs:
            note = "longer prompts take more steps"
            yield Change("max-num-batched-tokens", "max_num_batched_tokens", batched, "speed", note)
            break
    yield from _budgets(outcome)
    if not settings.enforce_eager and outcome.tightest.terms["graphs"].bytes:
        yield Change("enforce-eager", "enforce_eager", True, "speed", "slower decoding")
    shortest = ours.levers.shortest_tokens.value
    if not alone and settings.max_model_len > shortest:
        yield Change("max-model-len", "max_model_len", shortest, "context", f"{format_tokens(shortest)} tokens only")
    if settings.num_speculative_tokens:
        yield Change("no-draft", "num_speculative_tokens", 0, "speed", "no draft: slower decoding")


def _budgets(outcome: Outcome) -> Iterator[Change]:
    """Another share of the GPU: a smaller one where something outside the budget stops it, else a larger one."""
    settings = outcome.settings
    by_hand = settings.kv_cache_memory_bytes
    if by_hand is not None:
        rooms = [by_hand + rank.outside_budget_room_bytes - rank.outside_budget_bytes.worst for rank in outcome.ranks]
        smaller = min(rooms) // MIB * MIB
        if 0 < smaller < by_hand:
            yield Change("kv-cache-memory-bytes", "kv_cache_memory_bytes", smaller, "nothing", "what is really there")
        return
    share = "gpu-memory-utilization", "gpu_memory_utilization"
    if outcome.blocker(Bound.WORST) in ("free", "physical"):
        passing = outcome.surely_free_share
        if 0 < passing < settings.gpu_memory_utilization:
            yield Change(*share, passing, "nothing", "what is really free")
        return
    highest = policy().levers.gpu_memory_utilization.value
    if settings.gpu_memory_utilization < highest:
        yield Change(*share, highest, "nothing", "less room outside the budget")


def _fewer(outcome: Outcome) -> Iterator[Lever]:
    """The number of sequences that surely fits, where more were asked for."""
    concurrency, length = outcome.question.request.concurrency, outcome.settings.max_model_len
    if concurrency is None or outcome.verdict == "fits":
        return
    fitting = outcome.sequences_that_fit(length, Bound.WORST)
    if 0 < fitting < concurrency:
        yield _smaller(outcome, "concurrency", fitting, f"sequences of {format_tokens(length)} that fit")


def _shorter(outcome: Outcome) -> Iterator[Lever]:
    """The length that safely starts, when a longer one was asked for or none that is served unasked fits."""
    if outcome.verdict == "fits":
        return
    asked, length = outcome.question.request.max_model_len, outcome.safe_length()
    if asked is None and length < policy().levers.shortest_tokens.value:
        return
    if asked is not None and not length:
        opened = solve(outcome.question.but(max_model_len=None), outcome.settings.layout)
        if opened.verdict == "fits":
            yield _smaller(opened, "max_model_len", opened.settings.max_model_len, "the longest that fits")
        return
    if 0 < length < (asked or outcome.settings.max_model_len):
        yield _smaller(outcome, "max_model_len", length, f"{format_tokens(length)} tokens fit")


def _smaller(outcome: Outcome, setting: str, value: int, note: str) -> Lever:
    return Lever(
        name=setting.replace("_", "-"),
        change={setting: value},
        gain_bytes=0,
        gain_tokens=0,
        fits=not outcome.stopped_otherwise(Bound.WORST),
        cost="context",
        note=f"{note} at the low bound",
    )


def _idle_gpus(outcome: Outcome) -> Iterator[Lever]:
    """The longest layout on all GPUs, where this one leaves some idle and only another share of the GPU starts it."""
    question, here = outcome.question, outcome.settings
    idle = here.layout.total_gpus < question.gpus.total_gpus
    if not idle or not question.request.layout_open or outcome.verdict == "does-not-fit":
        return
    found: list[tuple[Outcome, Change]] = []
    for layout in question.layouts():
        if layout.total_gpus < question.gpus.total_gpus or layout.replicas < here.replicas:
            continue
        before = solve(question, layout)
        if before.verdict == "does-not-fit":
            tried = ((solve(question.but(**{one.setting: one.value}), layout), one) for one in _budgets(before))
            found += [(after, change) for after, change in tried if after.verdict == "fits"]
    after, change = max(found, key=lambda one: one[0].settings.max_model_len, default=(outcome, None))
    length, layout = after.settings.max_model_len, after.settings.layout
    if change is None or length <= here.max_model_len:
        return
    shape = {
        "tensor_parallel_size": layout.tensor_parallel_size,
        "pipeline_parallel_size": layout.pipeline_parallel_size,
    }
    note = (
        f"all {layout.total_gpus} GPUs: {format_tokens(length)} tokens, {after.kv_cache.max_concurrency:.1f} requests; "
        "slower single requests"
    )
    yield Lever(
        name="idle-gpus", change={**shape, change.setting: change.value}, fits=True, cost="speed", note=note,
        gain_bytes=after.tightest.available.expected - outcome.tightest.available.expected,
        gain_tokens=_tokens(after) - _tokens(outcome),
    )  # fmt: skip


def _more_gpus(outcome: Outcome) -> Iterator[Lever]:
    """GPUs of the host that nobody holds, and all once they are free; else more of them, and the smallest product."""
    gpus = outcome.question.gpus
    longer_than = 0 if outcome.verdict == "does-not-fit" else outcome.settings.max_model_len - 1
    if gpus.free_memory_bytes is not None and outcome.stopped_otherwise(Bound.WORST):
        found = gpus.unheld and _fitting(outcome.question, gpus.unheld, longer_than)
        if found and gpus.unheld:
            where = " ".join(f"{name}={value}" for name, value in gpus.unheld.env)
            note = f"those that nobody holds{f', {where}' if where else ''}: {found.note}"
            yield dataclasses.replace(found, cost="nothing", note=note)
        emptied = dataclasses.replace(gpus, free_memory_bytes=None, holders=(), unheld=None)
        found = _fitting(outcome.question, emptied, longer_than)
        if found is not None:
            note = f"once nothing else holds their memory: {found.note}"
            yield dataclasses.replace(found, cost="nothing", note=note)
            return
    count, most = gpus.count, min(gpus.spec.max_gpus_per_node, policy().levers.most_gpus_per_node.value)
    while (count := 1 << count.bit_length()) <= most:
        larger = GpuSet(spec=gpus.spec, count=count, memory_override_bytes=gpus.memory_override_bytes)
        found = _fitting(outcome.question, larger, longer_than)
        if found is not None:
            yield found
            break
    from hw_specs.catalog import larger_gpus

    # A set that cannot hold the weights needs no planning to be ruled out.
    least_bytes = sum(rank.weights.total_bytes for rank in outcome.ranks) * outcome.settings.tensor_parallel_size
    for size in larger_gpus(max(gpus.memory_bytes, least_bytes // gpus.count)):
        for spec in sorted(size, key=lambda spec: spec.vendor != gpus.spec.vendor):
            if not spec.released or spec.fp8_kind == "none" or spec.max_gpus_per_node < gpus.count:
                continue
            found = _fitting(outcome.question, GpuSet(spec=spec, count=gpus.count), longer_than)
            if found is not None:
                yield found
                return


def _fitting(question: Question, gpus: GpuSet, longer_than: int) -> Lever | None:
    """A lever when the largest tensor-parallel layout of `gpus` fits at the low bound, longer than so many tokens."""
    change: dict[str, SettingValue] = {
        "gpus": gpus, "tensor_parallel_size": None, "pipeline_parallel_size": None, "replicas": None
    }  # fmt: skip
    other = question.but(**change)
    outcome = solve(other, dataclasses.replace(other.layouts()[0], replicas=1))
    if outcome.verdict != "fits" or outcome.settings.max_model_len <= longer_than:
        return None
    length, requests = outcome.settings.max_model_len, outcome.kv_cache.max_concurrency
    note = f"fits {format_tokens(length)} tokens, {requests:.1f} requests"
    return Lever(name="gpus", change=change, gain_bytes=0, gain_tokens=0, fits=True, cost="hardware", note=note)
