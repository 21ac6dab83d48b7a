"""What vLLM's CPU build can start: ``rehearsal.toml``."""

from planner.facts.record import Record, door
from planner.facts.vllm import Origin


class CpuBuild(Origin):
    """Values outside of these cannot be started there."""

    block_size: int
    block_size_multiple: int
    kv_cache_dtypes: tuple[str, ...]
    spare_blocks: int
    """KV blocks beyond one sequence of full length."""


class RehearsalFacts(Record):
    """The whole file."""

    cpu: CpuBuild


rehearsal_facts = door("rehearsal.toml", RehearsalFacts)
