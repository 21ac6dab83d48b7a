"""What ``--gpus`` means: catalogue text, a snapshot file, or this machine. It never plans."""

from __future__ import annotations

from hw_specs import parse_gpus
from hw_specs.spec import GpuSet
from hw_specs.units import parse_memory


def resolve_gpus(text: str | None, *, gpu_memory: str | None = None) -> GpuSet:
    """Return the GPUs that the options name.

    Raises:
        UnknownGpu, BadGpuString: when the text makes no sense.
    """
    memory_bytes = parse_memory(gpu_memory) if gpu_memory else None
    return parse_gpus(text or "auto", memory_override_bytes=memory_bytes)
