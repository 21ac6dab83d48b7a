"""The KV pool of one replica: who holds how many blocks while all sequences grow together; it never knows a time."""

from __future__ import annotations

import sys


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

    def blocks(self, tokens: int) -> int:
        """Return the blocks that hold `tokens`."""
        return -(-tokens // self.block_size)

    @property
    def free(self) -> int:
        """Free blocks."""
        return self.num_blocks - self.used

    def take(self, blocks: int) -> None:
        """Hold `blocks` more."""
        self.used += blocks
        self.peak = max(self.peak, self.used)

    def give_back(self, blocks: int) -> None:
        """Free `blocks`."""
        self.used -= blocks

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
