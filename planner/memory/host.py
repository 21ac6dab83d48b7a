"""What one server's processes take of the host's memory, beside the GPUs'."""

from __future__ import annotations

from hw_specs.units import GIB
from planner.facts.preflight import preflight_facts

_TOKEN_ID_BYTES = 4


def host_memory_bytes(workers: int, *, pinned_tokens: int = 0) -> int:
    """Return about how many bytes of host memory a server needs.

    Args:
        workers: processes with a GPU each.
        pinned_tokens: token ids of the pinned table, `max_num_seqs` times `max_model_len`.

    Source: ``facts/preflight.toml``, ``host_memory`` (assumed).

    >>> host_memory_bytes(8, pinned_tokens=1024 * 262_144) / 2**30
    31.0
    """
    facts = preflight_facts().host_memory
    return (
        round((workers + facts.processes_beside_ranks) * facts.per_process_gib * GIB) + pinned_tokens * _TOKEN_ID_BYTES
    )
