"""The batches of one step, and which pipeline stage is free for them when; it never decides what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Wave:
    """One batch: what it holds besides the sequences that decode in it."""

    decoding: int
    prefill_tokens: int = 0
    prefill_pairs: float = 0.0
    images: int = 0
    first: list[int] = field(default_factory=list)
    """Requests whose prompt ends in it."""
    out_s: float = 0.0
    """When its tokens are there."""


class Pipeline:
    """Stages that take one wave at a time, in order; a wave that went through all of them enters the first again.

    A request is in one wave at a time, and there are as many as stages: vLLM lets a request into every n-th batch
    (v1/core/sched/async_scheduler.py, next_decode_eligible_step).
    """

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self._out_s = [0.0] * stages
        self._free_s = [0.0] * stages
        self.settled = stages == 1
        """Whether the waves are evenly apart, as they are when none had a prompt lately."""

    def send(self, place: int, now_s: float, seconds: float) -> float:
        """Send the wave at `place` through, which takes `seconds` where nothing is before it; return when it is out."""
        at = max(now_s, self._out_s[place])
        for stage in range(self.stages):
            at = self._free_s[stage] = max(at, self._free_s[stage]) + seconds / self.stages
        self._out_s[place] = at
        return at

    def settle(self, now_s: float, waves: int, apart_s: float) -> None:
        """Put `waves` where they are after a while of equal rounds: `apart_s` apart, the first about to enter."""
        self.settled = True
        for place in range(len(self._out_s)):
            self._out_s[place] = now_s + place * apart_s
        last = now_s + (waves - 1) * apart_s
        for stage in range(self.stages):
            self._free_s[stage] = max(now_s, last - (self.stages - 1 - stage) * apart_s)


def prefilled(step: Sequence[Wave]) -> int:
    """Return the prompt tokens of a step."""
    return sum([wave.prefill_tokens for wave in step]) if len(step) > 1 else step[0].prefill_tokens if step else 0
