"""What drivers of Dynamic Resource Allocation publish: ResourceSlices of ``gpu.nvidia.com`` and ``gpu.amd.com``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hw_specs.detect.devices import DetectedGpu
from hw_specs.errors import shown
from hw_specs.inventory.host import MOST_GPUS, Found, Host, device, host_of, identify, table, tables, unknown_host
from hw_specs.spec import Vendor
from hw_specs.units import quantity

_DRIVERS: dict[str, Vendor] = {"gpu.nvidia.com": "nvidia", "gpu.amd.com": "amd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """One device of a slice."""

    name: str
    vendor: Vendor
    attributes: dict[str, Any]
    capacity: dict[str, Any]
    tainted: str | None

    def text(self, *keys: str) -> str:
        found = next((str(self.attributes[key]) for key in keys if self.attributes.get(key) is not None), "")
        return shown(found, characters=100)


def read_slices(items: Iterable[Mapping[str, Any]]) -> tuple[Host, ...]:
    """Return one host for each node that publishes GPUs; of a pool only its newest generation counts."""
    newest: dict[tuple[str, str], int] = {}
    slices = []
    for item in items:
        spec = table(item.get("spec"))
        vendor = _DRIVERS.get(str(spec.get("driver")))
        pool = table(spec.get("pool"))
        node = str(spec.get("nodeName") or pool.get("name") or "")
        if vendor is None or not node:
            continue
        generation = pool.get("generation")
        number = generation if isinstance(generation, int) else 0
        key = (str(spec["driver"]), str(pool.get("name") or node))
        newest[key] = max(newest.get(key, 0), number)
        slices.append((key, number, node, vendor, spec))
    nodes: dict[str, list[_Device]] = {}
    for key, number, node, vendor, spec in slices:
        if number == newest[key]:
            nodes.setdefault(node, []).extend(_devices(spec, vendor))
    return tuple(_host(node, devices[:4096]) for node, devices in nodes.items())


def _devices(spec: Mapping[str, Any], vendor: Vendor) -> Iterator[_Device]:
    devices = spec.get("devices")
    for raw in devices if isinstance(devices, list) else []:
        one = table(raw)
        # `basic` held everything up to v1beta1.
        inner = table(one.get("basic")) or one
        stopping = [one for one in tables(inner.get("taints")) if one.get("effect") in ("NoSchedule", "NoExecute")]
        yield _Device(
            name=shown(str(one.get("name", ""))),
            vendor=vendor,
            attributes={_plain(key): _value(value) for key, value in table(inner.get("attributes")).items()},
            capacity={_plain(key): _value(value) for key, value in table(inner.get("capacity")).items()},
            tainted=str(stopping[0].get("key")) if stopping else None,
        )


def _host(node: str, devices: list[_Device]) -> Host:
    notes: list[str] = []
    chosen = [one for one in devices if one.text("type") not in ("vfio", "mig", "amdgpu-partition")]
    parts = [one for one in devices if one.text("type") in ("mig", "amdgpu-partition")]
    if chosen and parts:
        notes.append("the driver also offers every way to divide the GPUs: a plan takes them whole")
        parts = []
    # With automatic partitions one GPU is offered once for each mode; the undivided one is the GPU.
    seen: set[str] = set()
    gpus: list[DetectedGpu] = []
    unknown: Host | None = None
    for one in (*chosen, *parts)[: MOST_GPUS + 1]:
        board = one.text("pciAddr", "pciBusID", "pcieBusID", "uuid") or one.name
        if one.tainted:
            notes.append(f"{one.name} is tainted with `{shown(one.tainted)}` and left out")
            continue
        if one.text("type") == "amdgpu" and board in seen:
            continue
        seen.add(board)
        found = _found(one)
        total = _bytes(one.capacity.get("memory")) if one.text("type") != "mig" else None
        if found.spec is None and not total:
            unknown = unknown_host(node, found, count=None)
            continue
        notes += found.notes
        gpus.append(_gpu(one, found, len(gpus), total))
    if not gpus and unknown is not None:
        return unknown
    return host_of(node, gpus, notes=notes)


def _found(one: _Device) -> Found:
    device_id = one.text("deviceID").lower().removeprefix("0x")
    whole = one.text("type") not in ("mig", "amdgpu-partition")
    found = identify(
        one.text("productName") or "a GPU without a product name",
        total_bytes=_bytes(one.capacity.get("memory")) if whole else None,
        device_id=int(device_id, 16) if re.fullmatch(r"[0-9a-f]{4}", device_id) and one.vendor == "amd" else None,
    )
    profile = one.text("profile").lower() or None
    return Found(name=found.name, spec=found.spec, profile=profile, by=found.by, notes=found.notes, hint=found.hint)


def _gpu(one: _Device, found: Found, index: int, total: int | None) -> DetectedGpu:
    sliced = one.text("type") == "mig"
    capability = re.match(r"(\d{1,2}\.\d)", one.text("cudaComputeCapability"))
    mode = one.text("partitionProfile").lower().split("_")
    compute = one.text("computePartition") or (mode[0] if len(mode) == 2 else "")
    memory = one.text("memoryPartition") or (mode[1] if len(mode) == 2 else "")
    units = _bytes(one.capacity.get("multiprocessors") or one.capacity.get("computeUnits"))
    return device(
        found,
        index=index,
        vendor=one.vendor,
        slice_index=index if sliced else None,
        total_bytes=_bytes(one.capacity.get("memory")) if sliced else total,
        architecture=capability[1] if capability else None,
        uuid="",
        pci_bus_id=one.text("pciBusID", "pcieBusID", "pciAddr"),
        compute_units=units if units and units < 2**16 else None,
        compute_partition=compute.upper() or None,
        memory_partition=memory.upper() or None,
    )


def _plain(key: Any) -> str:
    """The name without the driver's domain in front of it."""
    return str(key).rpartition("/")[2]


def _value(value: Any) -> Any:
    """What an attribute's or a capacity's box holds."""
    if not isinstance(value, dict):
        return value
    return next((value[key] for key in ("string", "version", "int", "bool", "value") if key in value), None)


def _bytes(value: Any) -> int | None:
    size = quantity(value)
    return size if size is not None and 0 < size < 2**50 else None
