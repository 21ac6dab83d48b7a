"""What torch keeps beside weights that are rewritten after loading, replayed on its allocator; it knows no release.

On ROCm an FP8 matrix is requantised in parts, copied with padded rows, and the plain one freed. The copy takes the
smallest free block that holds it, often a piece of a temporary's: the rest of that segment stays with it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import lru_cache
from typing import NamedTuple

from planner.facts.overheads import Allocator

REPLAYED_LAYERS, PERIOD_LAYERS = 12, 8
"""How much is replayed: what a layer leaves repeats, at the latest after eight, as the longer replays of tests show."""


class Rewritten(NamedTuple):
    """One matrix that is rewritten: the rows of the parts it was merged from, its columns, and padding behind a row."""

    parts: tuple[int, ...]
    columns: int
    padding_bytes: int


class Kept(NamedTuple):
    """Bytes reserved beside the tensors: with what is cached, and after the cache is emptied."""

    cached: int
    holes: int


class _Block:
    """A piece of a segment, with its neighbours."""

    __slots__ = ("after", "before", "bytes", "free")

    def __init__(self, size: int, *, before: _Block | None = None, after: _Block | None = None) -> None:
        self.bytes, self.free, self.before, self.after = size, True, before, after

    @property
    def whole(self) -> bool:
        """Whether it is all of its segment."""
        return self.before is None and self.after is None


class _Memory:
    """Best fit with splitting and merging, for tensors that are larger than the small segments' limit.

    Source: PyTorch 2.10 c10/cuda/CUDACachingAllocator.cpp get_free_block, should_split, free_block, release_blocks.
    """

    def __init__(self, rules: Allocator) -> None:
        self.rules = rules
        self.free: list[tuple[int, int, _Block]] = []
        self.reserved = self.used = 0

    def take(self, size: int) -> _Block:
        """Return a block for `size` bytes."""
        at = bisect_left(self.free, (size,))
        if at < len(self.free):
            block = self.free.pop(at)[2]
        else:
            step, shared = self.rules.segment_bytes, self.rules.shared_segment_bytes
            block = _Block(shared if size < self.rules.large_bytes else -(-size // step) * step)
            self.reserved += block.bytes
        rest = block.bytes - size
        if rest > self.rules.remainder_bytes:
            left = _Block(rest, before=block, after=block.after)
            if block.after is not None:
                block.after.before = left
            block.after, block.bytes = left, size
            insort(self.free, (rest, id(left), left))
        block.free = False
        self.used += block.bytes
        return block

    def give(self, block: _Block) -> None:
        """Free `block` and merge it with free neighbours."""
        self.used -= block.bytes
        block.free = True
        after, before = block.after, block.before
        if after is not None and after.free:
            self._forget(after)
            block.bytes += after.bytes
            block.after = after.after
            if block.after is not None:
                block.after.before = block
        if before is not None and before.free:
            self._forget(before)
            before.bytes += block.bytes
            before.after = block.after
            if before.after is not None:
                before.after.before = before
            block = before
        insort(self.free, (block.bytes, id(block), block))

    def _forget(self, block: _Block) -> None:
        del self.free[bisect_left(self.free, (block.bytes, id(block)))]

    def empty(self) -> None:
        """Give whole segments back to the device."""
        self.reserved -= sum(size for size, _, block in self.free if block.whole)
        self.free = [entry for entry in self.free if not entry[2].whole]


def kept_beside(
    layer: tuple[Rewritten, ...], layers: int, rules: Allocator, *, masked: bool, requantised: bool
) -> Kept:
    """Return what stays reserved once the matrices of `layers` equal layers, all loaded before, have been rewritten.

    What a layer leaves repeats, at the latest after eight: a model of more than twelve is continued from those.
    Matrices that share segments are left out, and what is free in a segment before anything is rewritten.
    """
    large = tuple(each for each in layer if sum(each.parts) * each.columns >= rules.large_bytes)

    def replayed(count: int) -> Kept:
        return _replayed(large * count, rules, masked=masked, requantised=requantised)

    if layers <= REPLAYED_LAYERS:
        return replayed(layers)
    end, start = replayed(REPLAYED_LAYERS), replayed(REPLAYED_LAYERS - PERIOD_LAYERS)
    periods = (layers - REPLAYED_LAYERS) / PERIOD_LAYERS
    return Kept(*(round(last + periods * (last - first)) for last, first in zip(end, start, strict=True)))


@lru_cache(maxsize=64)
def _replayed(matrices: tuple[Rewritten, ...], rules: Allocator, *, masked: bool, requantised: bool) -> Kept:
    """What stays reserved once `matrices`, all of them loaded before, have been rewritten in their order.

    With `masked` each is compared with the pattern that means zero in one dialect of FP8 and not a number in the other;
    with `requantised` each part is made 16 bits wide, twice, and FP8 again.

    Source: vLLM 0.19.1 to 0.33.0, quantization/utils/fp8_utils.py process_fp8_weight_tensor_strategy and
    _maybe_pad_fp8_weight, w8a8_utils.py normalize_e4m3fn_to_e4m3fnuz and requantize_with_max_scale.
    """
    memory = _Memory(rules)
    held = [memory.take(sum(each.parts) * each.columns) for each in matrices]
    before = memory.reserved - memory.used
    for at, each in enumerate(matrices):
        rows = sum(each.parts)
        if masked:
            memory.give(memory.take(rows * each.columns))
        wide: _Block | None = None
        for part in each.parts if requantised else ():
            narrow = memory.take(2 * part * each.columns)
            scaled = memory.take(2 * part * each.columns)
            memory.give(narrow)
            memory.give(memory.take(part * each.columns))
            if wide is not None:
                memory.give(wide)
            wide = scaled
        if wide is not None:
            memory.give(wide)
        if each.padding_bytes:
            padded = memory.take(rows * (each.columns + each.padding_bytes))
            memory.empty()
            memory.give(held[at])
            held[at] = padded
    cached = memory.reserved - memory.used
    memory.empty()
    return Kept(max(0, cached - before), max(0, memory.reserved - memory.used - before))
