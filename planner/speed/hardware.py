"""The numbers of a GPU and its link that decide speed, and the time of an all-reduce; it never knows a model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from hw_specs.spec import GpuSpec
from planner.facts.overheads import overhead_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Peaks of one GPU and what is known of its collectives."""

    name: str
    vendor: str
    bandwidth_bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """Dense peak by arithmetic; a missing format computes in BF16."""
    link_bytes_per_s: float | None
    """One way, all links of a GPU."""
    pair_bytes_per_s: float | None
    """One way between two GPUs."""
    allreduce_s: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    """Measured seconds by tensor-parallel size and message bytes; empty where no table is published."""

    fusion_max_bytes: Mapping[int, int] = field(default_factory=dict)
    """Largest message by tensor-parallel size that the engine fuses with the norm behind it."""
    cache_bytes: int = 0
    """The last cache in front of the memory; 0 where its size is not known."""

    def peak(self, arithmetic: str) -> float:
        """Return the peak for an arithmetic, falling back to BF16 where the hardware lacks it."""
        return self.flops_per_s.get(arithmetic) or self.flops_per_s["bf16"]


def allreduce_seconds(
    hardware: Hardware,
    message_bytes: float,
    tensor_parallel_size: int,
    *,
    link_share: float,
    custom_bytes_per_s: float,
    fused_share: float = 1.0,
) -> float:
    """Return the seconds of one all-reduce, from the table where there is one.

    Between table entries the time is linear in the size. Beyond the last one, and without a table, a two-stage
    exchange over the direct links is assumed: ``2 (n - 1) / n`` of the message leaves each GPU, at `link_share` of
    the link, and small messages at no more than `custom_bytes_per_s`. Messages small enough to be fused with the norm
    take `fused_share` of the table's time.

    Raises:
        ValueError: when neither a table nor a link speed is known.
    """
    if tensor_parallel_size == 1:
        return 0.0
    speed = usable_link_bytes_per_s(hardware, tensor_parallel_size)
    volume = 2 * (tensor_parallel_size - 1) / tensor_parallel_size
    table = hardware.allreduce_s.get(tensor_parallel_size)
    if not table:
        if speed is None:
            raise ValueError(f"no link speed is known for {hardware.name}")
        reached = speed * link_share
        if message_bytes <= overhead_facts().custom_allreduce.largest_message_bytes:
            reached = min(reached, custom_bytes_per_s)
        return volume * message_bytes / reached
    sizes, times = list(table), list(table.values())
    share = fused_share if message_bytes <= hardware.fusion_max_bytes.get(tensor_parallel_size, 0) else 1.0
    if message_bytes >= sizes[-1]:
        slope = volume / (speed * link_share) if speed else (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
        return share * (times[-1] + slope * (message_bytes - sizes[-1]))
    if message_bytes <= sizes[0]:
        return share * times[0]
    index = bisect_left(sizes, message_bytes)
    part = (message_bytes - sizes[index - 1]) / (sizes[index] - sizes[index - 1])
    return share * (times[index - 1] + part * (times[index] - times[index - 1]))


def usable_link_bytes_per_s(hardware: Hardware, tensor_parallel_size: int) -> float | None:
    """Return what one GPU can send one way to its group: pair links add up on a mesh, a switch gives all at once."""
    if hardware.link_bytes_per_s is None:
        return hardware.pair_bytes_per_s
    if hardware.pair_bytes_per_s is None:
        return hardware.link_bytes_per_s
    return min(hardware.link_bytes_per_s, hardware.pair_bytes_per_s * (tensor_parallel_size - 1))


def hardware_of(gpu: GpuSpec) -> Hardware:
    """Return the speeds of a catalogue entry, with its all-reduce table or that of the GPU whose link it shares."""
    from hw_specs.allreduce import load_allreduce, load_allreduce_thresholds
    from planner.facts.speed import speed_facts

    table = load_allreduce(gpu.id)
    if table is None:
        borrowed = speed_facts().borrowed_allreduce.get(gpu.id)
        table = load_allreduce(borrowed.lender) if borrowed else None
    flops = {"bf16": gpu.bf16_flops_per_s, "fp8": gpu.fp8_flops_per_s, "fp4": gpu.fp4_flops_per_s}
    return Hardware(
        name=gpu.name,
        vendor=gpu.vendor,
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s,
        flops_per_s={name: float(peak) for name, peak in flops.items() if peak},
        link_bytes_per_s=gpu.link.bytes_per_s,
        pair_bytes_per_s=gpu.link.pair_bytes_per_s,
        allreduce_s={size: {message: us * 1e-6 for message, us in row.items()} for size, row in table.us_by_tp.items()}
        if table
        else {},
        fusion_max_bytes=load_allreduce_thresholds().fusion_max_bytes.get(gpu.architecture, {}),
        cache_bytes=next((cache.bytes for cache in speed_facts().last_cache.values() if gpu.id in cache.gpus), 0),
    )
