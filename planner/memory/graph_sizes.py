"""Which steps run as graphs: the sizes that are captured, by mode, release and adapters. It knows no bytes."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

from planner.facts.graphs import graph_facts
from planner.facts.release import Release, parse_version
from planner.memory.rank import RankShape
from planner.settings import CudagraphMode


@cache
def capture_sizes(largest: int) -> tuple[int, ...]:
    """Return the sizes up to `largest` on the engine's stride: 1, 2, 4, then every 8 to 248, every 16 from 256 on.

    Source: vllm/config/vllm.py _set_cudagraph_sizes of 0.19.0 to 0.33.0; the progress bars count 19, 35 and 51.

    >>> [len(capture_sizes(largest)) for largest in (128, 256, 512)]
    [19, 35, 51]
    """
    return tuple(size for size in (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)) if size <= largest)


def captured_tokens(ceiling: int, max_num_seqs: int, per_sequence: int = 1) -> int:
    """Return the tokens of the largest step that a graph covers, where a release captures up to `ceiling`.

    A sequence takes `per_sequence` tokens of a step: one, and those drafted. Source: as :func:`capture_sizes`.

    >>> captured_tokens(512, 1024), captured_tokens(512, 128), captured_tokens(512, 32, per_sequence=4)
    (512, 256, 256)
    """
    return min(2 * max_num_seqs * per_sequence, ceiling)


class GraphSizes(NamedTuple):
    """What is captured: the tokens of each step whose pieces are graphs, and of each that is one graph as a whole."""

    of_pieces: tuple[int, ...]
    of_full: tuple[int, ...]
    cases: int
    """Graphs of each size: with adapters there are several, which share the tensors of a step."""

    @property
    def pieces(self) -> int:
        """Graphs of pieces."""
        return self.cases * len(self.of_pieces)

    @property
    def full(self) -> int:
        """Graphs of whole steps."""
        return self.cases * len(self.of_full)

    @property
    def tokens(self) -> int:
        """Tokens of the largest full graph; 0 where there is none."""
        return max(self.of_full, default=0)

    @property
    def steps(self) -> int:
        """Sizes that are captured at all."""
        return len(self.of_pieces or self.of_full)


def graph_sizes(shape: RankShape) -> GraphSizes:
    """Return what a rank captures, by mode, sizes and adapters.

    With adapters each size is captured without any, and again for the most of a step, or with
    ``specialize_active_lora`` for powers of two up to them. Source: vllm/v1/worker/gpu/cudagraph_utils.py
    _init_candidates, v1/cudagraph_dispatcher.py and lora/utils.py get_captured_lora_counts of 0.19.0 to 0.33.0.
    """
    if not shape.captures:
        return GraphSizes((), (), 1)
    per_sequence = 1 + shape.speculative_tokens
    sizes = step_sizes(
        shape.release,
        shape.gpu.architecture,
        max_num_seqs=shape.max_num_seqs,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        per_sequence=per_sequence,
        cudagraph_capture_sizes=shape.cudagraph_capture_sizes,
        max_cudagraph_capture_size=shape.max_cudagraph_capture_size,
    )
    mode, cases = cudagraph_mode(shape), _cases(shape)
    if mode == "FULL":
        return GraphSizes((), sizes, cases)
    most = min(shape.max_num_seqs * per_sequence, max(sizes, default=0))
    decoding = _whole_sequences(sizes, per_sequence, most) if mode != "PIECEWISE" else ()
    return GraphSizes(sizes if mode != "FULL_DECODE_ONLY" else (), decoding, cases)


def step_sizes(
    release: Release,
    architecture: str,
    *,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    per_sequence: int,
    cudagraph_capture_sizes: tuple[int, ...] | None,
    max_cudagraph_capture_size: int | None,
) -> tuple[int, ...]:
    """Return the tokens of the steps that are captured, in ascending order: those asked for, or the release's own list.

    A sequence takes `per_sequence` tokens of a step: one, and those drafted. Runner V1 captures whole sequences alone.
    Source: vllm/config/compilation.py adjust_cudagraph_sizes_for_spec_decode of 0.19.1 to 0.33.0.
    """
    if cudagraph_capture_sizes is not None:
        sizes = tuple(sorted({size for size in cudagraph_capture_sizes if size <= max_num_batched_tokens}))
    else:
        asked, ceiling = max_cudagraph_capture_size, release.largest_graph_tokens(architecture)
        largest = asked or captured_tokens(ceiling, max_num_seqs, per_sequence)
        version, listed = parse_version(release.version), 0 if asked else max_num_seqs
        sizes = _own_sizes(version, max_num_batched_tokens, largest, listed, per_sequence, ceiling)
    if release.model_runner == "v1" and per_sequence > 1:
        return _whole_sequences(sizes, per_sequence, max(sizes, default=0))
    return sizes


@lru_cache(maxsize=256)
def _own_sizes(
    version: tuple[int, int, int], most: int, largest: int, max_num_seqs: int, per_sequence: int, ceiling: int
) -> tuple[int, ...]:
    """The release's list of sizes up to `largest`, where no step has more than `most` tokens.

    From one release on the largest step is in it, and from later ones on what `max_num_seqs` sequences that decode
    take, each `per_sequence` tokens; 0 sequences where `largest` was asked for. Source: ``graphs.toml``, ``sizes``.
    """
    facts = graph_facts().sizes
    found = set(capture_sizes(min(largest, most)))
    if most <= largest and version >= parse_version(facts.largest_step_since):
        found.add(most)
    since = facts.drafted_since if per_sequence > 1 else facts.sequences_since
    if max_num_seqs and version >= parse_version(since):
        count = min(max_num_seqs, ceiling)
        counts = {*capture_sizes(count), count} if per_sequence > 1 else {max_num_seqs}
        found |= {n * per_sequence for n in counts if n * per_sequence <= min(largest, most)}
    return tuple(sorted(found))


@lru_cache(maxsize=256)
def _whole_sequences(sizes: tuple[int, ...], per_sequence: int, most: int) -> tuple[int, ...]:
    """`sizes` in whole sequences, as far as they have at most `most` tokens then."""
    rounded = {-(-size // per_sequence) * per_sequence for size in sizes}
    return tuple(sorted(size for size in rounded if size <= most))


def cudagraph_mode(shape: RankShape) -> CudagraphMode:
    """Return the mode that the engine makes of what it is told: ``FULL`` needs attention that captures any batch."""
    if not shape.captures:
        return "NONE"
    modes = graph_facts().modes
    mode = shape.cudagraph_mode or modes.default
    any_batch = shape.gpu.architecture.startswith(modes.full_architectures)
    return modes.default if mode == "FULL" and not any_batch else mode


def _cases(shape: RankShape) -> int:
    """Graphs of each size: one, and with adapters one for each number of them that is told apart."""
    if shape.lora is None:
        return 1
    most = shape.lora.max_loras + 1
    # Powers of two up to the most, and the most itself.
    told_apart = most.bit_length() + (most & (most - 1) != 0)
    return 1 + (told_apart if shape.lora.specialize_active_lora else 1)
