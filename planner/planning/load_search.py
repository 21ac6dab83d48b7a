"""The largest load that some way serves within its targets; it changes one number and no setting."""

from __future__ import annotations

from collections.abc import Sequence

from planner.facts.policy import policy
from planner.planning.ways import Candidate, Comparison, miss
from planner.speed.answer import Targets
from planner.speed.workload import Workload


def values(name: str, asked: float) -> list[int] | list[float]:
    """Return the values below `asked` that are looked at, ascending: whole requests, or figures of two digits.

    >>> values("concurrency", 4), values("prompt_tokens", 512), values("request_rate", 0.5)[-3:]
    ([1, 2, 3], [128, 256, 384], [0.48, 0.49])
    """
    limits = policy().target_levers
    if name == "request_rate":
        parts = limits.rate_parts.value
        found = {float(f"{asked * part / parts:.2g}") for part in range(1, parts)}
        return sorted(value for value in found if value < asked)
    step = limits.prompt_step_tokens.value if name == "prompt_tokens" else 1
    return list(range(step, int(asked), step))


def largest(
    comparison: Comparison, loads: Sequence[Workload], asked: Workload, targets: Targets, *, above: int = -1
) -> int | None:
    """Return the place of a load that some way serves within `targets` while none serves the next one; None for none.

    `loads` grow and stop short of `asked`, which no way serves; only places beyond `above` count. Each way is taken to
    get slower as the load grows, so the last place of one is found by halving; whether it is the last of all is tried.

    Raises:
        PlayedEnough: when no more may be played.
    """
    ways = _by_promise(comparison, asked, targets)
    found = above

    def meets(one: Candidate, place: int) -> bool:
        figures = comparison.figures(one, loads[place])
        return figures is not None and miss(figures, targets) <= 1

    while found + 1 < len(loads):
        climber = next((place for place, one in enumerate(ways) if meets(one, found + 1)), None)
        if climber is None:
            break
        # Those before it serve less; they are asked again only when all others have been.
        ways = ways[climber:] + ways[:climber]
        low, high = found + 1, len(loads)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if meets(ways[0], middle) else (low, middle)
        found = low
        ways = ways[1:] + ways[:1]
    return found if found > above else None


def _by_promise(comparison: Comparison, asked: Workload, targets: Targets) -> list[Candidate]:
    """The asked ways, those first that miss the targets least under the whole load."""

    def missed(one: Candidate) -> float:
        figures = comparison.figures(one, asked)
        return float("inf") if figures is None else miss(figures, targets)

    hopeful = [one for one in comparison.asked(asked) if not comparison.hopeless(one, asked, targets)]
    return sorted(hopeful, key=missed)
