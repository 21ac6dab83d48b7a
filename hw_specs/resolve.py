"""What ``--gpus`` may say: the grammar, this machine, or a snapshot of another; it loads detection only if asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hw_specs.errors import BadSnapshot, NoGpuFound
from hw_specs.gpu_set import check_memory, parse_gpus
from hw_specs.reading import expanded
from hw_specs.spec import GpuSet

if TYPE_CHECKING:
    from hw_specs.detect import DetectionReport


def resolve_gpus(text: str | None, *, memory_override_bytes: int | None = None) -> GpuSet:
    """Return the GPUs that `text` names.

    Args:
        text: the grammar (``8xH200``); ``auto`` or None for this machine; ``@host.json`` for a snapshot.
        memory_override_bytes: engine-visible bytes of one GPU, where the user knows better.

    Raises:
        NoGpuFound: ``auto`` or a snapshot, and there is no GPU to plan for; the hint is the likeliest remedy.
        BadSnapshot: the file behind ``@`` is no snapshot.
        UnknownGpu: see :func:`hw_specs.parse_gpus`.
        BadGpuString: see :func:`hw_specs.parse_gpus`.
    """
    report = report_behind(text)
    if report is None:
        return parse_gpus(text or "", memory_override_bytes)
    return gpus_of(report, memory_override_bytes=memory_override_bytes)


def report_behind(text: str | None) -> DetectionReport | None:
    """Return what a probe or a snapshot says where `text` asks for one; None where it is plain grammar.

    Raises:
        BadSnapshot: the file behind ``@`` is no snapshot.
    """
    name = "auto" if text is None else text.strip()
    if name.startswith("@"):
        return _snapshot(name[1:].strip())
    if name.lower() != "auto":
        return None
    from hw_specs.detect import detect_gpus

    return detect_gpus()


def gpus_of(report: DetectionReport, *, memory_override_bytes: int | None = None) -> GpuSet:
    """Return the GPUs that `report` has to plan for.

    Raises:
        NoGpuFound: it has none.
    """
    if memory_override_bytes is None:
        gpus = report.gpu_set
    else:
        check_memory(memory_override_bytes)
        # A size from the user also makes usable what does not tell its own.
        told = (replace(gpu, engine_total_bytes=gpu.engine_total_bytes or memory_override_bytes) for gpu in report.gpus)
        gpus = replace(report, gpus=tuple(told)).gpu_set
        gpus = gpus and replace(gpus, memory_override_bytes=memory_override_bytes)
    if gpus is None:
        raise _no_gpu(report)
    return gpus


def _snapshot(path: str) -> DetectionReport:

    from hw_specs.detect.snapshot import load_report

    if not path:
        raise BadSnapshot("no file is named behind `@`", hint="write `@host.json`, a file of `m35-plan detect --json`")
    return load_report(expanded(path))


def _no_gpu(report: DetectionReport) -> NoGpuFound:
    """Say why there is nothing to plan for."""
    where = "on this machine" if report.origin == "detected" else f"in the snapshot of {report.hostname}"
    left_out = report.selection.left_out
    if left_out:
        first = left_out[0]
        return NoGpuFound(
            f"no usable GPU {where}: GPU {first.gpu.label} ({first.gpu.name}) is left out, {first.reason}",
            hint="`m35-plan detect` shows all; `--gpus 8xH200` plans for GPUs that are elsewhere",
        )
    broken = next((problem for problem in report.problems if problem.kind != "absent"), None)
    if broken:
        return NoGpuFound(f"no GPU found {where}: {broken.message}", hint=broken.hint)
    return NoGpuFound(
        f"no GPU found {where}",
        hint="name the GPUs to plan for, as in `--gpus 8xH200`; `m35-plan detect` says what was tried",
    )
