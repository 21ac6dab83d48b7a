"""Which of the ways compared is taken: targets first, then the objective. It plans and forecasts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from planner.facts.policy import policy
from planner.planning.ways import Way, misses
from planner.speed.answer import Objective, Targets


def pick(ways: Sequence[Way], objective: Objective, targets: Targets) -> Way:
    """Return the best of `ways` that was asked for: all targets met first, then the objective; else the least miss."""
    eligible = [way for way in ways if way.asked]
    meeting = [way for way in eligible if way.miss(targets) <= 1]
    if not meeting:
        return nearest(eligible, targets)
    fastest = min(way.figures.latency_ms for way in meeting)
    most = max(way.figures.output_tokens_per_s for way in meeting)
    lead = policy().compare.worth_leaving_the_default.value

    def score(way: Way) -> tuple[float, ...]:
        figures, settings = way.figures, way.plan.settings
        speed, rate = fastest / figures.latency_ms, figures.output_tokens_per_s / most
        if not way.default_batch:
            speed, rate = speed / lead, rate / lead
        if objective == "latency":
            return speed, rate
        if objective == "throughput":
            return rate, speed
        if objective == "context":
            return float(settings.max_model_len), float(way.plan.kv_cache.tokens), speed
        return (speed * rate, speed)

    return max(meeting, key=score)


def nearest(ways: Sequence[Way], targets: Targets) -> Way:
    """Return the way that misses the targets least, all of them together; the first of equals.

    By the hardest target alone a way would be taken that is hardly nearer to one and much farther from the others.
    """
    return min(ways, key=lambda way: prod(misses(way.figures, targets)))
