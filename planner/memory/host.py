"""What the processes of a node's servers take of the host's memory, beside the GPUs'."""

from __future__ import annotations

from hw_specs.units import GIB
from planner.facts.preflight import preflight_facts

_TOKEN_ID_BYTES = 4


def host_processes(workers: int, *, servers: int = 1) -> int:
    """Return how many processes `servers` with so many workers in all are."""
    return workers + servers * preflight_facts().host_memory.processes_beside_ranks


def host_memory_bytes(workers: int, *, servers: int = 1, pinned_tokens: int = 0) -> int:
    """Return about how many bytes of host memory are needed, /dev/shm and pages of the checkpoint not counted.

    Args:
        workers: processes with a GPU each, of all servers.
        servers: each with an API server, an engine core and a pinned table of its own.
        pinned_tokens: token ids of one pinned table, `max_num_seqs` times `max_model_len`.

    Source: ``facts/preflight.toml``, ``host_memory`` (assumed).

    >>> host_memory_bytes(8, pinned_tokens=1024 * 262_144) / 2**30
    31.0
    """
    resident_gib = host_processes(workers, servers=servers) * preflight_facts().host_memory.per_process_gib
    return round(resident_gib * GIB) + servers * pinned_tokens * _TOKEN_ID_BYTES
