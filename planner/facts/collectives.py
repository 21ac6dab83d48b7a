"""What ranks that work together take for it: ``collectives.toml``. The closed forms stand in ``planner/memory``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.rows import Bounded, Row
from planner.facts.vllm import Origin


class Communicators(Bounded):
    """One communicator of some vendor's GPUs."""

    vendor: str
    architectures: tuple[str, ...] = ()
    each_gib: float
    custom_all_reduce_bytes: int = 0
    low_gib: float
    high_gib: float


class PipelineTransfers(Bounded):
    """What the first transfers between stages take."""

    architectures: tuple[str, ...]
    first_gib: float
    later_gib: float
    low_gib: float
    high_gib: float


class SymmetricMemory(Origin):
    """The buffer of torch's symmetric-memory all-reduce."""

    size_mib: Mapping[str, Mapping[str, int]]
    """By architecture and ranks."""


class LargestFused(Record):
    """From a release on: the largest tensor that is fused."""

    since: str
    size_mib: Mapping[str, Mapping[str, float]]
    """By architecture and ranks."""


class FusedWorkspace(Record):
    """FlashInfer's buffers."""

    lamport_buffers: int
    one_shot_bytes: int
    segment_bytes: int
    multicast_granularity_bytes: int
    beside_bytes: int
    beside_source: str
    granularity_source: str


class Surely(Row):
    """Where every start showed the workspace."""

    source: str


class FusedAllReduce(Bounded):
    """The workspace of all-reduce fused with the norm."""

    architectures: tuple[str, ...]
    largest: tuple[LargestFused, ...]
    surely: tuple[Surely, ...]
    workspace: FusedWorkspace


class CollectiveFacts(Record):
    """The whole file."""

    communicators: tuple[Communicators, ...]
    pipeline_transfers: PipelineTransfers
    symmetric_memory: SymmetricMemory
    fused_all_reduce: FusedAllReduce


collective_facts = door("collectives.toml", CollectiveFacts)
