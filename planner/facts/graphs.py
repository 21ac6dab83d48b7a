"""What CUDA and HIP graphs take: ``graphs.toml``. The closed forms stand in ``planner/memory/graphs.py``."""

from typing import Literal

from planner.facts.record import Record, door
from planner.facts.rows import Bounded, Row
from planner.facts.vllm import Origin


class AttentionBlock(Record):
    """A workspace of fixed size."""

    architectures: tuple[str, ...]
    bytes: int
    basis: str
    source: str


class Attention(Origin):
    """What attention writes in a graph."""

    splits: int
    bytes: int
    architectures: tuple[str, ...]
    """Where the kernel takes it; other kernels take nothing of the kind."""
    workspace: AttentionBlock


class Misses(Row, Bounded):
    """Where a line applies, and by how much it missed."""

    vendor: str
    low_gib: float
    high_gib: float
    floor_gib: float = 0.0
    per_layer_mib: float
    per_layer_unfused_mib: float
    """The same where all-reduce and norm are not fused."""
    custom_all_reduce_bytes: int = 0
    """Up to this tensor vLLM's own all-reduce costs no more than a fused one, so that ``per_layer_unfused_mib`` is what
    NCCL costs; 0 where the two were not told apart."""
    draft_gib: float = 0.0
    eagle3_spared_copies: float = 0.0
    """Attention buffers of the draft's decode graphs that an EAGLE-3 head did not take."""


class Captured(Misses):
    """What capturing takes."""

    copies_one_rank: float
    """Copies of the attention buffer."""
    copies: float
    per_size_mib: float
    layers_of_full_sizes: bool = False
    """Whether layers pay per full size, not per piecewise one: the estimate left those their memory."""
    draft_step_copies: float
    draft_per_size_mib: float = 0.0
    """A fixed part per size of the draft's own graphs."""
    draft_sequence_copies_one_rank: float
    """Copies of that buffer in the draft's own decode graphs."""
    draft_sequence_copies: float


class Cached(Origin):
    """What is cached before the second full graph is captured."""

    large_bytes: int
    large_ranks: int
    large_copies: float
    large_low_copies: float
    small_copies: float
    low_copies: float
    high_copies: float
    per_full_bytes: int


class HipBounds(Row):
    """By what share a HIP graph's size may be off."""

    low_factor: float
    high_factor: float
    text: str


class Hip(Origin):
    """HIP graphs."""

    vendors: tuple[str, ...]
    constant_gib: float
    per_piece_mib: float
    per_full_mib: float
    estimate_factor: float
    bounds: tuple[HipBounds, ...]


class Drafts(Origin):
    """The drafts that coefficients were read from."""

    num_speculative_tokens: int


class Modes(Origin):
    """Which steps run as graphs."""

    default: Literal["FULL_AND_PIECEWISE"]
    full_architectures: tuple[str, ...]
    """Where attention captures batches of any shape."""


class Sizes(Origin):
    """First releases whose own list of sizes has more than its stride."""

    largest_step_since: str
    """The most tokens of a step."""
    drafted_since: str
    """Whole numbers of sequences that decode with a draft."""
    sequences_since: str
    """As many sequences as decode at once, where nothing drafts."""


class GraphFacts(Record):
    """The whole file."""

    modes: Modes
    sizes: Sizes
    attention: Attention
    drafts: Drafts
    captured: tuple[Captured, ...]
    captured_v1: tuple[Captured, ...]
    """The same of runner V1; its estimate is as large where `estimated_v1` has no row."""
    estimated_v1: tuple[Captured, ...]
    estimated: tuple[Misses, ...]
    cached: Cached
    hip: Hip


graph_facts = door("graphs.toml", GraphFacts)
