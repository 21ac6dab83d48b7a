"""Many machines, one question: a plan for each host of an inventory. It probes nothing and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_specs.errors import M35Error, shown
from hw_specs.gpu_set import check_memory
from hw_specs.resolve import gpus_of
from hw_specs.spec import GpuSet
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest

if TYPE_CHECKING:
    from hw_specs.inventory.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One host: a plan, or the reason why there is none."""

    host: str
    """Host name in the inventory; the file's name where it says none."""
    path: str
    """The file, and the host's place in it where it holds several."""
    gpus: GpuSet | None = None
    """Its GPUs, also where nothing is planned for them."""
    plan: Plan | None = None
    problem: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    """What to know before using the host: GPUs in use, taints, what its names leave open."""
    out_of_service: str | None = None
    """Why nothing new starts there; such a host is shown, not planned, and decides no exit code."""
    no_gpu: bool = False
    """Whether a cluster's listing shows that it has none."""
    unreadable: bool = False
    """Whether the file is not an inventory at all."""

    @property
    def feasible(self) -> bool:
        """Whether the model is expected to start there."""
        return self.plan is not None and self.plan.feasible

    @property
    def counts(self) -> bool:
        """Whether it belongs to what is asked about."""
        return not self.no_gpu and self.out_of_service is None


def plan_fleet(
    paths: Iterable[str | Path], *, settings: Mapping[str, Any], memory_override_bytes: int | None = None
) -> tuple[FleetRow, ...]:
    """Plan for every host in `paths`; one bad file or host never stops the others.

    Args:
        paths: inventories that :mod:`hw_specs.inventory` reads; ``-`` is standard input.
        settings: fields of :class:`PlanRequest` other than `gpus`, the same for all hosts.
        memory_override_bytes: engine-visible bytes of one GPU, on every host.
    """
    rows: list[FleetRow] = []
    planned: dict[GpuSet, Plan | M35Error] = {}
    for path in paths:
        rows += _rows(Path(path), settings, memory_override_bytes, planned)
    return tuple(rows)


def _rows(
    path: Path,
    settings: Mapping[str, Any],
    memory_override_bytes: int | None,
    planned: dict[GpuSet, Plan | M35Error],
) -> list[FleetRow]:
    from hw_specs.inventory import load_hosts

    try:
        hosts = load_hosts(path)
    except M35Error as error:
        name = shown(path.stem)
        return [FleetRow(host=name, path=str(path), problem=str(error), hint=error.hint, unreadable=True)]
    rows = []
    for number, host in enumerate(hosts):
        place = str(path) if len(hosts) == 1 and host.gpus is None else f"{path}#{number}"
        rows.append(_row(host, place, settings, memory_override_bytes, planned))
    return rows


def _row(
    host: Host,
    place: str,
    settings: Mapping[str, Any],
    memory_override_bytes: int | None,
    planned: dict[GpuSet, Plan | M35Error],
) -> FleetRow:
    row = FleetRow(host=host.name, path=place, notes=host.notes, out_of_service=host.out_of_service)
    if host.no_gpu and host.report is None:
        return replace(row, no_gpu=True)
    if host.problem is not None:
        return replace(row, problem=host.problem, hint=host.hint)
    try:
        gpus = _gpus(host, memory_override_bytes)
    except M35Error as error:
        return replace(row, problem=str(error), hint=error.hint)
    row = replace(row, gpus=gpus, notes=(*row.notes, *_left_out(host)))
    if host.out_of_service is not None:
        return replace(row, problem=f"out of service ({host.out_of_service})")
    if gpus not in planned:
        try:
            planned[gpus] = make_plan(PlanRequest(gpus=gpus, **settings))
        except M35Error as error:
            planned[gpus] = error
    found = planned[gpus]
    return replace(row, plan=found) if isinstance(found, Plan) else replace(row, problem=str(found), hint=found.hint)


def _gpus(host: Host, memory_override_bytes: int | None) -> GpuSet:
    if host.report is not None:
        return gpus_of(host.report, memory_override_bytes=memory_override_bytes)
    assert host.gpus is not None, "a host has a report, GPUs, or a problem"
    if memory_override_bytes is None or host.gpus.memory_override_bytes is not None:
        return host.gpus
    check_memory(memory_override_bytes)
    return replace(host.gpus, memory_override_bytes=memory_override_bytes)


def _left_out(host: Host) -> list[str]:
    """What of a listing's devices is not planned for; a host's own snapshot says that itself."""
    if host.report is None or host.report.taken_at:
        return []
    selection = host.report.selection
    slices = [gpu for gpu in host.report.gpus if gpu.slice_index is not None]
    notes = [warning for warning in selection.warnings if "is not in the catalogue" in warning]
    if selection.chosen and selection.chosen[0].slice_index is not None and len(slices) > 1:
        notes.append(f"{len(slices)} MIG slices: a server uses one, so this is the plan of one server")
    other = {left.gpu.name: left.reason for left in selection.left_out if left.gpu.slice_index is None}
    notes += [f"{name} is left out: {reason}" for name, reason in other.items() if not reason.startswith("MIG is on")]
    return notes
