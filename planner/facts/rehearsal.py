"""What vLLM's CPU build can start: ``rehearsal.toml``."""

from functools import cache

from planner.facts.record import Record, read
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


@cache
def rehearsal_facts() -> RehearsalFacts:
    """Return what ``rehearsal.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("rehearsal.toml", RehearsalFacts)
