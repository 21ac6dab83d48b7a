"""What ``nvidia-smi`` prints for programs: ``-q -x``, ``--query-gpu … --format=csv`` and ``-L``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from xml.etree import ElementTree

from hw_specs.detect.devices import DetectedGpu, Driver, GpuProcess
from hw_specs.errors import BadSnapshot, shown
from hw_specs.facts import architectures
from hw_specs.inventory.host import MOST_GPUS, Found, Host, device, host_of, identify, mib
from hw_specs.mig import profile_with

_LISTED = re.compile(r"^\s*GPU (?P<index>\d{1,4}): (?P<name>.*?)(?: \(UUID: (?P<uuid>[^)]*)\))?\s*$")
_LISTED_SLICE = re.compile(
    r"^\s*MIG (?P<profile>\S+)\s+Device\s+(?P<index>\d{1,4}):(?: \(UUID: (?P<uuid>[^)]*)\))?\s*$"
)
_COLUMN = re.compile(r"[a-z0-9_.]+(?: \[[A-Za-z%/]+\])?")
_HOSTS = ("host", "hostname", "node", "nodename")
_TRIED = 8
"""Rows without a head among which one must name a GPU; a long list of another kind is not looked at in whole."""
_MOST_LINES = 20_000


def read_xml(text: str, *, where: str, name: str) -> tuple[Host, ...]:
    """Return the host that ``nvidia-smi -q -x`` describes.

    Raises:
        BadSnapshot: it is something else, or damaged.
    """
    if "<!ENTITY" in text:
        raise BadSnapshot(f"{where} declares entities, which nvidia-smi never writes", hint=_HINT)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadSnapshot(f"{where} is not whole XML: {error}", hint=_HINT) from error
    if root.tag != "nvidia_smi_log":
        raise BadSnapshot(f"{where} is not an output of `nvidia-smi -q -x`", hint=_HINT)
    driver = Driver(
        vendor="nvidia",
        driver_version=_known(root.findtext("driver_version")),
        runtime=f"CUDA {version}" if (version := _known(root.findtext("cuda_version"))) else None,
    )
    devices: list[DetectedGpu] = []
    notes: list[str] = []
    for index, node in enumerate(islice(root.iter("gpu"), MOST_GPUS + 1)):
        devices += _of_xml(node, index, notes)
    return (host_of(name, devices, drivers=(driver,), notes=notes),)


_HINT = "write it on the host with `nvidia-smi -q -x > host.xml`"


def _of_xml(node: ElementTree.Element, index: int, notes: list[str]) -> Iterator[DetectedGpu]:
    total, capabilities = mib(node.findtext("fb_memory_usage/total")) or None, architectures().nvidia.of_name
    device_id = _hex(node.findtext("pci/pci_device_id"))
    found = identify(node.findtext("product_name") or "unnamed GPU", total_bytes=total, device_id=device_id)
    notes += found.notes
    divided = _known(node.findtext("mig_mode/current_mig")) == "Enabled"
    bus = _known(node.findtext("pci/pci_bus_id")) or ""
    ecc = _known(node.findtext("ecc_mode/current_ecc"))
    yield device(
        found,
        index=index,
        vendor="nvidia",
        total_bytes=total,
        reserved_bytes=mib(node.findtext("fb_memory_usage/reserved")) if total else None,
        architecture=None if found.spec else capabilities.get(node.findtext("product_architecture") or ""),
        uuid=_known(node.findtext("uuid")) or "",
        pci_bus_id=bus,
        pci_device_id=device_id,
        free_bytes=None if divided else mib(node.findtext("fb_memory_usage/free")),
        used_bytes=None if divided else mib(node.findtext("fb_memory_usage/used")),
        processes=() if divided else tuple(_processes(node)),
        ecc=None if ecc is None else ecc == "Enabled",
        mig_enabled=divided if _known(node.findtext("mig_mode/current_mig")) else None,
    )
    if divided:
        for number, part in enumerate(islice(node.iterfind("mig_devices/mig_device"), MOST_GPUS)):
            yield _slice_of_xml(part, number, index, found, bus)


def _slice_of_xml(part: ElementTree.Element, number: int, index: int, found: Found, bus: str) -> DetectedGpu:
    size = mib(part.findtext("fb_memory_usage/total")) or None
    profile = profile_with(found.spec, size) if found.spec is not None and size else None
    units = part.findtext("device_attributes/shared/multiprocessor_count") or ""
    slice_index = part.findtext("index") or ""
    return device(
        Found(name=found.name, spec=found.spec, profile=profile, by=found.by),
        index=index,
        vendor="nvidia",
        slice_index=int(slice_index) if slice_index.isdecimal() and len(slice_index) < 5 else number,
        total_bytes=size,
        uuid=_known(part.findtext("uuid")) or "",
        pci_bus_id=bus,
        free_bytes=mib(part.findtext("fb_memory_usage/free")),
        used_bytes=mib(part.findtext("fb_memory_usage/used")),
        compute_units=int(units) if units.isdecimal() and len(units) < 5 else None,
    )


def _processes(node: ElementTree.Element) -> Iterator[GpuProcess]:
    for process in islice(node.iterfind("processes/process_info"), 1024):
        pid = process.findtext("pid") or ""
        if pid.isdecimal() and len(pid) < 10:
            name = "".join(one if one.isprintable() else "?" for one in process.findtext("process_name") or "")
            yield GpuProcess(pid=int(pid), name=name or None, used_bytes=mib(process.findtext("used_memory")))


def is_listing(text: str) -> bool:
    """Whether a text is what ``nvidia-smi -L`` prints."""
    return any(_LISTED.match(line) and "UUID" in line for line in text.splitlines()[:4])


def read_listing(text: str, *, name: str) -> tuple[Host, ...]:
    """Return the host that ``nvidia-smi -L`` lists: names and UUIDs, memory from the catalogue."""
    devices: list[DetectedGpu] = []
    notes: list[str] = []
    found, index = None, 0
    for number, line in enumerate(text.splitlines()[:_MOST_LINES], start=1):
        whole, part = _LISTED.match(line), _LISTED_SLICE.match(line)
        if whole:
            found, index = identify(whole["name"]), int(whole["index"])
            notes += found.notes
            devices.append(device(found, index=index, vendor="nvidia", uuid=_known(whole["uuid"]) or ""))
        elif part and found is not None:
            if devices and devices[-1].slice_index is None:
                devices[-1] = device(found, index=index, vendor="nvidia", uuid=devices[-1].uuid, mig_enabled=True)
            piece = Found(name=found.name, spec=found.spec, profile=part["profile"].lower(), by=found.by)
            slice_index = int(part["index"])
            uuid = _known(part["uuid"]) or ""
            devices.append(device(piece, index=index, vendor="nvidia", slice_index=slice_index, uuid=uuid))
        elif line.strip() and len(notes) < MOST_GPUS:
            notes.append(f"line {number} is not a GPU: {shown(line.strip(), characters=120)}")
    return (host_of(name, devices, notes=notes),)


def read_csv(text: str, *, name: str) -> tuple[Host, ...] | None:
    """Return the hosts of a table of ``--format=csv``; None where it is another table.

    Columns stand in any order, with or without units, with or without a head; a column ``hostname`` that was
    added to them names the host.
    """
    try:
        rows = [row for row in csv.reader(text.splitlines()[:_MOST_LINES], skipinitialspace=True) if row]
    except csv.Error:  # a cell of 128 KiB, which no tool writes
        return None
    if not rows:
        return None
    head = [cell.strip().lower() for cell in rows[0]]
    titled = all(_COLUMN.fullmatch(cell) for cell in head) and bool({"name", "gpu_name"} & set(map(_plain, head)))
    if titled:
        columns = [_plain(cell) for cell in head]
        tables = [dict(zip(columns, map(str.strip, row), strict=False)) for row in rows[1:]]
    else:
        if not any(map(_guessed, rows[:_TRIED])):
            return None
        tables = [found for row in rows if (found := _guessed(row))]
    hosts: dict[str, list[dict[str, str]]] = {}
    for row in tables:
        hosts.setdefault(next((row[key] for key in _HOSTS if row.get(key)), name), []).append(row)
    return tuple(_of_rows(host, rows) for host, rows in hosts.items()) or (host_of(name, ()),)


def _plain(column: str) -> str:
    return column.partition(" [")[0]


def _guessed(row: list[str]) -> dict[str, str]:
    """The columns of a row without a head, by what is in them; empty where no cell names a GPU."""
    cells = [cell.strip() for cell in row]
    named = [cell for cell in cells if cell.upper().startswith(("NVIDIA ", "TESLA ", "QUADRO ")) or _is_card(cell)]
    if not named:
        return {}
    found = {"name": named[0]}
    sizes = [size for cell in cells if cell.lower().endswith("mib") and (size := mib(cell))]
    if not sizes:
        # Without units: a number is the total only where the card's own is near.
        spec = identify(named[0]).spec
        numbers = [size for cell in cells if cell.isdecimal() and (size := mib(cell))]
        usual = spec.driver_memory_bytes if spec else 0
        sizes = [size for size in numbers if usual and abs(size - usual) < 0.06 * usual]
    if sizes:
        found["memory.total"] = f"{max(sizes) // 2**20} MiB"
    found["uuid"] = next((cell for cell in cells if cell.startswith("GPU-")), "")
    found["pci.bus_id"] = next((cell for cell in cells if re.fullmatch(r"[0-9A-Fa-f]{8}:[0-9A-Fa-f:.]{7}", cell)), "")
    return found


def _is_card(cell: str) -> bool:
    return any(character.isalpha() for character in cell) and len(cell) < 80 and identify(cell).spec is not None


def _of_rows(name: str, rows: list[dict[str, str]]) -> Host:
    devices: list[DetectedGpu] = []
    notes: list[str] = []
    for number, row in enumerate(rows[: MOST_GPUS + 1]):
        total = mib(row.get("memory.total", "")) or None
        device_id = _hex(row.get("pci.device_id") or row.get("gpu_device_id") or "")
        found = identify(row.get("name") or row.get("gpu_name") or "", total_bytes=total, device_id=device_id)
        notes += found.notes
        index = row.get("index", "")
        divided = row.get("mig.mode.current") == "Enabled"
        devices.append(
            device(
                found,
                index=int(index) if index.isdecimal() and len(index) < 4 else number,
                vendor="nvidia",
                total_bytes=total,
                reserved_bytes=mib(row.get("memory.reserved", "")),
                architecture=row["compute_cap"] if re.fullmatch(r"\d{1,2}\.\d", row.get("compute_cap", "")) else None,
                uuid=_known(row.get("uuid") or row.get("gpu_uuid")) or "",
                pci_bus_id=_known(row.get("pci.bus_id") or row.get("gpu_bus_id")) or "",
                pci_device_id=device_id,
                free_bytes=mib(row.get("memory.free", "")),
                used_bytes=mib(row.get("memory.used", "")),
                mig_enabled=divided or None,
            )
        )
        if divided:
            notes.append("MIG is on and a table of GPUs has no slices: `nvidia-smi -L` or `-q -x` lists them")
    return host_of(name, devices, notes=notes)


def _known(text: str | None) -> str | None:
    """A value that is there and can be shown."""
    plain = "".join(one for one in (text or "").strip() if one.isprintable())[:200]
    return None if plain.upper() in ("", "N/A", "[N/A]", "[NOT SUPPORTED]", "[UNKNOWN ERROR]") else plain


def _hex(text: str | None) -> int | None:
    """The device id in ``0x233010DE`` or ``233010DE``: vendor behind, device in front."""
    found = re.fullmatch(r"(?:0x)?([0-9A-Fa-f]{4})10DE", (text or "").strip(), re.IGNORECASE)
    return int(found[1], 16) if found else None
