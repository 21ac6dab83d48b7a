"""A detection report as text: the table, the lines under it, and the notes for stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw_specs.detect.choose import Selection
from hw_specs.detect.devices import DetectedGpu, PairLink
from hw_specs.detect.report import DetectionReport
from hw_specs.spec import GpuSet
from hw_specs.units import format_gib
from planner.cli.diagnostics import say
from planner.cli.output import headed, style, table
from planner.cli.page import fold, noted_table

_KEY_WIDTH = 10
_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD"}
_LINKS = {"nvlink": "NVLink", "xgmi": "xGMI", "pcie": "PCIe", "unknown": "unknown"}
_MATCHED_BY = {"pci-id": "PCI id", "totals": "memory", "name": "name", "unknown": "unknown"}


def report_text(report: DetectionReport) -> str:
    """Return the whole report: verdict first, one row per device, then what else is known."""
    selection = report.selection
    blocks = [style(_headline(report, selection), "1")]
    if report.gpus:
        blocks.append(_device_table(report.gpus, selection))
    blocks.append(_folded(_facts(report, selection)))
    return "\n\n".join(block for block in blocks if block)


def ids_text(report: DetectionReport) -> str:
    """Return what names each device for other tools: bus address, PCI id, UUID."""
    head = ["GPU", "bus", "PCI id", "UUID"]
    rows = [
        [gpu.label, gpu.pci_bus_id, "-" if gpu.pci_device_id is None else f"0x{gpu.pci_device_id:04x}", gpu.uuid]
        for gpu in report.gpus
    ]
    return headed(table(head, rows))


def narrate(report: DetectionReport, gpus: GpuSet) -> None:
    """Say on stderr what was chosen, what was left out, and what makes the plan less certain."""
    selection = report.selection
    where = "this machine" if report.origin == "detected" else f"the snapshot of {report.hostname}"
    say("note", f"planning for {gpus} of {where}")
    chosen = selection.left_out if selection.gpu_set else ()
    for left in _grouped((left.reason, left.gpu) for left in chosen):
        say("note", f"left out: {left}")
    for warning in selection.warnings:
        say("warning", warning)
    for problem in report.problems:
        if problem.kind != "absent":
            say("warning", f"{problem.message}; {problem.hint}")


def nothing_found(report: DetectionReport) -> list[str]:
    """Return the lines that say, vendor by vendor, why nothing was found."""
    found = sorted(report.problems, key=lambda problem: problem.kind == "absent")
    return [
        line
        for problem in found
        for line in (
            _item(_VENDORS.get(problem.vendor or "", "host"), problem.message),
            _item("", f"→ {problem.hint}"),
        )
    ]


def _headline(report: DetectionReport, selection: Selection) -> str:
    where = report.hostname + (" (snapshot)" if report.origin == "snapshot" else "")
    if selection.gpu_set is None:
        return f"{where}: no GPU to plan with"
    gpus = selection.gpu_set
    each = " each" if gpus.count > 1 else ""
    text = f"{where}: {gpus.count} x {gpus.spec.name}, {format_gib(gpus.memory_bytes)} GiB{each}"
    return text + (f", {len(selection.left_out)} left out" if selection.left_out else "")


def _device_table(gpus: Sequence[DetectedGpu], selection: Selection) -> str:
    head = ["", "GPU", "as", "GiB", "free", "used", "arch", "name"]
    chosen = {(gpu.vendor, gpu.label) for gpu in selection.chosen}
    rows = [
        [
            "*" if (gpu.vendor, gpu.label) in chosen else "",
            gpu.label,
            _product(gpu),
            _size(gpu.engine_total_bytes),
            _size(gpu.free_bytes),
            _size(gpu.used_bytes),
            gpu.architecture or "-",
            _short_name(gpu),
        ]
        for gpu in gpus
    ]
    return headed(noted_table(head, rows, align="<<<>>><"))


def _facts(report: DetectionReport, selection: Selection) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for driver in report.drivers:
        versions = ", ".join(part for part in (driver.driver_version, driver.runtime) if part)
        rows.append(("driver", f"{_VENDORS[driver.vendor]} {versions}".rstrip()))
    rows += [("links", text) for text in _link_lines(report)]
    rows += [("state", text) for text in _grouped(_states(report.gpus))]
    rows += [("known by", text) for text in _grouped((_MATCHED_BY[gpu.matched_by], gpu) for gpu in report.gpus)]
    if selection.gpu_set:
        rows += [("held", holder) for holder in selection.gpu_set.holders]
    rows += [("left out", text) for text in _grouped((left.reason, left.gpu) for left in selection.left_out)]
    rows += [("note", warning) for warning in selection.warnings]
    for problem in report.problems:
        if problem.kind != "absent":
            rows += [("problem", problem.message), ("", f"→ {problem.hint}")]
    if selection.gpu_set and selection.gpu_set.env:
        rows.append(("env", " ".join(f"{name}={value}" for name, value in selection.gpu_set.env)))
    if selection.gpu_set and report.origin == "detected":
        rows.append(("plan", "m35-plan"))
    return rows


def _states(gpus: Iterable[DetectedGpu]) -> Iterable[tuple[str, DetectedGpu]]:
    for gpu in gpus:
        if gpu.slice_index is not None:
            continue
        parts = []
        if gpu.ecc is not None:
            parts.append(f"ECC {'on' if gpu.ecc else 'off'}")
        if gpu.mig_enabled is not None:
            parts.append(f"MIG {'on' if gpu.mig_enabled else 'off'}")
        if gpu.compute_partition or gpu.memory_partition:
            parts.append("/".join(part for part in (gpu.compute_partition, gpu.memory_partition) if part))
        if parts:
            yield ", ".join(parts), gpu


def _link_lines(report: DetectionReport) -> list[str]:
    """One line per vendor while all pairs are alike, else one line per kind of link."""
    lines: list[str] = []
    for vendor in dict.fromkeys(link.vendor for link in report.links):
        links = [link for link in report.links if link.vendor == vendor]
        kinds: dict[str, list[PairLink]] = {}
        for link in links:
            kinds.setdefault(_link_name(link), []).append(link)
        up = {gpu.active_links for gpu in report.gpus if gpu.vendor == vendor and gpu.active_links}
        count = f", {up.pop()} links up per GPU" if len(up) == 1 else ""
        if len(kinds) == 1:
            name = next(iter(kinds))
            every = "every pair by " if len(links) > 1 else "the pair by "
            lines.append(every + name + (count if "NVLink" in name else ""))
        else:
            lines += [f"{name}: " + " ".join(f"{link.a}-{link.b}" for link in pairs) for name, pairs in kinds.items()]
    return lines


def _link_name(link: PairLink) -> str:
    name = _LINKS[link.kind]
    if link.kind == "pcie" and link.path:
        return f"{name} ({link.path})"
    return f"{name} ({link.hops} hops)" if link.hops and link.hops > 1 else name


def _grouped(pairs: Iterable[tuple[str, DetectedGpu]]) -> list[str]:
    """``GPU 0, 1: text`` for each different text."""
    groups: dict[str, list[str]] = {}
    for text, gpu in pairs:
        groups.setdefault(text, []).append(gpu.label)
    return [f"GPU {_ranges(labels)}: {text}" for text, labels in groups.items()]


def _ranges(labels: Sequence[str]) -> str:
    """``0-7`` for a run of whole numbers, a list for anything else."""
    if len(labels) > 2 and all(label.isdecimal() for label in labels):
        numbers = sorted(map(int, labels))
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(labels)


def _product(gpu: DetectedGpu) -> str:
    """The catalogue's name of a device, or that there is none."""
    if gpu.catalogue_id is None:
        return "unknown"
    from hw_specs.detect.match import match

    spec = match(gpu).spec
    return spec.name if spec else gpu.catalogue_id


def _short_name(gpu: DetectedGpu) -> str:
    return gpu.name.removeprefix("NVIDIA ").removeprefix("AMD Instinct ")


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else format_gib(size_bytes)


def _item(key: str, text: str) -> str:
    return fold(key, text, column=_KEY_WIDTH)


def _folded(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns; a key that repeats is written once."""
    lines: list[str] = []
    last = ""
    for key, text in rows:
        lines.append(_item("" if key == last else key, text))
        last = key or last
    return "\n".join(lines)
