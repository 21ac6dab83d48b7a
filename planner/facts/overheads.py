"""What is neither weights nor KV cache: ``overheads.toml``. The closed forms stand in ``planner/memory``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.rows import Bounded, Row
from planner.facts.vllm import Origin


class Unseen(Origin):
    """What a fake device cannot see of a profile run."""

    unseen_high_bytes: int


class Compiled(Origin):
    """By how much a compiled MLP is above its plan."""

    hidden_bytes: int
    plain_architectures: tuple[str, ...]
    """Where 16-bit layers take what Inductor plans, and no more."""


class ColdCompile(Origin):
    """What the first start of a configuration holds while it compiles."""

    since: str
    one_rank_hidden_bytes: int
    one_rank_plain_hidden_bytes: int
    ranks_hidden_bytes: int
    flush_bytes: int
    ranks_until: str
    norm_hidden_bytes: float
    with_images_bytes_per_token: int


class Activations(Origin):
    """Constants of the profile run."""

    flashinfer_workspace_bytes: int
    sampler_bytes_per_logit: int
    native_sampler_bytes_per_logit: int
    rejection_sampler_bytes_per_logit: int
    greedy_sampler_bytes_per_logit: Mapping[str, int]
    """By how sampling is profiled."""
    sampler_bytes_per_row: int
    linear_input_bytes: Mapping[str, int]
    """By weight format."""
    activated_bytes: Mapping[str, float]
    """By weight format, where it is not `linear_input_bytes`."""
    activated_architectures: tuple[str, ...]
    bounds: Unseen
    compiled: Compiled
    cold_compile: ColdCompile


class Spread(Record):
    """A size with both bounds."""

    low_bytes: int
    expected_bytes: int
    high_bytes: int


class Segments(Bounded):
    """Memory reserved and not given out, after a profile run with and without images."""

    images: Spread
    text: Spread
    snapshot_vendor: str
    free_at_snapshot_bytes: int
    """With tensor parallelism over a fast link torch has this much reserved and free when the engine takes stock."""
    held_until: str
    """From this release on the copy of the embedding is kept only where a hidden state holds no GEMM workspace."""
    held_architectures: tuple[str, ...]
    """Prefixes of compute capabilities that kept it until then without biases in QKV."""
    held_formats: tuple[str, ...]
    """Weight formats with which it was seen at all."""


class Kept(Record):
    """What torch keeps."""

    expected_bytes: int
    high_bytes: int


class KeptAfterSampling(Origin):
    """The same once sampling has begun, by execution mode."""

    eager: Kept
    compiled: Kept


class GemmWorkspace(Origin):
    """Torch's workspace for matrix products."""

    vendor: str
    architectures: tuple[str, ...]
    bytes: int


class Sampling(Origin):
    """What the sampler reads and writes."""

    moved_bytes_per_logit: int


class Allocator(Origin):
    """How torch's caching allocator hands out tensors."""

    large_bytes: int
    """From this size on a tensor gets a segment of its own."""
    segment_bytes: int
    """Such segments are multiples of this."""
    remainder_bytes: int
    """A rest of at most this stays with the tensor and counts as allocated."""
    shared_segment_bytes: int
    """A segment for tensors that are not large enough for their own."""
    alignment_bytes: int
    """Every size is rounded up to a multiple of it."""
    small_bytes: int
    """Up to this size tensors share small segments."""
    small_segment_bytes: int

    def aligned(self, size_bytes: int) -> int:
        """`size_bytes` as they are handed out."""
        return -(-size_bytes // self.alignment_bytes) * self.alignment_bytes

    def rounding_bytes(self, size_bytes: int) -> int:
        """Bytes beyond `size_bytes` that count as allocated.

        >>> overhead_facts().allocator.rounding_bytes(21 << 20)
        1048576
        """
        if size_bytes < self.large_bytes:
            return 0
        rest = -size_bytes % self.segment_bytes
        return rest if rest <= self.remainder_bytes else 0


class SmallTensors(Record):
    """Persistent tensors, linear in tokens and sequences."""

    constant_bytes: int
    per_token_bytes: float
    per_sequence_bytes: int


class Buffers(Bounded):
    """The same by model runner."""

    v1: SmallTensors
    v2: SmallTensors
    ngram_blocks: tuple[tuple[int, int], ...]
    """Least context and the tokens of a block of the n-gram search over it, longest first."""


class CustomAllReduce(Origin):
    """The table of custom all-reduce."""

    table_bytes: int
    largest_message_bytes: int
    """Of what goes through the engine's own kernel."""


class WeightRounding(Bounded):
    """What weights take beside their tensors."""

    small_bytes: int
    high_bytes: int
    tower_layer_bytes: int
    tower_layer_shared_bytes: int


class SizedRow(Row, Bounded):
    """A size that was measured or carried over, for some ranks."""

    vendor: str
    low_gib: float
    expected_gib: float
    high_gib: float
    min_world: int = 1
    max_world: int | None = None
    linked: bool | None = None
    """Whether a fast link joins the ranks; None is either way."""
    last_stage: bool | None = None


class RowPadding(Origin):
    """FP8 rows of a multiple that get padding behind them."""

    vendor: str
    other_dialect: tuple[str, ...]
    """Architectures whose FP8 has another zero: values are compared with it first."""
    multiple_bytes: int
    padding_bytes: int


class AttentionWorkspace(Origin):
    """What an attention backend allocates after profiling."""

    architecture_prefix: str
    backend: str
    min_bytes: int
    bytes_per_token_head: int
    index_bytes_per_block: int


class Sampler(Origin):
    """Whose engine samples with which kernel."""

    flashinfer_vendors: tuple[str, ...]
    default_compute_units: int


class Calibrated(Origin):
    """By how much two starts of one configuration differ."""

    spread_bytes: int


class OverheadFacts(Record):
    """The whole file."""

    activations: Activations
    segments: Segments
    kept_after_sampling: KeptAfterSampling
    gemm_workspace: tuple[GemmWorkspace, ...]
    sampling: Sampling
    allocator: Allocator
    buffers: Buffers
    custom_allreduce: CustomAllReduce
    weights: WeightRounding
    outside_torch: tuple[SizedRow, ...]
    context: tuple[SizedRow, ...]
    fp8_row_padding: tuple[RowPadding, ...]
    attention_workspace: tuple[AttentionWorkspace, ...]
    sampler: Sampler
    calibrated: Calibrated


overhead_facts = door("overheads.toml", OverheadFacts)
