"""Instances as the clouds' own tools list them as JSON: ``aws``, ``gcloud``, ``az`` and ``oci``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hw_specs.errors import M35Error, shown
from hw_specs.facts import instance_facts
from hw_specs.gpu_set import parse_gpus
from hw_specs.instances import find_instance
from hw_specs.inventory.host import Host, count_of, table, tables, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance of a list."""

    name: str
    kind: str
    """Its type, machine type or shape; empty where the list says none."""
    state: str
    attached: tuple[str, int] | None = None
    """The accelerator that is attached to a machine type without one, and how many."""


def instances_of(value: Any, *, name: str) -> tuple[list[Instance], tuple[Host, ...]] | None:
    """Return each instance, and a host that names what else the list holds; None where a value lists no instance."""
    if isinstance(value, dict) and isinstance(value.get("Reservations"), list):
        groups, others = whole(value["Reservations"], name=name, what="a reservation")
        several = [group.get("Instances") for group in groups]
        listed = [one for some in several for one in (some if isinstance(some, list) else (some,))]
        entries, more = whole(listed, name=name, what="an instance")
        return ([_of_aws(one) for one in entries], (*others, *more)) if listed or others else None
    listing = value.get("data") if isinstance(value, dict) else value
    if not isinstance(listing, list) or not any(map(_kind, listing)):
        return None
    described, others = whole(listing, name=name, what="an instance")
    return [_of_others(one) for one in described], others


def _of_aws(one: dict[str, Any]) -> Instance:
    names = [tag.get("Value") for tag in tables(one.get("Tags")) if tag.get("Key") == "Name"]
    return Instance(
        name=str((names or [one.get("InstanceId")])[0]),
        kind=str(one.get("InstanceType") or ""),
        state=str(table(one.get("State")).get("Name", "")),
    )


def _of_others(one: dict[str, Any]) -> Instance:
    attached = next(iter(tables(one.get("guestAccelerators"))), {})
    return Instance(
        name=str(one.get("name") or one.get("display-name") or one.get("id") or "unnamed"),
        kind=_kind(one),
        state=str(one.get("status") or one.get("lifecycle-state") or one.get("powerState") or ""),
        attached=(str(attached.get("acceleratorType", "")), count_of(attached.get("acceleratorCount")))
        if attached
        else None,
    )


def _kind(one: Any) -> str:
    if not isinstance(one, dict):
        return ""
    kind = one.get("machineType") or one.get("shape") or table(one.get("hardwareProfile")).get("vmSize")
    return kind if isinstance(kind, str) else ""


def host_of_instance(instance: Instance) -> Host:
    """Return the host that an instance is; one without a GPU says so."""
    name = shown(instance.name)
    stopped = shown(instance.state.lower().rpartition(" ")[2], characters=40)
    away = (
        f"the instance is {stopped}" if stopped not in ("", "running", "staging", "provisioning", "pending") else None
    )
    kind = shown(instance.kind.rpartition("/")[2])
    found = find_instance(instance.kind)
    if found is None and instance.attached is None:
        if not kind:
            return Host(name=name, problem="the list says no type of this instance", out_of_service=away)
        if re.match(instance_facts().accelerated.pattern, kind, re.IGNORECASE):
            hint = "write its GPUs into a list: `- {host: node-1, gpus: 8xH200}`"
            problem = f"instance type `{kind}` is not in the table of instance types"
            return Host(name=name, problem=problem, hint=hint, out_of_service=away)
        return Host(name=name, no_gpu=True, notes=(f"instance type {kind}",), out_of_service=away)
    if found is not None:
        words = found.name
    else:
        assert instance.attached is not None, "one of the two is there"
        words = f"{instance.attached[1]}x{instance.attached[0].rpartition('/')[2]}"
    try:
        return Host(name=name, gpus=parse_gpus(words), out_of_service=away)
    except M35Error as error:
        return Host(name=name, problem=str(error), hint=error.hint, out_of_service=away)
