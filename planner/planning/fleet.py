"""Many machines, one question: a plan for each host of an inventory. It probes nothing and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_specs.errors import M35Error, shown
from hw_specs.gpu_set import parse_gpus
from hw_specs.reading import UnreadableInput, read_text
from hw_specs.resolve import gpus_of
from hw_specs.units import parse_memory
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest

if TYPE_CHECKING:
    from hw_specs import DetectionReport


_INVENTORY_BYTES = 1 << 20
"""Some ten thousand hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One host: a plan, or the reason why there is none."""

    host: str
    """Host name in the snapshot; the file's name where it cannot be read."""
    path: str
    plan: Plan | None = None
    problem: str | None = None
    hint: str | None = None
    unreadable: bool = False
    """Whether the file is no snapshot at all."""

    @property
    def feasible(self) -> bool:
        """Whether the model is expected to start there."""
        return self.plan is not None and self.plan.feasible


def plan_fleet(
    paths: Iterable[Path], *, settings: Mapping[str, Any], memory_override_bytes: int | None = None
) -> tuple[FleetRow, ...]:
    """Plan for every snapshot in `paths`; one bad file or host never stops the others.

    Args:
        paths: files that ``m35-plan detect --json`` wrote, and YAML lists of hosts.
        settings: fields of :class:`PlanRequest` other than `gpus`, the same for all hosts.
        memory_override_bytes: engine-visible bytes of one GPU, on every host.
    """
    rows: list[FleetRow] = []
    for path in paths:
        if path.suffix in (".yaml", ".yml"):
            rows += _inventory(path, settings, memory_override_bytes)
        else:
            rows.append(_row(path, settings, memory_override_bytes))
    return tuple(rows)


def _inventory(path: Path, settings: Mapping[str, Any], memory_override_bytes: int | None) -> list[FleetRow]:
    """The hosts of a YAML list: ``- {host: node-1, gpus: 8xH200, gpu_memory: 130GiB}``, the memory where it differs."""
    import yaml

    try:
        hosts = yaml.safe_load(read_text(path, most_bytes=_INVENTORY_BYTES))
    except UnreadableInput as error:
        return [FleetRow(host=shown(path.stem), path=str(path), problem=str(error), hint=error.hint, unreadable=True)]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        problem = f"cannot read {shown(path.name)}: {why}"
        return [FleetRow(host=shown(path.stem), path=str(path), problem=problem, unreadable=True)]
    if not isinstance(hosts, list) or not all(isinstance(host, dict) and "gpus" in host for host in hosts):
        return [
            FleetRow(
                host=path.stem,
                path=str(path),
                problem=f"{path.name} is no list of hosts",
                hint="write `- {host: node-1, gpus: 8xH200}` for each",
                unreadable=True,
            )
        ]
    rows = []
    for number, host in enumerate(hosts):
        plain = {key: value for key, value in host.items() if isinstance(value, str | int | float)}
        name = shown(str(plain.get("host", f"{path.stem}-{number}")))
        place = f"{path}#{number}"
        unknown = sorted(shown(str(key)) for key in host if key not in ("host", "gpus", "gpu_memory"))
        try:
            if unknown:
                raise M35Error(f"`{unknown[0]}` is no field of a host", hint="fields: host, gpus, gpu_memory")
            if len(plain) < len(host):
                raise M35Error("a field of a host is no plain text", hint="write `- {host: node-1, gpus: 8xH200}`")
            memory = parse_memory(str(host["gpu_memory"])) if "gpu_memory" in host else memory_override_bytes
            gpus = parse_gpus(str(host["gpus"]), memory_override_bytes=memory)
            rows.append(FleetRow(host=name, path=place, plan=make_plan(PlanRequest(gpus=gpus, **settings))))
        except M35Error as error:
            rows.append(FleetRow(host=name, path=place, problem=str(error), hint=error.hint))
    return rows


def _row(path: Path, settings: Mapping[str, Any], memory_override_bytes: int | None) -> FleetRow:
    from hw_specs.detect.snapshot import load_report

    try:
        report = load_report(path)
    except M35Error as error:
        return FleetRow(host=path.stem, path=str(path), problem=str(error), hint=error.hint, unreadable=True)
    return _planned(report, path, settings, memory_override_bytes)


def _planned(
    report: DetectionReport, path: Path, settings: Mapping[str, Any], memory_override_bytes: int | None
) -> FleetRow:
    try:
        gpus = gpus_of(report, memory_override_bytes=memory_override_bytes)
        answer = make_plan(PlanRequest(gpus=gpus, **settings))
    except M35Error as error:
        return FleetRow(host=report.hostname, path=str(path), problem=str(error), hint=error.hint)
    return FleetRow(host=report.hostname, path=str(path), plan=answer)
