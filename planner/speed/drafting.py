"""What a draft gains in one step; it never knows a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from planner import facts
from planner.speed.profile import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Chance that one more drafted token is accepted, given the ones before were."""

    value: float
    low: float
    high: float
    basis: str
    source: str


@cache
def acceptance() -> Acceptance:
    """Return what is known of the draft's acceptance rate."""
    return Acceptance(**facts.load("speed.toml")["eagle"]["acceptance_rate"])


def expected_tokens_per_step(num_speculative_tokens: int, acceptance_rate: float) -> float:
    """Return the mean tokens of one step: ``1 + a + … + a^k`` for `k` drafted tokens accepted with chance `a` each."""
    return sum(acceptance_rate**i for i in range(num_speculative_tokens + 1))


def tokens_per_step(num_speculative_tokens: int, case: Case = "expected") -> float:
    """Return the mean tokens of one step with the draft, expected or at a bound."""
    rate = acceptance()
    return expected_tokens_per_step(
        num_speculative_tokens, {"expected": rate.value, "fast": rate.high, "slow": rate.low}[case]
    )
