"""What ``--gpus`` means: catalogue text, a snapshot file, or this machine. It never plans."""

from __future__ import annotations

from hw_specs import parse_gpus
from hw_specs.resolve import gpus_of, report_behind
from hw_specs.spec import GpuSet
from hw_specs.units import parse_memory


def resolve_gpus(text: str | None, *, gpu_memory: str | None = None) -> GpuSet:
    """Return the GPUs that the options name, and narrate what a probe chose and left out.

    Raises:
        UnknownGpu, BadGpuString: when the text makes no sense.
        BadSnapshot: when the file behind ``@`` is not a snapshot.
        NoGpuFound: when this machine, or the snapshot, has no GPU to plan for.
    """
    memory_bytes = None if gpu_memory is None else parse_memory(gpu_memory)
    report = report_behind(text)
    if report is None:
        return parse_gpus(text or "", memory_override_bytes=memory_bytes)
    from planner.cli.detect_text import narrate

    gpus = gpus_of(report, memory_override_bytes=memory_bytes)
    narrate(report, gpus)
    return gpus
