"""What would change the answer: each lever is the same request solved once more. It never recommends silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from hw_specs.spec import GpuSet
from hw_specs.units import MIB, format_tokens
from planner.facts.policy import policy
from planner.memory.term import Bound
from planner.planning.answer import LEVER_COSTS, VERDICTS, Lever, LeverCost
from planner.planning.layout_choice import chosen_outcome, outcome_on_all
from planner.planning.outcome import Outcome
from planner.planning.setting import SettingValue
from planner.planning.solve import solve
from planner.settings import cut_to_length


class Change(NamedTuple):
    """A setting to try, what it costs, and what to say about it."""

    name: str
    setting: str
    value: SettingValue
    cost: LeverCost
    note: str = ""
    opens: tuple[str, ...] = ()
    """Settings that mean nothing beside it and are left open again."""

    @property
    def change(self) -> dict[str, SettingValue]:
        """Fields of a request and their new values."""
        return {self.setting: self.value, **dict.fromkeys(self.opens)}


def find_levers(outcome: Outcome) -> tuple[Lever, ...]:
    """Return every single change that helps, best first: those that make it fit, then by tokens won.

    Each is the plan that one gets with it, so its figures are that plan's.
    """
    question = outcome.question
    found = [*_shorter(outcome), *_fewer(outcome)]
    free = [outcome]
    for change in changes(outcome):
        after = chosen_outcome(question.but(**change.change))
        if _helps(outcome, after):
            found.append(_lever(outcome, after, change.name, change.change, change.cost, change.note))
            if change.cost == "nothing":
                free.append(after)
    rest = [*_idle_gpus(outcome), *levers_of_the_rest(outcome)]
    free += [chosen_outcome(question.but(**one.change)) for one in rest if one.fits and one.cost == "nothing"]
    wanting = outcome.verdict != "fits"
    fitting = [one.settings.max_model_len for one in free if one.verdict == "fits"]
    found += [*rest, *_more_gpus(outcome, longest_tokens=max(fitting, default=0))]
    cheap = LEVER_COSTS[: LEVER_COSTS.index("context")]
    if wanting and not any(lever.fits and lever.cost in cheap for lever in found):
        found += combined(outcome)
    found.sort(key=lambda lever: (wanting and not lever.fits, LEVER_COSTS.index(lever.cost), -lever.gain_tokens))
    return tuple(found)


def _helps(before: Outcome, after: Outcome) -> bool:
    """Whether `after` is a better verdict, or the same one with less missing, or longer or more at once."""
    better = VERDICTS.index(after.verdict) - VERDICTS.index(before.verdict)
    if better:
        return better > 0
    if after.verdict == "does-not-fit":
        # A part of what is missing is worth a word only where the cache alone is too small.
        return after.shortfall_bytes < before.shortfall_bytes and not before.stopped_otherwise(Bound.WORST)
    old, new = ((one.settings.max_model_len, one.tokens_held) for one in (before, after))
    return new != old and all(mine >= theirs for mine, theirs in zip(new, old, strict=True))


def _lever(
    before: Outcome, after: Outcome, name: str, change: Mapping[str, SettingValue], cost: LeverCost, note: str
) -> Lever:
    """The lever that turns the plan `before` into the plan `after`: what it wins, or what it serves at last."""
    at_last = before.verdict != after.verdict
    length = change.get("max_model_len")
    cut = cut_to_length(before.question.request, length) if isinstance(length, int) else {}
    return Lever(
        name=name,
        change={**change, **cut},
        gain_bytes=0 if at_last else after.tightest.available.expected - before.tightest.available.expected,
        gain_tokens=0 if at_last else after.tokens_held - before.tokens_held,
        fits=after.verdict == "fits",
        cost=cost,
        note="; ".join(filter(None, (f"{after.verdict} {_held(after)}" if at_last else "", note))),
    )


def _served(before: Outcome, after: Outcome, name: str, change: Mapping[str, SettingValue], cost: LeverCost) -> Lever:
    """A lever of another size than a gain: less is asked for, or other GPUs serve it."""
    found = _lever(before, after, name, change, cost, "")
    return dataclasses.replace(found, gain_bytes=0, gain_tokens=0, note=f"fits {_held(after)}")


def combined(outcome: Outcome) -> Iterator[Lever]:
    """The cheapest sets of two or three changes that fit together, where no cheap one does; each proven by a plan."""
    question, layout = outcome.question, outcome.settings.layout
    lightest = solve(question.but(language_model_only=True), layout)
    if lightest.blocker(Bound.WORST) == "load":
        return  # the weights alone are too large, and no other change makes them smaller
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
        changed = {change.setting: change.value for change in group}
        after = chosen_outcome(question.but(**changed))
        given_up = ", ".join(change.note for change in group if change.note)
        cost = max((change.cost for change in group), key=LEVER_COSTS.index)
        name = "+".join(change.name for change in group)
        yield _lever(outcome, after, name, changed, cost, given_up)
        shown += 1
        if shown == policy().levers.most_combined.value:
            return


def ways_out(outcome: Outcome, levers: Sequence[Lever]) -> str:
    """The first changes that make an open length fit on the same GPUs, with the length each leaves; empty for none."""
    question = outcome.question
    if question.request.max_model_len is not None or outcome.verdict != "does-not-fit":
        return ""
    said, most = [], policy().levers.most_said.value
    for lever in [lever for lever in levers if lever.fits and lever.cost not in ("quality", "hardware")][:most]:
        after = chosen_outcome(question.but(**lever.change))
        if after.verdict == "fits":
            said.append(f"`{lever.flag}` fits {format_tokens(after.settings.max_model_len)} tokens")
    return ", ".join(said)


def _price(group: tuple[Change, ...]) -> tuple[int, int, int]:
    costs = [LEVER_COSTS.index(change.cost) for change in group]
    return max(costs), len(group), sum(costs)


def _held(outcome: Outcome) -> str:
    """What a plan that fits serves, in words."""
    requests = outcome.kv_cache.max_concurrency * outcome.settings.replicas
    return f"{format_tokens(outcome.settings.max_model_len)} tokens, {requests:.1f} requests"


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
            note = "more steps per prompt"
            yield Change("max-num-batched-tokens", "max_num_batched_tokens", batched, "speed", note)
            break
    yield from _budgets(outcome)
    if not settings.enforce_eager and outcome.tightest.terms["graphs"].bytes:
        yield Change("enforce-eager", "enforce_eager", True, "speed", "slower decoding")
    shortest = ours.levers.shortest_tokens.value
    if not alone and settings.max_model_len > shortest:
        yield Change("max-model-len", "max_model_len", shortest, "context", f"{format_tokens(shortest)} tokens only")
    if settings.num_speculative_tokens:
        beside = ("spec_method", "spec_model", "speculative_max_model_len")
        asked = tuple(name for name in beside if getattr(outcome.question.request, name))
        yield Change("no-draft", "num_speculative_tokens", 0, "speed", "no draft: slower decoding", asked)


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
        yield Change(*share, highest, "nothing", "less spare memory")


def _fewer(outcome: Outcome) -> Iterator[Lever]:
    """The number of sequences that surely fits, where more were asked for."""
    concurrency, length = outcome.question.request.concurrency, outcome.settings.max_model_len
    if concurrency is None or outcome.verdict == "fits":
        return
    fitting = outcome.sequences_that_fit(length, Bound.WORST)
    if 0 < fitting < concurrency:
        yield from _smaller(outcome, "concurrency", fitting)


def _shorter(outcome: Outcome) -> Iterator[Lever]:
    """The length that safely starts, when a longer one was asked for or none that is served unasked fits."""
    if outcome.verdict == "fits":
        return
    asked, length = outcome.question.request.max_model_len, outcome.safe_length()
    if asked is None and length < policy().levers.shortest_tokens.value:
        return
    if asked is not None and not length:
        opened = solve(outcome.question.but(max_model_len=None), outcome.settings.layout)
        length = opened.settings.max_model_len if opened.verdict == "fits" else 0
    if 0 < length < (asked or outcome.settings.max_model_len):
        yield from _smaller(outcome, "max_model_len", length)


def _smaller(outcome: Outcome, setting: str, value: int) -> Iterator[Lever]:
    after = chosen_outcome(outcome.question.but(**{setting: value}))
    if after.verdict == "fits":
        yield _served(outcome, after, setting.replace("_", "-"), {setting: value}, "context")


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
    shape: dict[str, SettingValue] = {
        "tensor_parallel_size": layout.tensor_parallel_size,
        "pipeline_parallel_size": layout.pipeline_parallel_size,
        change.setting: change.value,
    }
    note = f"all {layout.total_gpus} GPUs: {_held(after)}; slower single requests"
    yield _lever(outcome, after, "idle-gpus", shape, "speed", note)


def levers_of_the_rest(outcome: Outcome) -> Iterator[Lever]:
    """All GPUs of the request, where the plan leaves out those that others hold: with what is free, or once all is."""
    question = outcome.question
    asked = question.request.gpus
    if question.gpus.total_gpus == asked.total_gpus:
        return
    busy = outcome_on_all(dataclasses.replace(question, gpus=asked))
    for change in _budgets(busy):
        after = chosen_outcome(question.but(gpus=asked, **{change.setting: change.value}))
        if after.question.gpus.total_gpus == asked.total_gpus and _helps(outcome, after):
            note = f"all {asked.total_gpus} GPUs, {change.note}"
            yield _lever(outcome, after, change.name, {change.setting: change.value}, change.cost, note)
    if found := _once_free(outcome, asked):
        yield found


def _once_free(outcome: Outcome, gpus: GpuSet) -> Lever | None:
    """A lever where the plan fits once nothing else holds memory of `gpus`, and holds more then."""
    emptied = dataclasses.replace(gpus, free_memory_bytes=None, holders=(), unheld=None)
    found = _with_gpus(outcome, emptied, 0)
    note = f"once all are free: {found.note}" if found else ""
    return found and dataclasses.replace(found, cost="nothing", note=note)


def _more_gpus(outcome: Outcome, *, longest_tokens: int) -> Iterator[Lever]:
    """GPUs of the host that nobody holds, and all once they are free; else more of them, and the smallest product.

    `longest_tokens` fit on these GPUs at no cost.
    """
    gpus = outcome.question.gpus
    if gpus.free_memory_bytes is not None and outcome.stopped_otherwise(Bound.WORST):
        found = gpus.unheld and _with_gpus(outcome, gpus.unheld, 0)
        if found and gpus.unheld:
            where = " ".join(f"{name}={value}" for name, value in gpus.unheld.env)
            note = f"those that nobody holds{f', {where}' if where else ''}: {found.note}"
            yield dataclasses.replace(found, cost="nothing", note=note)
        if found := _once_free(outcome, gpus):
            yield found
            return
    count, most = (
        outcome.question.request.gpus.count,
        min(gpus.spec.max_gpus_per_node, policy().levers.most_gpus_per_node.value),
    )
    while (count := 1 << count.bit_length()) <= most:
        larger = GpuSet(spec=gpus.spec, count=count, nodes=gpus.nodes, memory_override_bytes=gpus.memory_override_bytes)
        found = _with_gpus(outcome, larger, longest_tokens)
        if found is not None:
            yield found
            break
    from hw_specs.catalog import larger_gpus

    # A set that cannot hold the weights needs no planning to be ruled out.
    least_bytes = sum(rank.weights.total_bytes for rank in outcome.ranks) * outcome.settings.tensor_parallel_size
    for size in larger_gpus(max(gpus.memory_bytes, least_bytes // gpus.total_gpus)):
        for spec in sorted(size, key=lambda spec: spec.vendor != gpus.spec.vendor):
            slower = spec.fp8_kind != gpus.spec.fp8_kind and spec.fp8_kind in ("none", "weight-only")
            if not spec.released or slower or spec.max_gpus_per_node < gpus.count:
                continue
            found = _with_gpus(outcome, GpuSet(spec=spec, count=gpus.count, nodes=gpus.nodes), longest_tokens)
            if found is not None:
                yield found
                return


def _with_gpus(outcome: Outcome, gpus: GpuSet, longest_tokens: int) -> Lever | None:
    """A lever where the plan on `gpus` fits and is worth them: whole, or several times as long as what fits here.

    Half as long again is worth no other card.
    """
    question = outcome.question
    change: dict[str, SettingValue] = {
        "gpus": gpus, "tensor_parallel_size": None, "pipeline_parallel_size": None, "replicas": None
    }  # fmt: skip
    after = chosen_outcome(question.but(**change))
    length = after.settings.max_model_len
    least = policy().layout.worth_leaving.value * longest_tokens
    if after.verdict != "fits" or length <= longest_tokens or (length < question.wanted_length and length < least):
        return None
    return _served(outcome, after, "gpus", change, "hardware")
