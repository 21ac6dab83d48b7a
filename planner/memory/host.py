"""What the processes of a node's servers take of the host's memory, beside the GPUs'."""

from __future__ import annotations

from hw_specs.units import GIB
from planner.facts.preflight import preflight_facts

_TOKEN_ID_BYTES = 4


def host_processes(workers: int, *, servers: int = 1, api_servers: int | None = None) -> int:
    """Return how many processes `servers` with so many workers in all are; `api_servers` of one each by default.

    >>> host_processes(8), host_processes(8, api_servers=4)
    (10, 13)
    """
    beside = servers * preflight_facts().host_memory.processes_beside_ranks
    return workers + beside + (0 if api_servers is None else api_servers - servers)


def host_memory_bytes(
    workers: int, *, servers: int = 1, pinned_tokens: int = 0, api_servers: int | None = None, adapters_bytes: int = 0
) -> int:
    """Return about how many bytes of host memory are needed, /dev/shm and pages of the checkpoint not counted.

    Args:
        workers: processes with a GPU each, of all servers.
        servers: each with an API server, an engine core and a pinned table of its own.
        pinned_tokens: token ids of one pinned table, `max_num_seqs` times `max_model_len`.
        api_servers: processes that take requests, of all servers; None is one each.
        adapters_bytes: LoRA adapters that each worker keeps.

    Source: ``facts/preflight.toml``, ``host_memory`` (assumed).

    >>> host_memory_bytes(8, pinned_tokens=1024 * 262_144) / 2**30
    31.0
    """
    processes = host_processes(workers, servers=servers, api_servers=api_servers)
    resident_gib = processes * preflight_facts().host_memory.per_process_gib
    return round(resident_gib * GIB) + servers * pinned_tokens * _TOKEN_ID_BYTES + workers * adapters_bytes
