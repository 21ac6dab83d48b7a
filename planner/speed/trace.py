"""What a run produced, and the figures ``vllm bench serve`` reads off it; it never simulates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a run produced; times are seconds since the first request was sent."""

    sent_s: Floats
    """``[requests]``"""
    first_token_s: Floats
    finished_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    gap_s: Floats
    """Distinct gaps between two chunks of one answer."""
    gap_count: Floats
    """How often each gap occurred."""
    steps: int
    preemptions: int
    kv_peak_blocks: int
    kv_mean_blocks: float
    """Time-weighted."""
    num_blocks: int

    @property
    def duration_s(self) -> float:
        """From the first request to the last answer."""
        return float(self.finished_s.max())

    @property
    def ttft_s(self) -> Floats:
        """Seconds from sending a request to its first token, ``[requests]``."""
        return self.first_token_s - self.sent_s

    @property
    def latency_s(self) -> Floats:
        """Seconds from sending a request to its last token, ``[requests]``."""
        return self.finished_s - self.sent_s

    @property
    def tpot_s(self) -> Floats:
        """Mean seconds per token after the first, of the requests with more than one."""
        many = self.output_tokens > 1
        return (self.finished_s - self.first_token_s)[many] / (self.output_tokens[many] - 1)

    @property
    def output_tokens_per_s(self) -> float:
        """Answer tokens over the whole run, ramp and tail included."""
        return float(self.output_tokens.sum()) / self.duration_s

    @property
    def total_tokens_per_s(self) -> float:
        """Prompt and answer tokens over the whole run."""
        return float(self.prompt_tokens.sum() + self.output_tokens.sum()) / self.duration_s

    def gap_percentile_s(self, percent: float) -> float:
        """Return the gap that `percent` of all gaps between chunks do not exceed; 0 when there is none."""
        import numpy as np

        if not self.gap_s.size:
            return 0.0
        order = np.argsort(self.gap_s)
        reached = np.cumsum(self.gap_count[order])
        index = int(np.searchsorted(reached, percent / 100 * reached[-1]))
        return float(self.gap_s[order][min(index, order.size - 1)])

    @property
    def mean_gap_s(self) -> float:
        """Mean gap between chunks; 0 when there is none."""
        total = float(self.gap_count.sum())
        return float((self.gap_s * self.gap_count).sum()) / total if total else 0.0
