"""What a draft gains in one step, and from how many requests on it costs more; it never schedules anything."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log

from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts
from planner.settings import Settings
from planner.speed.profile import Case
from planner.speed.step import Batch, StepClock, StepModel


def acceptance_length(num_speculative_tokens: int, first: float, decay: float = 1.0) -> float:
    """Return the mean tokens of one step when `num_speculative_tokens` are drafted.

    Args:
        num_speculative_tokens: tokens drafted in a step.
        first: chance that the first of them is accepted.
        decay: the chance of a further token over that of the one before, given that was accepted.

    >>> acceptance_length(3, 0.5)
    1.875
    """
    length = reached = 1.0
    chance = first
    for _ in range(num_speculative_tokens):
        reached *= chance
        length += reached
        chance *= decay
    return length


def tokens_per_step(num_speculative_tokens: int, case: Case = "expected", *, method: str | None) -> float:
    """Return the mean tokens of one step with a draft, expected or at a bound; 1 without one."""
    if method is None:
        return 1.0
    proposed = proposed_tokens(num_speculative_tokens, case, method)
    return acceptance_length(proposed, _first(method, case), draft_facts().decay)


def _first(method: str, case: Case) -> float:
    told = draft_facts().methods[method]
    return {"expected": told.first, "fast": told.high, "slow": told.low}[case]


def proposed_tokens(num_speculative_tokens: int, case: Case, method: str | None, told: float | None = None) -> int:
    """Return the tokens that are drafted in a step and checked: all, but for a suffix tree those it finds likely.

    `told` is the mean tokens of a step where somebody knows; as many as that are proposed at least.
    """
    if method != "suffix":
        return num_speculative_tokens
    chance, least = _first(method, case), draft_facts().suffix_least_chance.value
    likely = int(log(least) / log(chance)) if 0 < chance < 1 else 0
    return min(num_speculative_tokens, max(likely, ceil(told or 1.0) - 1))


def tokens_a_step(settings: Settings, case: Case, told: float | None) -> float:
    """Return the mean tokens of one step of a server, as `told` where somebody knows; 1 without a draft.

    Raises:
        InvalidRequest: `told` is more than the draft and one.
    """
    if not settings.num_speculative_tokens:
        return 1.0
    if told is None:
        return tokens_per_step(settings.num_speculative_tokens, case, method=settings.spec_method)
    check_acceptance(settings.num_speculative_tokens, told)
    return told


def check_acceptance(num_speculative_tokens: int, told: float | None) -> None:
    """Refuse more tokens a step than a draft can give; no draft gives nothing to check.

    Raises:
        InvalidRequest: `told` is more than the draft and one.
    """
    most = 1 + num_speculative_tokens
    if num_speculative_tokens and told is not None and told > most:
        raise InvalidRequest(
            "acceptance_length",
            f"a step with {num_speculative_tokens} drafted tokens gives at most {most}, not {told:g}",
            hint="raise num_speculative_tokens, or look the acceptance length up again",
        )


def draft_gain(model: StepModel, requests: int, context_tokens: float, length: float) -> float:
    """Return how many times faster `requests` decode with the draft than without, each `context_tokens` long."""
    plain = replace(model, num_speculative_tokens=0, work=replace(model.work, draft=None))
    wave = StepClock(model).wave(requests)
    batch = Batch(decode_sequences=wave, decode_context_tokens=wave * context_tokens, sampled_rows=wave)
    return plain.seconds(batch) * length / model.seconds(batch)


def draft_costs_more_from(model: StepModel, most: int, context_tokens: float, length: float) -> int | None:
    """Return the least requests in flight, up to `most`, that the draft slows down; None where it never does."""
    if draft_gain(model, most, context_tokens, length) >= 1:
        return None
    good, bad = 0, most
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if draft_gain(model, middle, context_tokens, length) < 1 else (middle, bad)
    return bad
