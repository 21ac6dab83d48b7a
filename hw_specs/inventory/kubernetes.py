"""What Kubernetes says of its nodes: labels of discovery and of clouds, resources, taints, conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hw_specs.detect.devices import DetectedGpu
from hw_specs.errors import shown
from hw_specs.facts import resource_facts
from hw_specs.instances import find_instance
from hw_specs.inventory.host import Found, Host, count_of, device, host_of, identify, mib, table, tables, unknown_host
from hw_specs.mig import profile_of
from hw_specs.spec import Vendor

_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "beta.amd.com/gpu.product-name",
    "gpu.nvidia.com/model",
    "gpu.nvidia.com/class",
    "cloud.google.com/gke-accelerator",
    "eks.amazonaws.com/instance-gpu-name",
    "karpenter.k8s.aws/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
    "karpenter.azure.com/sku-gpu-name",
)
"""Labels that name a GPU, those of the vendors' own discovery first."""
_INSTANCE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_AMD_PARTITION = re.compile(r"(?P<compute>[sdtqc]px)_(?P<memory>nps[1248])")
_OURS = ("nvidia.com/", "amd.com/")
_TOLERATED = ("nvidia.com/gpu", "amd.com/gpu")
"""Taints that the manifests we write tolerate."""


@dataclass(slots=True)
class _Node:
    """One node, as far as GPUs go."""

    name: str
    labels: dict[str, str]
    capacity: dict[str, int]
    allocatable: dict[str, int]
    notes: list[str] = field(default_factory=list)
    away: str | None = None
    garbled: str | None = None
    """A resource of GPUs whose number cannot be read."""

    def label(self, *keys: str) -> str | None:
        return next((self.labels[key] for key in keys if self.labels.get(key)), None)


def read_node(item: Mapping[str, Any]) -> Host:
    """Return the host that a Node object describes."""
    node = _node(item)
    others = sorted(key for key in node.capacity if key.startswith(resource_facts().others) and node.capacity[key])
    devices: list[DetectedGpu] = []
    unknown: Host | None = None
    for group in (*_nvidia(node), *_amd(node)):
        if group.found.spec is None and not (group.total_bytes and group.architecture):
            unknown = unknown or _not_known(node, group)
            continue
        devices += _devices(group, len(devices))
    if unknown is not None and not devices:
        return unknown
    if node.garbled and not devices:
        return Host(name=node.name, problem=f"{node.garbled} is not a count", out_of_service=node.away)
    labelled = count_of(node.labels.get("nvidia.com/gpu.count"))
    if labelled and not devices:
        return Host(
            name=node.name,
            problem=f"{labelled} GPUs are labelled and none is allocatable",
            hint="; ".join(node.notes) or "its driver or its device plugin is not ready",
            out_of_service=node.away,
        )
    if others and not devices:
        what = ", ".join(shown(key) for key in others)
        return Host(
            name=node.name, problem=f"accelerators of another kind ({what}) are not described", out_of_service=node.away
        )
    return host_of(node.name, devices, notes=node.notes, out_of_service=node.away)


def _node(item: Mapping[str, Any]) -> _Node:
    metadata, spec, status = (table(item.get(key)) for key in ("metadata", "spec", "status"))
    labels = {str(key): str(value) for key, value in table(metadata.get("labels")).items()}
    node = _Node(
        name=shown(str(metadata.get("name") or "unnamed")),
        labels=labels,
        capacity=_counts(table(status.get("capacity"))),
        allocatable=_counts(table(status.get("allocatable"))),
    )
    for key, count in table(status.get("capacity")).items():
        if str(key).startswith(_OURS) and not re.fullmatch(r"\d{1,9}", str(count)):
            node.garbled = f"`{shown(f'{key}: {count}', characters=80)}`"
    ready = [one for one in tables(status.get("conditions")) if one.get("type") == "Ready"]
    if ready and str(ready[0].get("status")) != "True":
        node.away = "not ready"
    elif spec.get("unschedulable") is True:
        node.away = "cordoned"
    for taint in tables(spec.get("taints")):
        key, value, effect = (str(taint.get(name) or "") for name in ("key", "value", "effect"))
        if (
            effect in ("NoSchedule", "NoExecute")
            and not key.startswith("node.kubernetes.io/")
            and key not in _TOLERATED
        ):
            node.notes.append(f"pods need a toleration for `{shown(key + (f'={value}' if value else ''))}:{effect}`")
    return node


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """GPUs of one kind on one node."""

    found: Found
    vendor: Vendor
    count: int
    sliced: bool = False
    total_bytes: int | None = None
    architecture: str | None = None
    units: int | None = None
    compute_partition: str | None = None
    memory_partition: str | None = None


def _devices(group: _Group, first: int) -> Iterator[DetectedGpu]:
    for number in range(group.count):
        yield device(
            group.found,
            index=first if group.sliced else first + number,
            vendor=group.vendor,
            slice_index=number if group.sliced else None,
            total_bytes=group.total_bytes,
            architecture=group.architecture,
            compute_units=group.units,
            compute_partition=group.compute_partition,
            memory_partition=group.memory_partition,
        )


def _not_known(node: _Node, group: _Group) -> Host:
    host = unknown_host(node.name, group.found, count=group.count, notes=node.notes)
    return host if node.away is None else Host(name=host.name, problem=host.problem, out_of_service=node.away)


def _nvidia(node: _Node) -> Iterator[_Group]:
    product, doubtful = _product(node, "nvidia")
    replicas = count_of(node.labels.get("nvidia.com/gpu.replicas")) or 1
    mps = node.labels.get("nvidia.com/gpu.sharing-strategy") == "mps"
    # With MPS discovery labels a replica's part of the memory.
    total = None if mps else mib(node.labels.get("nvidia.com/gpu.memory")) or None
    sliced = [(key, name) for key in node.capacity if (name := profile_of(key.removeprefix("nvidia.com/")))]
    whole = _allocatable(node, "nvidia.com/gpu", replicas) or _allocatable(node, "nvidia.com/gpu.shared", replicas)
    labelled = count_of(node.labels.get("nvidia.com/gpu.count"))
    advertised = any(key.startswith("nvidia.com/") for key in node.capacity)
    if product is None:
        if whole or sliced:
            found = Found(name="a GPU without a product label", spec=None, hint="install GPU feature discovery")
            yield _Group(found=found, vendor="nvidia", count=whole or 1)
        return
    if product.upper().endswith("-MIG-INVALID"):
        node.notes.append("the MIG slices differ while the plugin's strategy is `single`: none is advertised")
        return
    partition = node.labels.get("cloud.google.com/gke-gpu-partition-size")
    found = identify(f"{product}-{partition}" if partition else product, total_bytes=None if partition else total)
    if found.spec is not None and found.spec.vendor != "nvidia":
        return
    if not doubtful:
        node.notes += found.notes
    major, minor = node.label("nvidia.com/gpu.compute.major"), node.label("nvidia.com/gpu.compute.minor")
    architecture = f"{major}.{minor}" if major and minor and (major + minor).isdecimal() else None
    if whole == 0 and not sliced and not advertised:
        whole = labelled or (find.count or 0 if (find := _instance(node)) else 0)
        if whole:
            node.notes.append("no GPU resource is advertised: pods cannot ask for one until a device plugin runs")
    clients = count_of(node.labels.get("cloud.google.com/gke-max-shared-clients-per-gpu"))
    if clients > 1:
        replicas, whole = clients, max(whole // clients, 1) if whole else 0
    if replicas > 1 and whole:
        node.notes.append(
            f"each GPU is offered {replicas} times: a plan takes it whole, so ask that nothing else shares it"
        )
    if whole:
        one = found.profile is not None
        yield _Group(
            found=found, vendor="nvidia", count=whole, sliced=one, total_bytes=total, architecture=architecture
        )
    for key, profile in sliced:
        count = node.allocatable.get(key, node.capacity[key])
        label = key.replace("+", ".")
        piece = Found(name=found.name, spec=found.spec, profile=profile, by=found.by, hint=found.hint)
        if count:
            yield _Group(
                found=piece,
                vendor="nvidia",
                count=count,
                sliced=True,
                total_bytes=mib(node.labels.get(f"{label}.memory")) or None,
                architecture=architecture,
                units=count_of(node.labels.get(f"{label}.multiprocessors")) or None,
            )


def _amd(node: _Node) -> Iterator[_Group]:
    parts = [(key, mode) for key in node.capacity if (mode := _AMD_PARTITION.fullmatch(key.removeprefix("amd.com/")))]
    whole = _allocatable(node, "amd.com/gpu", 1)
    if not whole and not parts:
        return
    product, _doubtful = _product(node, "amd")
    device_id = None
    for key in ("amd.com/gpu.device-id", "beta.amd.com/gpu.device-id"):
        text = node.labels.get(key) or _behind(node, f"{key}.") or ""
        if device_id is None and re.fullmatch(r"(?:0x)?[0-9a-fA-F]{4}", text):
            device_id = int(text, 16)
    if product is None and device_id is None:
        found = Found(name="a GPU without a product label", spec=None, hint="run AMD's node labeller")
        yield _Group(found=found, vendor="amd", count=whole or 1)
        return
    found = identify(product or "unnamed AMD GPU", device_id=device_id)
    node.notes += found.notes
    mode = _AMD_PARTITION.fullmatch(
        (node.label("amd.com/gpu.compute-memory-partition", "amd.com/compute-memory-partition") or "").lower()
    )
    groups = [(whole, mode)] if whole else []
    groups += [(node.allocatable.get(key, node.capacity[key]), part) for key, part in parts]
    for count, part in groups:
        if count:
            yield _Group(
                found=found,
                vendor="amd",
                count=count,
                compute_partition=part["compute"].upper() if part else None,
                memory_partition=part["memory"].upper() if part else None,
            )


def _product(node: _Node, vendor: Vendor) -> tuple[str | None, bool]:
    """The product by any label, an instance type last; and whether it is a cloud's short word."""
    ours = [label for label in _PRODUCT_LABELS if ("amd.com" in label) == (vendor == "amd") or "amd" not in label]
    for label in ours:
        text = node.labels.get(label) or (_behind(node, f"{label}.") if "amd.com" in label else None)
        if text:
            # A cloud's word is short where its instance type is exact.
            instance = None if label.startswith(("nvidia.com", "amd.com", "beta.amd.com")) else _instance(node)
            return (instance.gpu, True) if instance else (text, False)
    instance = _instance(node)
    return (instance.gpu, True) if instance else (None, False)


def _instance(node: _Node) -> Any:
    kind = node.label(*_INSTANCE_LABELS)
    found = find_instance(kind) if kind else None
    return found if found is not None and found.count else None


def _behind(node: _Node, prefix: str) -> str | None:
    """What an older labeller wrote into the label's name: ``beta.amd.com/gpu.device-id.74a1``."""
    values = [key[len(prefix) :] for key in node.labels if key.startswith(prefix)]
    return values[0] if len(values) == 1 else None


def _allocatable(node: _Node, key: str, replicas: int) -> int:
    """Whole GPUs that pods can have; a note where the node has more."""
    there = node.capacity.get(key, 0)
    free = node.allocatable.get(key, there)
    physical = count_of(node.labels.get("nvidia.com/gpu.count")) if replicas > 1 else 0
    if free < there:
        node.notes.append(f"{there - free} of {there} GPUs are not allocatable: their plugin calls them unhealthy")
        return free // replicas
    return physical or (max(free // replicas, 1) if free else 0)


def _counts(section: Mapping[str, Any]) -> dict[str, int]:
    return {str(key): count_of(value) for key, value in section.items() if "/" in str(key)}
