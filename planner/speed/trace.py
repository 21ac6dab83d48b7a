"""What a run produced, and the figures ``vllm bench serve`` reads off it; it never simulates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Gaps:
    """Gaps between two chunks of one answer, seconds, each with how often it occurred."""

    seconds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, seconds: float, count: int) -> None:
        """Note a gap that `count` answers had."""
        if count:
            self.seconds.append(seconds)
            self.counts.append(count)

    @property
    def number(self) -> int:
        """How many gaps there were."""
        return sum(self.counts)

    @property
    def mean_s(self) -> float:
        """Mean gap; 0 when there is none."""
        total = sum(gap * count for gap, count in zip(self.seconds, self.counts, strict=True))
        return total / self.number if self.counts else 0.0

    def percentile_s(self, percent: float) -> float:
        """Return the gap that `percent` of all gaps do not exceed; 0 when there is none."""
        wanted = percent / 100 * self.number
        reached = 0
        for gap, count in sorted(zip(self.seconds, self.counts, strict=True)):
            reached += count
            if reached >= wanted:
                return gap
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a run produced; times are seconds since the first request was sent, lists have an entry per request."""

    sent_s: Sequence[float]
    first_token_s: Sequence[float]
    finished_s: Sequence[float]
    prompt_tokens: Sequence[int]
    output_tokens: Sequence[int]
    gaps: Gaps
    steps: int
    preemptions: int
    kv_peak_blocks: int
    kv_mean_blocks: float
    """Time-weighted."""
    num_blocks: int
    busy_s: float
    """Time in which a step ran."""
    prefill_s: float
    """Time in which a step with prompt tokens ran."""
    prefix_cache_hit_rate: float
    """Share of all prompt tokens that were found in the prefix cache."""

    @property
    def duration_s(self) -> float:
        """From the first request to the last answer."""
        return max(self.finished_s)

    @property
    def ttft_s(self) -> list[float]:
        """Seconds from sending a request to its first token."""
        return [first - sent for first, sent in zip(self.first_token_s, self.sent_s, strict=True)]

    @property
    def latency_s(self) -> list[float]:
        """Seconds from sending a request to its last token."""
        return [finished - sent for finished, sent in zip(self.finished_s, self.sent_s, strict=True)]

    @property
    def tpot_s(self) -> list[float]:
        """Mean seconds per token after the first, of the requests with more than one."""
        return [
            (finished - first) / (tokens - 1)
            for finished, first, tokens in zip(self.finished_s, self.first_token_s, self.output_tokens, strict=True)
            if tokens > 1
        ]

    @property
    def output_tokens_per_s(self) -> float:
        """Answer tokens over the whole run, ramp and tail included."""
        return sum(self.output_tokens) / self.duration_s

    @property
    def total_tokens_per_s(self) -> float:
        """Prompt and answer tokens over the whole run."""
        return (sum(self.prompt_tokens) + sum(self.output_tokens)) / self.duration_s


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value below which `percent` of `values` lie, on a straight line between neighbours; 0 of nothing.

    >>> percentile([1.0, 2.0, 3.0], 75)
    2.5
    """
    ordered = sorted(values)
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
