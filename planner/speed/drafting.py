"""What a draft gains in one step, and from how many requests on it costs more; it never schedules anything."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts
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


def tokens_per_step(num_speculative_tokens: int, case: Case = "expected", *, method: str = "eagle") -> float:
    """Return the mean tokens of one step with a draft, expected or at a bound; 1 without one."""
    facts = draft_facts()
    told = facts.methods[method]
    first = {"expected": told.first, "fast": told.high, "slow": told.low}[case]
    return acceptance_length(num_speculative_tokens, first, facts.decay)


def tokens_a_step(num_speculative_tokens: int, case: Case, told: float | None) -> float:
    """Return the mean tokens of one step, as `told` where somebody knows.

    Raises:
        InvalidRequest: `told` is more than the draft and one.
    """
    if not num_speculative_tokens:
        return 1.0
    if told is None:
        return tokens_per_step(num_speculative_tokens, case)
    check_acceptance(num_speculative_tokens, told)
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
