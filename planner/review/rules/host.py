"""The host memory that a container or a unit may take, against what the server's processes need."""

from __future__ import annotations

from collections.abc import Iterator

from hw_specs.units import GIB, format_gib
from planner.rendering.emitters.image import host_memory_need, host_needs
from planner.review.case import Case
from planner.review.findings import Finding, finding
from planner.review.memory import Memory


def find(case: Case, memory: Memory) -> Iterator[Finding]:
    """Yield a limit of host memory below what ``m35-plan check`` wants of the host."""
    server = case.server
    limit = server.host_memory
    # A server without GPUs holds other things in memory.
    if limit is None or case.ranks is None or case.vendor not in ("nvidia", "amd"):
        return
    need, said = host_memory_need(memory.plan, workers=min(case.ranks, case.available or case.ranks))
    if limit.bytes >= need:
        return
    message = (
        f"its host memory is limited to {format_gib(limit.bytes)} GiB, and about {format_gib(need)} GiB are needed "
        f"for {said}"
    )
    cure = f"a limit of {format_gib(need)} GiB at the least"
    if memory.plan is not None and memory.plan.gpus.nodes == 1:
        with_room = host_needs(memory.plan).memory_gib
        if with_room * GIB > need:
            cure += f"; {with_room} GiB leave room for /dev/shm and the loading of the checkpoint"
    yield finding("host-memory-limit", message, limit.at, cure=cure)
