"""Continuous batching, step by step, as the engine's scheduler does it; it never invents a time.

The scheduler's rules are vLLM V1's: running requests first, in order; each step holds at most
`max_num_batched_tokens`, prompts are cut to what is left; blocks are handed out as tokens need them, and when none is
left the youngest running request is preempted and starts over. Between two events (an arrival, an end, a prompt)
all steps are alike but for the growing context, so they are computed as one array: exact, and fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from random import Random

from planner.errors import InvalidRequest
from planner.speed.limits import EngineLimits
from planner.speed.requests import Requests
from planner.speed.scheduler import Scheduler
from planner.speed.step import StepModel
from planner.speed.trace import Trace
from planner.speed.workload import Workload


def draw_lengths(workload: Workload) -> tuple[list[int], list[int]]:
    """Return prompt and answer lengths, one per request, as ``--random-range-ratio`` draws them."""
    rng = Random(workload.seed)
    count = workload.total_requests
    wide = workload.length_distribution == "exponential"

    def draw(mean: int) -> list[int]:
        if wide:
            # Strata of equal chance in random order: a hundred lengths then have the mean that was asked for.
            lengths = [max(1, round(-mean * log(1 - (place + 0.5) / count))) for place in range(count)]
            rng.shuffle(lengths)
            return lengths
        low = max(1, int(mean * (1 - workload.length_range_ratio)))
        high = max(low, -int(-mean * (1 + workload.length_range_ratio) // 1))
        return [rng.randint(low, high) for _ in range(count)] if high > low else [low] * count

    return draw(workload.prompt_tokens), draw(workload.output_tokens)


def whole_prompts(workload: Workload, new: Sequence[int], output: Sequence[int]) -> list[int]:
    """Return the length of each prompt when `new` tokens are new in it: what all share and what was said before too.

    >>> whole_prompts(Workload(turns=2, system_tokens=100), [10, 20, 30], [1, 2, 3])
    [110, 131, 130]
    """
    prompts: list[int] = []
    for index, tokens in enumerate(new):
        before = workload.system_tokens if index % workload.turns == 0 else prompts[-1] + output[index - 1]
        prompts.append(before + tokens)
    return prompts


def draw_arrivals(workload: Workload) -> list[float]:
    """Return when each request could be sent, seconds; zeros without a rate. Of a chat the first turn arrives."""
    count = workload.total_requests
    if workload.request_rate is None:
        return [0.0] * count
    rng = Random(workload.seed + 1)
    times = [0.0]
    for index in range(1, count):
        gap = rng.expovariate(workload.request_rate / workload.turns) if index % workload.turns == 0 else 0.0
        times.append(times[-1] + gap)
    return times


def simulate(
    model: StepModel, limits: EngineLimits, workload: Workload, *, image_tokens: int = 0, vision: bool = False,
    cached_requests: int = 0, skip_ahead: bool = True, until_s: float = inf,
) -> Trace:  # fmt: skip
    """Run `workload` against one replica and return what happened.

    `image_tokens` are the prompt tokens of one image; they count only with ``workload.images_per_request``. The whole
    prompts of the first `cached_requests` are in the prefix cache, as after a run with the same seed. `skip_ahead` off
    plays every step by itself.

    Raises:
        RunsOn: some request has no answer at `until_s`.
        InvalidRequest: when one request alone is larger than the KV cache, or a step cannot hold a decode.
    """
    new, output = draw_lengths(workload)
    new = [tokens + workload.images_per_request * image_tokens for tokens in new]
    prompt = whole_prompts(workload, new, output)
    longest = max(map(sum, zip(prompt, output, strict=True)))
    room = limits.num_blocks * limits.block_size
    if longest + model.num_speculative_tokens > room:
        raise InvalidRequest(
            "prompt_tokens",
            f"a request of {longest:,} tokens does not fit the KV cache of {room:,} tokens",
            hint="shorten the prompts or the answers, or plan more memory for the cache"
            if workload.turns == 1
            else "fewer turns, shorter prompts or answers, or more memory for the cache",
        )
    if limits.max_num_batched_tokens <= model.num_speculative_tokens:
        raise InvalidRequest(
            "max_num_batched_tokens", "max_num_batched_tokens must exceed the number of drafted tokens"
        )
    block = limits.block_size

    def whole_blocks(tokens: int, of: int) -> int:
        # The last token is always computed: with all of a prompt cached, its last block is.
        return max(0, min(tokens, of - 1)) // block * block

    prefix = int(workload.prompt_tokens * workload.prefix_cache_hit_rate) if limits.prefix_caching else 0
    hit = [whole_blocks(tokens, tokens) if index < cached_requests else 0 for index, tokens in enumerate(prompt)]
    shared = 0
    if prefix:
        hit = [whole_blocks(prefix, tokens) for tokens in prompt]
        shared = min(hit)
        hit[0] = 0  # whoever comes first computes what all share
    elif workload.system_tokens and limits.prefix_caching:
        shared = whole_blocks(workload.system_tokens, min(prompt))
    requests = Requests(
        prompt=prompt, output=output, ready_s=draw_arrivals(workload), hit=hit, shared=shared,
        concurrency=workload.concurrency or workload.total_requests,
        turns=workload.turns, pause_s=workload.pause_s,
        images=workload.images_per_request if vision else 0,
    )  # fmt: skip
    return Scheduler(model, limits, requests, skip_ahead=skip_ahead).run(until_s)
