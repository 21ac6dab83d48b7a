"""Instances as the clouds' own tools list them as JSON: ``aws``, ``gcloud``, ``az`` and ``oci``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hw_specs.errors import M35Error, shown
from hw_specs.gpu_set import parse_gpus
from hw_specs.instances import find_instance
from hw_specs.inventory.host import Host


def instances_of(value: Any) -> list[tuple[str, str, str]] | None:
    """Return name, instance type and state of each instance; None where a value lists none."""
    found = list(_instances(value))
    return found or None


def _instances(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict) and isinstance(value.get("Reservations"), list):
        for group in _dicts(value["Reservations"]):
            for one in _dicts(group.get("Instances")):
                names = [tag.get("Value") for tag in _dicts(one.get("Tags")) if tag.get("Key") == "Name"]
                state = one.get("State")
                yield (
                    str((names or [one.get("InstanceId")])[0]),
                    str(one.get("InstanceType", "")),
                    str(state.get("Name", "")) if isinstance(state, dict) else "",
                )
        return
    entries = value.get("data") if isinstance(value, dict) else value
    for one in _dicts(entries):
        profile = one.get("hardwareProfile")
        kind = (
            one.get("machineType") or one.get("shape") or (profile.get("vmSize") if isinstance(profile, dict) else None)
        )
        if isinstance(kind, str) and kind:
            state = one.get("status") or one.get("lifecycle-state") or one.get("powerState") or ""
            yield str(one.get("name") or one.get("display-name") or one.get("id") or "unnamed"), kind, str(state)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def read_instances(instances: list[tuple[str, str, str]]) -> tuple[Host, ...]:
    """Return a host for each instance; those without a GPU say so."""
    return tuple(_host(*one) for one in instances)


def _host(name: str, kind: str, state: str) -> Host:
    name = shown(name)
    stopped = shown(state.lower().rpartition(" ")[2], characters=40)
    away = (
        f"the instance is {stopped}" if stopped not in ("", "running", "staging", "provisioning", "pending") else None
    )
    found = find_instance(kind)
    if found is None:
        return Host(name=name, no_gpu=True, notes=(f"instance type {shown(kind)}",), out_of_service=away)
    try:
        return Host(name=name, gpus=parse_gpus(found.name), out_of_service=away)
    except M35Error as error:
        return Host(name=name, problem=str(error), hint=error.hint, out_of_service=away)
