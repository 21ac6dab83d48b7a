"""What Slurm says of its nodes: ``scontrol show node``, one field a line or one node a line, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hw_specs.detect.devices import DetectedGpu
from hw_specs.errors import shown
from hw_specs.inventory.host import MOST_GPUS, Found, Host, count_of, device, host_of, identify, unknown_host, whole
from hw_specs.mig import profile_of

_FIELD = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_:/]*)=")
_GRES = re.compile(r"gpu(?::(?P<type>[^:,()=]+))?:(?P<count>\d{1,6})(?:\([^)]*\))?$")
_GPU = re.compile(r"gpu\b")
"""How a part of Gres begins that means GPUs, whatever follows."""
_TRES = re.compile(r"gres/gpu(?::(?P<type>[^=,]+))?=(?P<count>\d{1,6})")
_AWAY = ("DOWN", "DRAIN", "FAIL", "ERROR", "FUTURE", "NOT_RESPONDING", "NO_RESPOND", "UNKNOWN", "MAINT", "INVALID")
"""States, or their beginnings, in which nothing new starts on a node."""
_MOST_NODES = 20_000


def is_scontrol(text: str) -> bool:
    """Whether a text is what ``scontrol show node`` prints."""
    return re.match(r"\s*NodeName=\S", text) is not None


def read_scontrol(text: str) -> tuple[Host, ...]:
    """Return the nodes of ``scontrol show node``, with or without ``-o``."""
    return tuple(_host(node) for node in _records(text))


def nodes_of_json(value: Any) -> list[Any] | None:
    """Return the nodes in Slurm's JSON; None where it is something else."""
    nodes = value.get("nodes") if isinstance(value, dict) else None
    if not isinstance(nodes, list) or not any(isinstance(one, dict) and "gres" in one for one in nodes):
        return None
    return nodes


def read_slurm_json(nodes: Iterable[Any], *, name: str) -> tuple[Host, ...]:
    """Return the nodes of ``scontrol show node --json``."""
    found = []
    described, others = whole(nodes, name=name, what="a node")
    for node in described:
        if not isinstance(node.get("gres") or "", str):
            found.append(Host(name=shown(str(node.get("name") or name)), problem="its `gres` is not text"))
            continue
        state, flags = node.get("state"), node.get("state_flags")
        states = [*(state if isinstance(state, list) else [state]), *(flags if isinstance(flags, list) else [])]
        features = node.get("active_features") or node.get("features")
        found.append(
            _host(
                {
                    "NodeName": str(node.get("name", "")),
                    "Gres": str(node.get("gres") or ""),
                    "State": "+".join(str(one) for one in states if one),
                    "Reason": str(node.get("reason") or ""),
                    "AllocTRES": str(node.get("tres_used") or ""),
                    "CfgTRES": str(node.get("tres") or ""),
                    "ActiveFeatures": ",".join(map(str, features))
                    if isinstance(features, list)
                    else str(features or ""),
                }
            )
        )
    return (*found[:_MOST_NODES], *others)


def _records(text: str) -> Iterator[dict[str, str]]:
    """The fields of each node; a value ends where the next name begins, and may hold blanks."""
    for number, chunk in enumerate(re.split(r"(?:^|\n)\s*(?=NodeName=)", text)):
        if number > _MOST_NODES:
            return
        marks = list(_FIELD.finditer(chunk))
        ends = [mark.start() for mark in marks[1:]] + [len(chunk)]
        record = {mark[1]: chunk[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}
        if record.get("NodeName"):
            yield record


def _host(node: Mapping[str, str]) -> Host:
    name = node["NodeName"]
    # A comma also stands inside brackets: `gpu:h100:8(S:0-1)`, `gpu:a100:4(IDX:0,2)`.
    parts = re.split(r",(?![^(]*\))", node.get("Gres", ""))
    unread = [part.strip() for part in parts if _GPU.match(part.strip()) and not _GRES.match(part.strip())]
    listed = [match for part in parts if (match := _GRES.match(part.strip()))]
    groups = [(match["type"], count_of(match["count"])) for match in listed]
    configured = [(match["type"], count_of(match["count"])) for match in _TRES.finditer(node.get("CfgTRES", ""))]
    typed = [pair for pair in configured if pair[0]]
    if not any(kind for kind, _ in groups) and typed:
        groups = typed
    elif not groups:
        groups = configured
    away = _out_of_service(node)
    doubt = [f"`{shown(part)}` in its Gres says no count of GPUs" for part in unread]
    if not any(count for _, count in groups):
        if doubt:
            hint = "write a list: `- {host: node-1, gpus: 8xH200}`"
            return Host(name=shown(name), problem=doubt[0], hint=hint, out_of_service=away)
        return host_of(name, (), out_of_service=away)
    notes = [*_in_use(node, sum(count for _, count in groups)), *(doubt if listed else ())]
    devices: list[DetectedGpu] = []
    for kind, count in groups:
        features = node.get("ActiveFeatures") or node.get("AvailableFeatures", "")
        profile = profile_of(kind) if kind else None
        found = identify(kind) if kind and not profile else _by_feature(features)
        if profile and found is not None:
            # A type that is a profile alone leaves the card to the features.
            found = Found(name=f"{found.name} {profile}", spec=found.spec, profile=profile, by=found.by)
        if found is None:
            return Host(
                name=shown(name),
                problem=f"Slurm says {count} GPUs and not which" + (f" ({kind})" if kind else ""),
                hint="add a type to its Gres, or write a list: `- {host: node-1, gpus: 8xH200}`",
                out_of_service=away,
            )
        if found.spec is None:
            unknown = unknown_host(name, found, count=count, notes=notes)
            return unknown if away is None else Host(name=unknown.name, problem=unknown.problem, out_of_service=away)
        notes += found.notes
        first = len(devices)
        sliced = found.profile is not None
        for number in range(min(count, MOST_GPUS + 1)):
            place = first if sliced else first + number
            devices.append(device(found, index=place, vendor="nvidia", slice_index=number if sliced else None))
    return host_of(name, devices, notes=notes, out_of_service=away)


def _by_feature(features: str) -> Found | None:
    """The one card that a node's features name; None for none and for several."""
    found = {}
    for feature in re.split(r"[,&|]", features)[:64]:
        if any(character.isdigit() for character in feature):
            one = identify(feature)
            if one.spec is not None:
                found[one.spec.id] = one
    return next(iter(found.values())) if len(found) == 1 else None


def _in_use(node: Mapping[str, str], total: int) -> list[str]:
    used = [(found["type"], count_of(found["count"])) for found in _TRES.finditer(node.get("AllocTRES", ""))]
    plain = sum(count for kind, count in used if not kind) or sum(count for kind, count in used if kind)
    return [f"{plain} of {total} GPUs are allocated to jobs now"] if plain else []


def _out_of_service(node: Mapping[str, str]) -> str | None:
    states = [state for state in re.split(r"[+*~#!%$@^-]+", node.get("State", "").upper()) if state]
    away = [state for state in states if state.startswith(_AWAY)]
    if not away:
        return None
    reason = re.sub(r"\s*\[[^]]*\]\s*$", "", node.get("Reason", ""))
    words = ", ".join(state.lower().replace("_", " ") for state in dict.fromkeys(away))
    return shown(f"{words}: {reason}" if reason and reason != "(null)" else words, characters=100)
