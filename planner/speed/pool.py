"""The KV pool of one replica: who holds how many blocks while all sequences grow together; it never knows a time.

Blocks that are given back keep what they hold until somebody needs them, as in vLLM (v1/core/block_pool.py): the
longest unused go first, and of one request's the last.
"""

from __future__ import annotations

import sys
from collections import deque


class Pool:
    """Blocks held and free.

    Every decoding sequence grows by the same tokens in the same step, so one clock of tokens serves them all: a
    sequence crosses into a new block when the clock and its own offset meet at a multiple of the block.
    """

    def __init__(self, num_blocks: int, block_size: int, ahead: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.used = 0
        self.peak = 0
        self._ahead = ahead
        self._crossing = [0] * block_size
        """Growing sequences by the remainder of the clock at which they need another block."""
        self._growing = 0
        self._idle: deque[list[int]] = deque()
        """Blocks that are free but were used, a count per request that gave them back, in that order."""
        self._idle_blocks = 0
        self._left_by: dict[int, list[int]] = {}

    def blocks(self, tokens: int) -> int:
        """Return the blocks that hold `tokens`."""
        return -(-tokens // self.block_size)

    @property
    def free(self) -> int:
        """Free blocks."""
        return self.num_blocks - self.used

    def take(self, blocks: int) -> None:
        """Hold `blocks` more; what they held before is gone."""
        self.used += blocks
        self.peak = max(self.peak, self.used)
        lost = self.used + self._idle_blocks - self.num_blocks
        while lost > 0 and self._idle:
            oldest = self._idle[0]
            gone = min(oldest[0], lost)
            oldest[0] -= gone
            self._idle_blocks -= gone
            lost -= gone
            if not oldest[0]:
                self._idle.popleft()

    def give_back(self, blocks: int, owner: int) -> None:
        """Free the `blocks` of a request; :meth:`left_by` tells how many of them are still as they were."""
        self.used -= blocks
        self._idle_blocks += blocks
        left = self._left_by[owner] = [blocks]
        self._idle.append(left)

    def left_by(self, owner: int) -> int:
        """Return how many blocks, from its first on, still hold what a request left in them."""
        left = self._left_by.get(owner)
        return left[0] if left else 0

    def take_again(self, owner: int, blocks: int) -> None:
        """Hold the first `blocks` that a request left, as they are; the rest of them cannot be found any more."""
        if blocks:
            self._left_by.pop(owner)[0] -= blocks
            self._idle_blocks -= blocks
            self.used += blocks
            self.peak = max(self.peak, self.used)

    def held(self, context: int) -> int:
        """Return the blocks of a growing sequence of `context` tokens, those ahead of its draft included."""
        return self.blocks(context + self._ahead)

    def join(self, context: int, clock: int) -> None:
        """Let a sequence of `context` tokens grow from now on; it holds its blocks and those ahead already."""
        self._crossing[(clock - context - self._ahead) % self.block_size] += 1
        self._growing += 1

    def leave(self, context: int, clock: int) -> None:
        """End a sequence's growth; its blocks stay held until they are given back."""
        self._crossing[(clock - context - self._ahead) % self.block_size] -= 1
        self._growing -= 1

    def lasting(self, clock: int) -> int:
        """Return the tokens that every growing sequence can still gain before the free blocks run out; at least 0."""
        growing = self._growing
        if not growing:
            return sys.maxsize
        cycles, left = divmod(max(self.free, 0), growing)
        tokens = cycles * self.block_size
        for token in range(clock, clock + self.block_size):
            left -= self._crossing[token % self.block_size]
            if left < 0:
                break
            tokens += 1
        return tokens

    def growth(self, clock: int, tokens: int) -> int:
        """Return the blocks that all growing sequences need for `tokens` more tokens each."""
        if tokens == 1:
            return self._crossing[clock % self.block_size]
        whole, rest = divmod(tokens, self.block_size)
        blocks = whole * self._growing
        for token in range(clock, clock + rest):
            blocks += self._crossing[token % self.block_size]
        return blocks
