"""The books of the engine's scheduler: who runs, who waits, who holds which blocks; it never knows a model.

Order within a step is vLLM V1's: running requests in order of admission, then waiting ones while tokens, slots and
blocks last. With asynchronous scheduling a step is composed when the one before it starts, so an ended request's slot
and a new request's arrival are seen one step late.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.speed.step import Batch, StepModel
from planner.speed.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_EPSILON = 1e-9
_STRETCH = 128
"""Steps computed at once; more would be thrown away at the next arrival."""


@dataclass(slots=True)
class _Step:
    """A composed step; `start_s` and `end_s` are known once it runs."""

    prefill_tokens: int
    prefill_pairs: float
    images: int
    sampled: list[int]
    """Requests that get a token (or a chunk of accepted ones)."""
    ending: list[int]
    """Those of them that are complete with it."""
    decoding: int
    context: int
    start_s: float = 0.0
    end_s: float = 0.0


class Scheduler:
    """One replica serving one list of requests; `run` plays it to the end."""

    def __init__(
        self, *, model: StepModel, max_num_seqs: int, max_num_batched_tokens: int, num_blocks: int, block_size: int,
        tokens_per_step: float, prompt: Ints, output: Ints, ready: Floats, concurrency: int, cached: Floats | float,
        images: int,
    ) -> None:  # fmt: skip
        import numpy as np

        self._np = np
        self._model = model
        self._seats, self._budget = max_num_seqs, max_num_batched_tokens
        self._num_blocks, self._block = num_blocks, block_size
        self._free = num_blocks
        self._emit = tokens_per_step
        self._ahead = model.num_speculative_tokens
        self._prompt, self._output = prompt, output
        self._images = images
        count = len(prompt)
        # A hit is whole blocks, and the last token is always computed: with all of a prompt cached, its last block is.
        self._hit = np.minimum((prompt * cached).astype(np.int64), prompt - 1) // block_size * block_size
        self._todo = prompt - self._hit
        self._context = self._hit.copy()
        self._done = np.zeros(count, dtype=np.int64)
        self._decode_steps = np.zeros(count, dtype=np.int64)
        self._held = np.zeros(count, dtype=np.int64)
        self._needed_steps = np.ceil((output - 1) / tokens_per_step - _EPSILON).astype(np.int64)
        self._ready = ready
        self._sent = np.zeros(count)
        self._first = np.full(count, -1.0)
        self._finished = np.full(count, -1.0)
        self._last = np.zeros(count)
        self._next = 0
        self._slots = concurrency
        self._frontend_free = 0.0
        self._arrivals: list[tuple[float, int]] = []
        self._waiting: deque[int] = deque()
        self._running: list[int] = []
        self._ended = 0
        self._gaps: list[Floats] = []
        self._gap_counts: list[Floats] = []
        self._steps = 0
        self._preemptions = 0
        self._peak = 0
        self._block_seconds = 0.0
        self._busy_seconds = 0.0

    def run(self) -> None:
        """Play until every request has its answer."""
        lookahead = self._model.profile.async_scheduling
        clock = 0.0
        pending: _Step | None = None
        self._send(clock)
        while self._ended < len(self._prompt):
            if pending is not None and not lookahead:
                clock = self._complete(pending)
                pending = None
                if self._ended == len(self._prompt):
                    break
            moment = pending.start_s if pending is not None else clock
            self._admit(moment)
            if pending is None or not pending.ending:
                ahead = self._fast_forward(pending, clock, lookahead)
                if ahead is not None:
                    pending, clock = ahead, ahead.end_s
                    continue
            thrown_back = self._preemptions
            step = self._compose()
            if step is None:
                if pending is not None:
                    clock = self._complete(pending)
                    pending = None
                elif self._preemptions == thrown_back:
                    assert self._arrivals, "nothing runs, nothing is to arrive, and requests are left"
                    clock = max(clock, self._arrivals[0][0])
                continue
            step.start_s = self._complete(pending) if pending is not None else moment
            step.end_s = step.start_s + self._duration(step)
            self._account(step.end_s - step.start_s)
            pending = step
            clock = step.start_s

    def trace(self) -> Trace:
        """Return what happened."""
        np = self._np
        return Trace(
            sent_s=self._sent, first_token_s=self._first, finished_s=self._finished,
            prompt_tokens=self._prompt, output_tokens=self._output,
            gap_s=np.concatenate(self._gaps) if self._gaps else np.zeros(0),
            gap_count=np.concatenate(self._gap_counts) if self._gap_counts else np.zeros(0),
            steps=self._steps, preemptions=self._preemptions, kv_peak_blocks=self._peak,
            kv_mean_blocks=self._block_seconds / self._busy_seconds if self._busy_seconds else 0.0,
            num_blocks=self._num_blocks,
        )  # fmt: skip

    def _send(self, now_s: float) -> None:
        """Let the client send what its slots and its rate allow; the front end takes them one by one."""
        frontend_s = self._model.profile.frontend_s
        while self._slots > 0 and self._next < len(self._prompt):
            index = self._next
            sent = max(now_s, float(self._ready[index]))
            self._next += 1
            self._slots -= 1
            self._sent[index] = sent
            self._frontend_free = max(self._frontend_free, sent) + frontend_s
            heapq.heappush(self._arrivals, (self._frontend_free, index))

    def _admit(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0][0] <= now_s:
            self._waiting.append(heapq.heappop(self._arrivals)[1])

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._block)

    def _reserve(self, index: int, tokens: int) -> bool:
        """Hold blocks for `tokens` more tokens of a request; False when there are too few."""
        wanted = self._blocks(int(self._context[index]) + tokens) - int(self._held[index])
        if wanted > self._free:
            return False
        if wanted > 0:
            self._free -= wanted
            self._held[index] += wanted
        return True

    def _release(self, index: int) -> None:
        self._free += int(self._held[index])
        self._held[index] = 0

    def _preempt(self, keep: int) -> bool:
        """Throw the youngest running request back to the head of the queue; False when `keep` is the youngest."""
        for position in range(len(self._running) - 1, -1, -1):
            index = self._running[position]
            if self._is_over(index):
                continue
            del self._running[position]
            self._release(index)
            self._todo[index] = self._prompt[index] + self._done[index]
            self._context[index] = 0
            self._waiting.appendleft(index)
            self._preemptions += 1
            return index != keep
        return False

    def _is_over(self, index: int) -> bool:
        """Whether all of a request's tokens are computed or on their way."""
        return bool(self._done[index] >= self._output[index])

    def _decode_in_order(self, step: _Step, decoding: Ints) -> bool:
        """Let decoding requests take their turn, throwing the youngest back when blocks run out.

        False when a request had to give way itself: then nothing behind it runs either.
        """
        np = self._np
        rest = decoding[: self._budget // (1 + self._ahead)]
        while rest.size:
            reach = self._context[rest] + 1 + self._ahead
            wanted = np.maximum(-(-reach // self._block) - self._held[rest], 0)
            count = int(np.searchsorted(np.cumsum(wanted), self._free, side="right"))
            if count:
                self._decode(step, rest[:count], wanted[:count])
                rest = rest[count:]
            if not rest.size:
                return True
            if not self._preempt(int(rest[0])):
                return False
            rest = rest[self._held[rest] > 0]  # what was thrown back holds nothing
        return True

    def _decode(self, step: _Step, decoding: Ints, wanted: Ints) -> None:
        """Give each of these requests one step and the blocks it needs for it."""
        np = self._np
        self._held[decoding] += wanted
        self._free -= int(wanted.sum())
        self._decode_steps[decoding] += 1
        emitted = 1 + np.floor(self._decode_steps[decoding] * self._emit + _EPSILON).astype(np.int64)
        emitted = np.minimum(np.maximum(emitted, self._done[decoding] + 1), self._output[decoding])
        self._context[decoding] += emitted - self._done[decoding]
        last = self._decode_steps[decoding] >= self._needed_steps[decoding]
        emitted = np.where(last, self._output[decoding], emitted)
        self._done[decoding] = emitted
        step.decoding += decoding.size
        step.context += int(self._context[decoding].sum())
        step.sampled += decoding.tolist()
        step.ending += decoding[emitted >= self._output[decoding]].tolist()

    def _prefill(self, step: _Step, index: int, budget: int) -> int:
        """Give a running request the next part of its prompt; return the tokens it took."""
        tokens = min(int(self._todo[index]), budget)
        while tokens and not self._reserve(index, tokens):
            if not self._preempt(index):
                return 0
        if tokens:
            self._take(step, index, tokens)
        return tokens

    def _compose(self) -> _Step | None:
        np = self._np
        preempted = self._preemptions
        step = _Step(prefill_tokens=0, prefill_pairs=0.0, images=0, sampled=[], ending=[], decoding=0, context=0)
        budget = self._budget
        running = np.array(self._running, dtype=np.int64)
        decoding = running[(self._todo[running] == 0) & (self._done[running] < self._output[running])]
        # Only the request admitted last can be in the middle of its prompt, so the others come first in any case.
        if self._decode_in_order(step, decoding):
            budget -= step.decoding * (1 + self._ahead)
            for index in list(self._running):
                if self._todo[index] and self._held[index]:
                    budget -= self._prefill(step, index, budget)
        while self._waiting and budget > 0 and len(self._running) < self._seats and preempted == self._preemptions:
            index = self._waiting[0]
            tokens = min(int(self._todo[index]), budget)
            if not self._reserve(index, tokens):
                break
            self._waiting.popleft()
            self._running.append(index)
            if not self._done[index] and self._context[index] == self._hit[index]:
                step.images += self._images
            budget -= tokens
            self._take(step, index, tokens)
        return step if step.sampled or step.prefill_tokens else None

    def _take(self, step: _Step, index: int, prompt_tokens: int) -> None:
        """Put a part of one request's prompt into the step and advance its books."""
        before = int(self._context[index])
        step.prefill_tokens += prompt_tokens
        step.prefill_pairs += prompt_tokens * (before + (prompt_tokens + 1) / 2)
        self._context[index] += prompt_tokens
        self._todo[index] -= prompt_tokens
        if self._todo[index]:
            return
        self._done[index] += 1
        if self._done[index] > 1:
            self._decode_steps[index] += 1
        if self._decode_steps[index] >= self._needed_steps[index]:
            self._done[index] = self._output[index]
        step.sampled.append(index)
        if self._is_over(index):
            step.ending.append(index)

    def _duration(self, step: _Step) -> float:
        np = self._np
        batch = Batch(
            prefill_tokens=np.array([float(step.prefill_tokens)]),
            prefill_pairs=np.array([step.prefill_pairs]),
            decode_sequences=np.array([float(step.decoding)]),
            decode_context_tokens=np.array([float(step.context)]),
            sampled_rows=np.array([float(len(step.sampled))]),
            images=np.array([float(step.images)]),
        )
        return float(self._model.seconds(batch)[0])

    def _account(self, seconds: float) -> None:
        used = self._num_blocks - self._free
        self._steps += 1
        self._peak = max(self._peak, used)
        self._block_seconds += used * seconds
        self._busy_seconds += seconds

    def _complete(self, step: _Step) -> float:
        """Hand out a step's tokens at its end and return that time."""
        np = self._np
        end = step.end_s
        if step.sampled:
            sampled = np.array(step.sampled)
            fresh = self._first[sampled] < 0
            later = sampled[~fresh]
            self._first[sampled[fresh]] = end
            if later.size:
                self._gaps.append(end - self._last[later])
                self._gap_counts.append(np.ones(later.size))
            self._last[sampled] = end
        for index in step.ending:
            self._finished[index] = end
            self._running.remove(index)
            self._release(index)
            self._ended += 1
            self._slots += 1
        if step.ending:
            self._send(end)
        return end

    def _can_admit(self) -> bool:
        """Whether the head of the queue could join the next step."""
        if not self._waiting or len(self._running) >= self._seats:
            return False
        index = self._waiting[0]
        tokens = min(int(self._todo[index]), self._budget - len(self._running) * (1 + self._ahead))
        return tokens > 0 and self._blocks(int(self._context[index]) + tokens) <= self._free

    def _fast_forward(self, pending: _Step | None, clock: float, lookahead: bool) -> _Step | None:
        """Play all steps up to the next event at once and return the last; None when the next one is special."""
        np = self._np
        running = np.array(self._running, dtype=np.int64)
        if running.size == 0 or self._todo[running].any() or self._can_admit():
            return None
        if (self._done[running] >= self._output[running]).any() or running.size * (1 + self._ahead) > self._budget:
            return None
        left = int((self._needed_steps[running] - self._decode_steps[running]).min())
        # The last step of the stretch ends a request, so it is composed the ordinary way.
        count = min(left - 1, _STRETCH)
        if count < 2:
            return None
        number = np.arange(1, count + 1)
        emitted = 1 + np.floor((self._decode_steps[running][:, None] + number) * self._emit + _EPSILON).astype(np.int64)
        context = self._context[running][:, None] + emitted - self._done[running][:, None]
        blocks = (-(-(context + self._ahead) // self._block)).sum(axis=0)
        count = min(count, int(np.searchsorted(blocks, self._num_blocks, side="right")))
        if count < 2:
            return None
        ones = np.ones(count)
        seconds = self._model.seconds(
            Batch(
                prefill_tokens=0 * ones, prefill_pairs=0 * ones, decode_sequences=running.size * ones,
                decode_context_tokens=context.sum(axis=0)[:count].astype(np.float64),
                sampled_rows=running.size * ones, images=0 * ones,
            )
        )  # fmt: skip
        start = pending.end_s if pending is not None else clock
        ends = start + np.cumsum(seconds)
        if self._arrivals and not self._waiting:
            # A step is unlike the ones before if a newcomer was there when it was composed.
            starts = np.concatenate(([start], ends[:-1]))
            composed = np.concatenate(([pending.start_s if pending else start], starts[:-1])) if lookahead else starts
            count = int(np.searchsorted(composed, self._arrivals[0][0], side="left"))
            if count < 2:
                return None
        if pending is not None:
            self._complete(pending)
        ends, seconds = ends[:count], seconds[:count]
        self._gaps.append(ends[0] - self._last[running])
        self._gap_counts.append(np.ones(running.size))
        self._gaps.append(seconds[1:])
        self._gap_counts.append(np.full(count - 1, float(running.size)))
        self._last[running] = ends[-1]
        self._context[running] = context[:, count - 1]
        self._done[running] = emitted[:, count - 1]
        self._decode_steps[running] += count
        held = -(-(context[:, count - 1] + self._ahead) // self._block)
        self._held[running] = np.maximum(self._held[running], held)
        self._free = self._num_blocks - int(self._held.sum())
        self._steps += count
        self._peak = max(self._peak, int(blocks[count - 1]))
        self._block_seconds += float((blocks[:count] * seconds).sum())
        self._busy_seconds += float(seconds.sum())
        # Its tokens are handed out already; it stays as the step that runs while the next one is composed.
        return _Step(
            prefill_tokens=0, prefill_pairs=0.0, images=0, sampled=[], ending=[], decoding=running.size,
            context=0, start_s=float(ends[-1] - seconds[-1]), end_s=float(ends[-1]),
        )  # fmt: skip
