"""Which steps run as graphs: the sizes that are captured, by mode, release and adapters. It knows no bytes."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from planner.facts.graphs import graph_facts
from planner.memory.rank import RankShape
from planner.settings import CudagraphMode


@cache
def capture_sizes(largest: int) -> int:
    """Return how many batch sizes up to `largest` get a graph: 1, 2, 4, then every 8 to 248, every 16 from 256 on.

    Source: vLLM 0.26.0 and 0.33.0 config/vllm.py; the progress bars count 19, 35 and 51.

    >>> capture_sizes(128), capture_sizes(256), capture_sizes(512)
    (19, 35, 51)
    """
    fine, coarse = min(largest, 256), max(largest - 256, 0)
    return sum(size <= largest for size in (1, 2, 4)) + fine // 8 + coarse // 16


def captured_tokens(ceiling: int, max_num_seqs: int, per_sequence: int = 1) -> int:
    """Return the tokens of the largest step that a graph covers, where a release captures up to `ceiling`.

    A sequence takes `per_sequence` tokens of a step: one, and those drafted. Source: as :func:`capture_sizes`.

    >>> captured_tokens(512, 1024), captured_tokens(512, 128), captured_tokens(512, 32, per_sequence=4)
    (512, 256, 256)
    """
    return min(2 * max_num_seqs * per_sequence, ceiling)


class GraphSizes(NamedTuple):
    """What is captured: graphs of pieces and of whole steps, and how large they are."""

    pieces: int
    full: int
    tokens: int
    """Tokens of the largest full graph; 0 where there is none."""
    steps: int
    """Sizes that are captured at all: with adapters each has several graphs, which share the tensors of a step."""
    cases: int
    """Graphs of each size."""


def graph_sizes(shape: RankShape) -> GraphSizes:
    """Return what a rank captures, by mode, sizes and adapters.

    With adapters each size is captured without any, and again for the most of a step, or with
    ``specialize_active_lora`` for powers of two up to them. Source: vllm/v1/worker/gpu/cudagraph_utils.py
    _init_candidates, v1/cudagraph_dispatcher.py and lora/utils.py get_captured_lora_counts of 0.19.0 to 0.33.0.
    """
    if not shape.captures:
        return GraphSizes(0, 0, 0, 0, 1)
    per_sequence = 1 + shape.speculative_tokens
    if shape.cudagraph_capture_sizes is not None:
        sizes = sorted({size for size in shape.cudagraph_capture_sizes if size <= shape.max_num_batched_tokens})
        steps, largest = len(sizes), max(sizes, default=0)
        decode = min(shape.max_num_seqs * per_sequence, largest)
        rounded = {-(-size // per_sequence) * per_sequence for size in sizes}
        decoding = sum(size <= decode for size in rounded)
        decode = max((size for size in rounded if size <= decode), default=0)
    else:
        ceiling = shape.release.largest_graph_tokens(shape.gpu.architecture)
        largest = shape.max_cudagraph_capture_size or captured_tokens(ceiling, shape.max_num_seqs, per_sequence)
        largest = min(largest, shape.max_num_batched_tokens)
        steps, decode = capture_sizes(largest), min(shape.max_num_seqs * per_sequence, largest)
        decoding = capture_sizes(decode) - sum(size % per_sequence > 0 for size in (1, 2, 4) if size <= decode)
    cases = _cases(shape)
    mode = cudagraph_mode(shape)
    if mode == "FULL":
        return GraphSizes(0, cases * steps, largest, steps, cases)
    pieces = cases * steps if mode in ("PIECEWISE", "FULL_AND_PIECEWISE") else 0
    full = cases * decoding if mode in ("FULL_DECODE_ONLY", "FULL_AND_PIECEWISE") else 0
    return GraphSizes(pieces, full, decode if full else 0, steps if pieces else decoding, cases)


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
    told_apart = sum(n & (n - 1) == 0 or n == most for n in range(1, most + 1))
    return 1 + (told_apart if shape.lora.specialize_active_lora else 1)
