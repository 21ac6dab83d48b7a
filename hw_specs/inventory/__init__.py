"""Hosts out of what clusters and tools already print; what a text is, its content says. Nothing is executed or asked.

Read are snapshots of ``m35-plan detect --json``, ``kubectl get nodes`` and ``resourceslices`` (JSON, YAML), ``scontrol
show node`` (text, JSON), ``nvidia-smi`` (``-q -x``, CSV, ``-L``), ``amd-smi`` and ``rocm-smi`` (JSON), the clouds'
lists of instances (JSON), and lists of hosts that people write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hw_specs.errors import BadSnapshot, M35Error, shown
from hw_specs.gpu_set import parse_gpus
from hw_specs.inventory import amd_smi, clouds, nvidia_smi, slurm
from hw_specs.inventory.dra import read_slices
from hw_specs.inventory.host import Host, host_of, whole
from hw_specs.inventory.kubernetes import read_node
from hw_specs.parsing import BadJson, BadYaml, decoded, parse_json, parse_yaml
from hw_specs.reading import STDIN, UnreadableInput, read_bytes
from hw_specs.units import parse_memory

MOST_BYTES = 128 * 2**20
"""A thousand nodes of `kubectl get nodes -o json` have some 30 MiB."""
MOST_YAML_BYTES = 8 * 2**20
"""Reading YAML takes a second for each few MiB; the same in JSON has no such limit."""
_HINT = (
    "read are `m35-plan detect --json`, `kubectl get nodes -o json`, `kubectl get resourceslices -o json`, "
    "`scontrol show node`, `nvidia-smi -q -x`, `nvidia-smi --query-gpu=… --format=csv`, `nvidia-smi -L`, "
    "`amd-smi static --json`, `rocm-smi -a --json`, instances that a cloud lists as JSON, "
    "and `- {host: node-1, gpus: 8xH200}`"
)
_FOR_PEOPLE = (
    (re.compile(r"=+NVSMI LOG=+"), "nvidia-smi -q", "nvidia-smi -q -x"),
    (re.compile(r"\| NVIDIA-SMI \d"), "nvidia-smi", "nvidia-smi -q -x"),
    (re.compile(r"=+ ?ROCm System Management Interface"), "rocm-smi", "rocm-smi -a --json"),
    (re.compile(r"^GPU: \d+\s+ASIC:", re.M), "amd-smi static", "amd-smi static --json"),
    (re.compile(r"^NAME\s+STATUS\s+ROLES\b"), "kubectl get nodes", "kubectl get nodes -o json"),
    (re.compile(r"^Name:\s+\S+\nRoles:\s"), "kubectl describe nodes", "kubectl get nodes -o json"),
    (re.compile(r"^PARTITION\s+AVAIL\b"), "sinfo", "scontrol show node"),
)
"""Pages that tools print for people: what shows them, the command, and the one whose output is read."""
_FAILED = re.compile(
    r"^.*(?:NVIDIA-SMI has failed|Failed to initialize NVML|No devices were found|[Cc]ommand not found"
    r"|Permission denied|Driver not initialized|AMDSMI_STATUS_\w+|^ssh: |No such file or directory).*$",
    re.M,
)
"""What the tools and the shells that were to run them print instead of an answer."""
_LISTS = ("items", "nodes", "sinfo", "Reservations")
"""Under these the tools list what there is."""
_LEADING_LINES = 50
"""Warnings that tools print before their JSON."""
_PAGE_HEAD = 4096
"""Characters in which a page for people shows what it is."""


def load_hosts(path: Path) -> tuple[Host, ...]:
    """Return the hosts in a file, or in standard input for ``-``.

    Raises:
        BadSnapshot: it cannot be read, or nothing in it is known.
    """
    name = "standard input" if str(path) == STDIN else path.stem
    where = f"`{shown(str(path), characters=120)}`" if str(path) != STDIN else name
    try:
        content = read_bytes(path, most_bytes=MOST_BYTES)
    except UnreadableInput as error:
        raise BadSnapshot(f"cannot read {where}: {error.reason}", hint=error.hint or _HINT) from None
    return read_hosts(content, where=where, name=name)


def read_hosts(content: bytes, *, where: str = "the text", name: str = "host") -> tuple[Host, ...]:
    """Return the hosts in `content`, whatever tool wrote it.

    Args:
        content: the output of a tool.
        where: how to call it in an error.
        name: what to call a host whose tool does not say its name.

    Raises:
        BadSnapshot: nothing in it is known.
        MissingPackage: it is a snapshot, and pydantic is not installed.
    """
    try:
        text = decoded(content).lstrip()
    except UnicodeDecodeError as error:
        raise BadSnapshot(f"{where} is not text", hint=_HINT) from error
    if not text:
        raise BadSnapshot(f"{where} is empty", hint=_HINT)
    hosts = _read(text, where, shown(name))
    if hosts is None:
        raise BadSnapshot(f"{where} is not an inventory that is known here", hint=_HINT)
    return hosts


def _read(text: str, where: str, name: str) -> tuple[Host, ...] | None:
    if text.startswith("<"):
        return nvidia_smi.read_xml(text, where=where, name=name)
    if slurm.is_scontrol(text):
        return slurm.read_scontrol(text)
    if nvidia_smi.is_listing(text):
        return nvidia_smi.read_listing(text, name=name)
    behind = _behind_warnings(text)
    if behind[:1] in ("{", "["):
        try:
            return _of_value(parse_json(behind), where, name)
        except BadJson as error:
            if "\n---" in behind:
                return _yaml(behind, where, name)
            raise BadSnapshot(f"{where} {error}", hint=_HINT) from error
    failed = _FAILED.search(text[:_PAGE_HEAD])
    if failed and len(text) < _PAGE_HEAD:
        return (Host(name=name, problem=f"the tool failed there: {shown(failed[0].strip(), characters=160)}"),)
    for mark, printed_by, instead in _FOR_PEOPLE:
        if mark.search(text[:_PAGE_HEAD]):
            raise BadSnapshot(f"{where} is what `{printed_by}` prints for people", hint=f"`{instead}` is read")
    return nvidia_smi.read_csv(text, name=name) or _yaml(text, where, name)


def _behind_warnings(text: str) -> str:
    """The text from its first line on that begins as JSON does; tools print warnings before it."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines[:_LEADING_LINES]):
        if line[:1] in ("{", "["):
            return "".join(lines[number:])
    return ""


def _yaml(text: str, where: str, name: str) -> tuple[Host, ...] | None:
    if len(text) > MOST_YAML_BYTES:
        raise BadSnapshot(f"{where} is too large to be read as YAML", hint="write it as JSON: `-o json`")
    try:
        values = parse_yaml(text)
    except BadYaml as error:
        raise BadSnapshot(f"{where} {error}", hint=_HINT) from error
    there = [value for value in values if value is not None]
    if len(there) == 1:
        return _of_value(there[0], where, name)
    hosts: list[Host] = []
    problems: list[Host] = []
    for number, value in enumerate(there, start=1):
        try:
            read = _of_value(value, f"document {number}", name)
        except M35Error as error:
            problems.append(Host(name=name, problem=str(error), hint=error.hint))
            continue
        if read is None:
            problems.append(Host(name=name, problem=f"document {number} is not an inventory that is known here"))
        hosts += read or ()
    return (*hosts, *problems) if hosts else None


def _of_value(value: Any, where: str, name: str) -> tuple[Host, ...] | None:
    if isinstance(value, dict) and "schema_version" in value and "gpus" in value:
        from hw_specs.detect.snapshot import from_json

        report = from_json(json.dumps(value, default=str), where=where)
        return (Host(name=report.hostname, report=report, no_gpu=not report.gpus),)
    objects = list(_objects(value))
    if objects:
        _, others = whole(value.get("items") or (), name=name, what="an object")
        nodes = [read_node(one) for one in objects if one.get("kind") == "Node"]
        slices = {host.name: host for host in read_slices(one for one in objects if one.get("kind") == "ResourceSlice")}
        # A node whose GPUs only the driver's slices show takes them from there.
        merged = [_merged(node, slices.pop(node.name)) if node.name in slices else node for node in nodes]
        return (*merged, *slices.values(), *others) or (host_of(name, ()),)
    listed = slurm.nodes_of_json(value)
    if listed is not None:
        return slurm.read_slurm_json(listed, name=name)
    if amd_smi.is_rocm_smi(value):
        return amd_smi.read_rocm_smi(value, name=name)
    entries = amd_smi.amd_smi_entries(value)
    if entries is not None:
        return amd_smi.read_amd_smi(entries, name=name)
    if isinstance(value, list) and any(isinstance(one, dict) and "gpus" in one for one in value):
        return tuple(_written(one, f"{name}-{number}") for number, one in enumerate(value))
    listed_instances = clouds.instances_of(value, name=name)
    if listed_instances is not None:
        instances, others = listed_instances
        return (*map(clouds.host_of_instance, instances), *others)
    if value == [] or (isinstance(value, dict) and any(isinstance(value.get(key), list) for key in _LISTS)):
        raise BadSnapshot(f"{where} is a list that holds no node", hint="check the cluster, the selector or the names")
    return None


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The nodes and resource slices in an object, or in a list of objects."""
    if not isinstance(value, dict):
        return
    if value.get("kind") in ("Node", "ResourceSlice"):
        yield value
    items = value.get("items")
    if isinstance(items, list):
        # Items of a typed list do not repeat their kind, and some tools leave kinds out altogether.
        kind = str(value.get("kind") or "").removesuffix("List")
        for item in items:
            if isinstance(item, dict):
                named = item.get("kind") or kind or ("Node" if {"metadata", "status"} <= item.keys() else "")
                if named in ("Node", "ResourceSlice"):
                    yield {**item, "kind": named}


def _merged(node: Host, published: Host) -> Host:
    if node.report is not None:
        return node
    return Host(
        name=node.name,
        report=published.report,
        notes=(*node.notes, *published.notes),
        problem=published.problem,
        hint=published.hint,
        out_of_service=node.out_of_service,
    )


def _written(entry: Any, name: str) -> Host:
    """One line of a list that people write: ``- {host: node-1, gpus: 8xH200, gpu_memory: 130GiB}``."""
    hint = "write `- {host: node-1, gpus: 8xH200}`"
    if not isinstance(entry, dict):
        return Host(name=name, problem="it is not a host with its GPUs", hint=hint)
    plain = {key: value for key, value in entry.items() if isinstance(value, str | int | float)}
    name = shown(str(plain.get("host", name)))
    unknown = sorted(shown(str(key)) for key in entry if key not in ("host", "gpus", "gpu_memory"))
    if unknown:
        return Host(
            name=name, problem=f"`{unknown[0]}` is not a field of a host", hint="fields: host, gpus, gpu_memory"
        )
    if len(plain) < len(entry):
        return Host(name=name, problem="a field of a host is not plain text", hint=hint)
    if "gpus" not in plain:
        return Host(name=name, problem="its GPUs are not said", hint=hint)
    try:
        memory = parse_memory(str(plain["gpu_memory"])) if "gpu_memory" in plain else None
        return Host(name=name, gpus=parse_gpus(str(plain["gpus"]), memory_override_bytes=memory))
    except M35Error as error:
        return Host(name=name, problem=str(error), hint=error.hint)
