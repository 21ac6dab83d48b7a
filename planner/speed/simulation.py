"""Continuous batching, step by step, as the engine's scheduler does it; it never invents a time.

The scheduler's rules are vLLM V1's: running requests first, in order; each step holds at most
`max_num_batched_tokens`, prompts are cut to what is left; blocks are handed out as tokens need them, and when none is
left the youngest running request is thrown back and starts over. Between two events (an arrival, an end, a prompt)
all steps are alike but for the growing context, so they are computed as one array: exact, and fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.errors import InvalidRequest
from planner.speed.scheduler import Scheduler
from planner.speed.step import StepModel
from planner.speed.trace import Trace
from planner.speed.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What bounds a batch."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    """KV blocks of one replica that requests can hold."""
    block_size: int = 16
    acceptance_rate: float = 0.0
    """Chance that one more drafted token is accepted, given the ones before were."""


def expected_tokens_per_step(num_speculative_tokens: int, acceptance_rate: float) -> float:
    """Return the mean tokens of one step: ``1 + a + … + a^k`` for `k` drafted tokens accepted with chance `a` each."""
    return sum(acceptance_rate**i for i in range(num_speculative_tokens + 1))


def draw_lengths(workload: Workload) -> tuple[Ints, Ints]:
    """Return prompt and answer lengths, ``[requests]`` each, as ``--random-range-ratio`` draws them."""
    import numpy as np

    rng = np.random.default_rng(workload.seed)
    count = workload.total_requests

    def draw(mean: int) -> Ints:
        low = max(1, int(mean * (1 - workload.length_range_ratio)))
        high = max(low, -int(-mean * (1 + workload.length_range_ratio) // 1))
        return rng.integers(low, high, size=count, endpoint=True)

    return draw(workload.prompt_tokens), draw(workload.output_tokens)


def draw_arrivals(workload: Workload) -> Floats:
    """Return when each request could be sent, seconds; zeros without a rate."""
    import numpy as np

    count = workload.total_requests
    if workload.request_rate is None:
        return np.zeros(count)
    gaps = np.random.default_rng(workload.seed + 1).exponential(1 / workload.request_rate, size=count)
    gaps[0] = 0.0
    return np.cumsum(gaps)


def simulate(
    model: StepModel, limits: EngineLimits, workload: Workload, *, image_tokens: int = 0, vision: bool = False,
    cached_requests: int = 0,
) -> Trace:  # fmt: skip
    """Run `workload` against one replica and return what happened.

    `image_tokens` are the prompt tokens of one image; they count only with ``workload.images_per_request``. The whole
    prompts of the first `cached_requests` are in the prefix cache, as after a run with the same seed.

    Raises:
        InvalidRequest: when one request alone is larger than the KV cache, or a step cannot hold a decode.
    """
    import numpy as np

    prompt, output = draw_lengths(workload)
    prompt = prompt + workload.images_per_request * image_tokens
    longest = int((prompt + output).max())
    room = limits.num_blocks * limits.block_size
    if longest + model.num_speculative_tokens > room:
        raise InvalidRequest(
            "prompt_tokens",
            f"a request of {longest:,} tokens does not fit the KV cache of {room:,} tokens",
            hint="shorten the prompts or the answers, or plan more memory for the cache",
        )
    if limits.max_num_batched_tokens < limits.max_num_seqs * (1 + model.num_speculative_tokens) and (
        limits.max_num_batched_tokens <= model.num_speculative_tokens
    ):
        raise InvalidRequest(
            "max_num_batched_tokens", "max_num_batched_tokens must exceed the number of drafted tokens"
        )
    cached = np.full(len(prompt), workload.prefix_cache_hit_rate)
    cached[:cached_requests] = 1.0
    scheduler = Scheduler(
        model=model, max_num_seqs=limits.max_num_seqs, max_num_batched_tokens=limits.max_num_batched_tokens,
        num_blocks=limits.num_blocks, block_size=limits.block_size,
        tokens_per_step=expected_tokens_per_step(model.num_speculative_tokens, limits.acceptance_rate),
        prompt=prompt, output=output, ready=draw_arrivals(workload),
        concurrency=workload.concurrency or workload.total_requests,
        cached=cached, images=workload.images_per_request if vision else 0,
    )  # fmt: skip
    scheduler.run()
    return scheduler.trace()
