"""What ``--gpus`` may say: the grammar, this machine, or what a tool printed of another; it loads what is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hw_specs.errors import BadSnapshot, NoGpuFound, shown
from hw_specs.gpu_set import check_memory, parse_gpus
from hw_specs.spec import GpuSet

if TYPE_CHECKING:
    from pathlib import Path

    from hw_specs.detect import DetectionReport


def resolve_gpus(text: str | None, *, memory_override_bytes: int | None = None) -> GpuSet:
    """Return the GPUs that `text` names.

    Args:
        text: the grammar (``8xH200``); ``auto`` or None for this machine; ``@host.json`` for a snapshot, or for what
            another tool printed about one host (:mod:`hw_specs.inventory`).
        memory_override_bytes: engine-visible bytes of one GPU, where the user knows better.

    Raises:
        NoGpuFound: ``auto`` or a snapshot, and there is no GPU to plan for; the hint is the likeliest remedy.
        BadSnapshot: the file behind ``@`` is not a snapshot.
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
        BadSnapshot: the file behind ``@`` is not a snapshot.
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
        # A size from the user also makes usable what does not report its own.
        told = (replace(gpu, engine_total_bytes=gpu.engine_total_bytes or memory_override_bytes) for gpu in report.gpus)
        gpus = replace(report, gpus=tuple(told)).gpu_set
        gpus = gpus and replace(gpus, memory_override_bytes=memory_override_bytes)
    if gpus is None:
        raise _no_gpu(report)
    return gpus


def _snapshot(path: str) -> DetectionReport:
    if not path:
        raise BadSnapshot("no file is named behind `@`", hint="write `@host.json`, a file of `m35-plan detect --json`")
    from hw_specs.reading import expanded

    return report_in(expanded(path))


def report_in(path: Path) -> DetectionReport:
    """Return the report on the one host that a file is about.

    Raises:
        BadSnapshot: it cannot be read, or is about several hosts.
        NoGpuFound: the host has no GPU that can be planned for.
    """
    from hw_specs.inventory import load_hosts

    hosts = load_hosts(path)
    name = shown(str(path), characters=120)
    if len(hosts) > 1:
        hint = f"`m35-plan fleet {name}` plans for each of them"
        raise BadSnapshot(f"`{name}` is about {len(hosts)} hosts", hint=hint)
    host = hosts[0]
    if host.report is not None:
        return host.report
    if host.gpus is not None:
        raise BadSnapshot(f"`{name}` names GPUs, not devices", hint=f"write `--gpus {host.gpus}`")
    raise NoGpuFound(f"no usable GPU on {host.name}: {host.problem or 'none is listed'}", hint=host.hint)


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
