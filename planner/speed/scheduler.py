"""The engine's scheduler, played step by step: who runs, who waits; it never knows a model.

Order within a step is vLLM V1's (v1/core/sched/scheduler.py): running requests first, in order of admission, then
waiting ones while tokens, slots and blocks last; a waiting request is let in only when its whole prompt fits the free
blocks. With asynchronous scheduling a step is composed when the one before it starts, so an ended request's slot and a
new request's arrival are seen one step late.

All decoding requests advance together, so sums describe them: a step costs the same whatever their number, and all
steps up to the next event (an end, an arrival, a lack of blocks) are one sum.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from math import ceil, floor, inf

from planner.speed.limits import EngineLimits
from planner.speed.pipeline import Pipeline, Wave, prefilled
from planner.speed.pool import Pool
from planner.speed.requests import Client, Requests
from planner.speed.step import StepClock, StepModel, largest_count, ramp_seconds
from planner.speed.trace import Gaps, Trace

_EPSILON = 1e-9
_GAPS_TOGETHER = 64
"""Steps of one stretch whose gaps are told apart no further: they differ by the context that grew meanwhile."""


class RunsOn(Exception):
    """A run has not ended by the time that was set for it."""


class Scheduler:
    """One replica serving one list of requests; `run` plays it to the end."""

    def __init__(self, model: StepModel, limits: EngineLimits, requests: Requests, *, skip_ahead: bool = True) -> None:
        """`skip_ahead` off composes every step by itself, which changes nothing but the time it takes."""
        self._limits = limits
        self._requests = requests
        self._skip_ahead = skip_ahead
        self._whole_tokens = limits.tokens_per_step == 1.0
        self._lookahead = model.profile.async_scheduling
        self._per_sequence = 1 + model.num_speculative_tokens
        self._clock_of = StepClock(model, requests.shared)
        self._client = Client(requests, model.profile)
        self._pool = Pool(limits.num_blocks, limits.block_size, model.num_speculative_tokens)
        count = len(requests.prompt)
        self._waiting: deque[int] = deque()
        self._order: list[int] = []
        """Running requests in order of admission, ended and preempted ones among them until they are met."""
        self._running = 0
        self._admitted = [False] * count
        self._todo = list(requests.prompt)
        self._context = [0] * count
        """Tokens in the cache; of a decoding request, at the clock below."""
        self._done = [0] * count
        self._since = [-1] * count
        """Clock of tokens at which a request began to decode; -1 for one that does not."""
        self._partial: list[int] = []
        """Running requests whose prompt is not computed yet, in order of admission."""
        self._ends: list[tuple[int, int]] = []
        self._decoding = 0
        self._decoding_context = 0
        self._steps_decoded = 0
        self._tokens_clock = 0
        """Tokens that a sequence which decoded from the start would have by now."""
        self._pipeline = Pipeline(self._clock_of.stages)
        self._shared_held = 0
        """Blocks of the common head of all prompts, once it is computed; no request's own."""
        self._preempted: set[int] = set()
        """Requests that ran before and start over."""
        self._last_s: dict[int, float] = {}
        self._gaps = Gaps()
        self._asked_tokens = self._found_tokens = 0
        self._steps = self._preemptions = self._ended = 0
        self._block_seconds = self._busy_s = self._prefill_s = 0.0
        self._now = 0.0

    def run(self, until_s: float = inf) -> Trace:
        """Play until every request has its answer and return what happened.

        Raises:
            RunsOn: some request has none at `until_s`.
        """
        before = 0.0
        idle = True
        ending: list[int] = []
        self._client.send(0.0, ended=(), streaming=0)
        while self._ended < len(self._requests.prompt):
            if idle or not self._lookahead:
                self._complete(ending)
                ending = []
            self._waiting.extend(self._client.arrived(before if self._lookahead and not idle else self._now))
            step = self._compose()
            ended_meanwhile = bool(ending)
            self._complete(ending)
            ending = []
            if step is None:
                if idle and not self._waiting and self._ended < len(self._requests.prompt):
                    self._now = max(self._now, self._client.next_arrival_s)
                idle = True
                continue
            if self._now > until_s:
                raise RunsOn
            idle = False
            steps = 1 if ended_meanwhile and self._waiting else self._stretch(step)
            before, ending = self._play(step, steps)
        if max(self._requests.finished_s) > until_s:
            raise RunsOn
        return self._trace()

    def _trace(self) -> Trace:
        requests = self._requests
        return Trace(
            sent_s=requests.sent_s, first_token_s=requests.first_s, finished_s=requests.finished_s,
            prompt_tokens=requests.prompt, output_tokens=requests.output, gaps=self._gaps, steps=self._steps,
            preemptions=self._preemptions, kv_peak_blocks=self._pool.peak, busy_s=self._busy_s,
            prefill_s=self._prefill_s,
            kv_mean_blocks=self._block_seconds / self._busy_s if self._busy_s else 0.0,
            num_blocks=self._limits.num_blocks,
            prefix_cache_hit_rate=self._found_tokens / self._asked_tokens,
        )  # fmt: skip

    def _context_now(self, index: int) -> int:
        since = self._since[index]
        return self._context[index] + (self._tokens_clock - since if since >= 0 else 0)

    def _leave_decoding(self, index: int) -> None:
        """Fix the books of a request that decodes no more."""
        clock, since = self._tokens_clock, self._since[index]
        context = self._context_now(index)
        self._pool.leave(context, clock)
        self._decoding -= 1
        self._decoding_context -= context
        self._done[index] += clock - since
        self._context[index], self._since[index] = context, -1

    def _preempt(self) -> bool:
        """Throw the youngest running request back to the head of the queue; False when only one is left."""
        while self._order and (not self._admitted[self._order[-1]] or self._is_over(self._order[-1])):
            self._order.pop()
        if self._decoding + len(self._partial) <= 1:
            return False
        index = self._order.pop()
        if self._requests.first_s[index] >= 0:
            self._last_s.setdefault(index, self._now)
        if self._since[index] >= 0:
            self._leave_decoding(index)
            self._pool.give_back(self._pool.held(self._context[index]) - self._shared_held, index)
        else:
            self._partial.remove(index)
            self._pool.give_back(self._whole_prompt(index), index)
        self._admitted[index] = False
        self._preempted.add(index)
        self._running -= 1
        self._todo[index] = self._requests.prompt[index] + self._done[index] - self._context[index]
        self._waiting.appendleft(index)
        self._preemptions += 1
        return True

    def _whole_prompt(self, index: int) -> int:
        """Blocks that a request's own tokens take once its prompt is computed, those ahead of its draft included."""
        return self._pool.held(self._context[index] + self._todo[index]) - self._shared_held

    def _is_over(self, index: int) -> bool:
        """Whether all of a request's tokens are computed or on their way."""
        since = self._since[index]
        done = self._done[index] + (self._tokens_clock - since if since >= 0 else 0)
        return done >= self._requests.output[index]

    def _next_tokens(self, steps: int = 1) -> int:
        """Tokens that a decoding sequence gains in the next steps."""
        if self._whole_tokens:
            return steps
        later = floor((self._steps_decoded + steps) * self._limits.tokens_per_step + _EPSILON)
        return later - self._tokens_clock

    def _compose(self) -> list[Wave] | None:
        """Fill the waves of the next step, of which a pipeline has several; None when there is nothing to do."""
        preempted = self._preemptions
        while (growth := self._growth()) > self._pool.free:
            if not self._preempt():
                return None  # until what an ended request holds comes back
        together = self._clock_of.wave(self._decoding)
        left = self._decoding
        step: list[Wave] = []
        while len(step) < self._pipeline.stages:
            wave = Wave(min(together, left))
            step.append(wave)
            left -= wave.decoding
            budget = self._limits.max_num_batched_tokens - wave.decoding * self._per_sequence
            for index in tuple(self._partial):
                budget -= self._take(wave, index, budget)
            if preempted == self._preemptions:
                self._admit(wave, budget, growth)
            if not left and not wave.prefill_tokens:
                break
        return step if self._decoding or prefilled(step) else None

    def _admit(self, step: Wave, budget: int, growth: int) -> None:
        """Let waiting requests in while tokens, slots and blocks last, those for the `growth` of the others kept."""
        while self._waiting and budget > 0 and self._running < self._limits.max_num_seqs:
            index = self._waiting[0]
            blocks = self._whole_prompt(index)
            if blocks > self._pool.free - growth:
                break
            self._waiting.popleft()
            self._find(index, blocks)
            # The first request computes what all share; its blocks stay for the others.
            self._shared_held = self._requests.shared // self._limits.block_size
            self._order.append(index)
            self._admitted[index] = True
            self._running += 1
            if not self._done[index]:
                step.images += self._requests.images
            self._partial.append(index)
            budget -= self._take(step, index, budget)

    def _find(self, index: int, blocks: int) -> None:
        """Give a request its `blocks`, with what the prefix cache holds of its tokens."""
        requests, pool, block = self._requests, self._pool, self._limits.block_size
        tokens = self._context[index] + self._todo[index]
        again = index in self._preempted
        source = index if again else index - 1 if index % requests.turns else None
        reused = 0
        if source is not None and self._limits.prefix_caching:
            # Only full blocks are found, and the last token is always computed.
            full = min(self._context[source], tokens - 1) // block
            reused = max(0, min(pool.left_by(source), full - self._shared_held))
            pool.take_again(source, reused)
        pool.take(blocks - reused)
        found = (self._shared_held + reused) * block
        if not again:
            found = max(found, requests.hit[index])
            self._asked_tokens += tokens
            self._found_tokens += found
        self._context[index], self._todo[index] = found, tokens - found

    def _take(self, step: Wave, index: int, budget: int) -> int:
        """Put the next part of one request's prompt into the step and return its tokens."""
        tokens = min(self._todo[index], max(0, budget))
        if (most := self._limits.long_prefill_token_threshold) and self._running + len(self._waiting) > 1:
            tokens = min(tokens, most)  # nobody is starved by the only request
        step.prefill_tokens += tokens
        step.prefill_pairs += tokens * (self._context[index] + (tokens + 1) / 2)
        self._context[index] += tokens
        self._todo[index] -= tokens
        if not self._todo[index]:
            self._partial.remove(index)
            step.first.append(index)
        return tokens

    def _growth(self, steps: int = 1) -> int:
        """Blocks that the decoding requests need for the next steps."""
        return self._pool.growth(self._tokens_clock, self._next_tokens(steps))

    def _stretch(self, step: list[Wave]) -> int:
        """Return how many steps like this one follow each other: up to the next end, arrival or lack of blocks."""
        if prefilled(step) or not (self._skip_ahead and self._pipeline.settled and self._valid_end()):
            return 1
        left = self._ends[0][0] / self._limits.tokens_per_step - self._steps_decoded
        steps = max(1, ceil(left - _EPSILON))
        arrival = self._client.next_arrival_s
        if not self._waiting and arrival < float("inf"):
            # A step is unlike the ones before if a newcomer was there when it was composed.
            back, now, after = 2 if self._lookahead else 1, self._now, self._decode_clock()
            steps = largest_count(steps, lambda count: now + after(count - back) < arrival)
        lasting = self._pool.lasting(self._tokens_clock)
        if self._next_tokens(steps) <= lasting:
            return steps
        # Tokens of a draft come in whole numbers: a stretch may gain one more than its mean.
        return max(1, lasting if self._whole_tokens else int((lasting - 1) / self._limits.tokens_per_step))

    def _valid_end(self) -> bool:
        """Drop ends of requests that were preempted; whether one is left."""
        while self._ends and (
            self._since[self._ends[0][1]] < 0 or self._end_clock(self._ends[0][1]) != self._ends[0][0]
        ):
            heapq.heappop(self._ends)
        return bool(self._ends)

    def _end_clock(self, index: int) -> int:
        """Clock of tokens at which a decoding request has its answer."""
        return self._since[index] + self._requests.output[index] - self._done[index]

    def _decode_clock(self) -> Callable[[int], float]:
        """How many seconds so many of the next steps take, in which the same requests decode."""
        base, slope, lowest = self._clock_of.round_line(self._decoding)
        growth = slope * self._decoding * self._limits.tokens_per_step
        first = base + slope * self._decoding_context + growth
        return lambda steps: ramp_seconds(first, growth, lowest, steps) if steps > 0 else 0.0

    def _play_one(self, step: list[Wave]) -> float:
        """Say when the tokens of each wave are there, and return the seconds until those of the first are."""
        decoding = self._decoding
        context = self._decoding_context + decoding * self._next_tokens()
        for place, wave in enumerate(step):
            part = context * wave.decoding / decoding if decoding else 0.0
            seconds = self._clock_of.seconds(
                wave.prefill_tokens, wave.prefill_pairs, wave.decoding, part, wave.decoding + len(wave.first),
                wave.images,
            )  # fmt: skip
            wave.out_s = self._pipeline.send(place, self._now, seconds)
        self._pipeline.settled = self._pipeline.stages == 1 or not prefilled(step)
        return step[0].out_s - self._now

    def _play(self, step: list[Wave], steps: int) -> tuple[float, list[int]]:
        """Run the step, or a stretch of equal ones; return the start of the last and who ends with it."""
        decoding, tokens, now, filled = self._decoding, self._next_tokens(steps), self._now, prefilled(step)
        if steps == 1:
            seconds = self._play_one(step)
            start, end = now, now + seconds
            self._gaps.add(seconds, decoding)
        else:
            after = self._decode_clock()
            start, end, before = now + after(steps - 1), now + after(steps), 0.0
            for part in range(0, steps, _GAPS_TOGETHER):
                size = min(_GAPS_TOGETHER, steps - part)
                by = after(part + size)
                self._gaps.add((by - before) / size, decoding * size)
                before = by
        used = self._pool.used
        self._pool.take(self._growth(steps))
        if decoding:
            self._decoding_context += decoding * tokens
            self._steps_decoded += steps
            self._tokens_clock += tokens
        self._steps += steps
        self._busy_s += end - now
        if filled:
            self._prefill_s += end - now
        self._block_seconds += (used + self._pool.used) / 2 * (end - now)
        self._now = end
        if steps > 1 and self._pipeline.stages > 1:
            self._settle(decoding)
        over = [index for wave in step if wave.first for index in self._hand_out(wave)]
        if self._ends and self._ends[0][0] <= self._tokens_clock:
            over += self._over()
        return start, over

    def _settle(self, decoding: int) -> None:
        """Note where the waves are when all have decoded for a while."""
        base, slope, lowest = self._clock_of.round_line(decoding)
        waves = -(-decoding // self._clock_of.wave(decoding))
        round_s = max(base + slope * self._decoding_context, lowest)
        self._pipeline.settle(self._now, waves, round_s / self._pipeline.stages)

    def _over(self) -> list[int]:
        """Requests whose answer is complete now."""
        over = []
        while self._valid_end() and self._ends[0][0] <= self._tokens_clock:
            index = heapq.heappop(self._ends)[1]
            self._leave_decoding(index)
            over.append(index)
        return over

    def _hand_out(self, wave: Wave) -> list[int]:
        """Give the requests whose prompt ended their token, and let them decode; return those that are complete."""
        over = []
        requests, clock = self._requests, self._tokens_clock
        for index in wave.first:
            if requests.first_s[index] < 0:
                requests.first_s[index] = wave.out_s
            else:
                self._gaps.add(wave.out_s - self._last_s.pop(index), 1)
            self._done[index] += 1
            if self._done[index] >= requests.output[index]:
                over.append(index)
                continue
            self._since[index] = clock
            self._decoding += 1
            self._decoding_context += self._context[index]
            self._pool.join(self._context[index], clock)
            heapq.heappush(self._ends, (self._end_clock(index), index))
        return over

    def _complete(self, ending: list[int]) -> None:
        """Hand out the last tokens, free what their requests held and let the client go on."""
        for index in ending:
            self._requests.finished_s[index] = max(self._now, self._requests.first_s[index])
            self._pool.give_back(self._pool.held(self._context[index]) - self._shared_held, index)
            self._admitted[index] = False
            self._running -= 1
            self._ended += 1
        if ending:
            # In a pipeline a later wave is out after the first may go on.
            last = max(self._requests.finished_s[index] for index in ending)
            self._client.send(last, ended=ending, streaming=self._decoding)
