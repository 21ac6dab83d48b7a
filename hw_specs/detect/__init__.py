"""The GPUs that are really here: probe, match, choose. It never guesses that a GPU exists.

Vendor libraries are loaded only in child processes (:mod:`hw_specs.detect.child`); every failure comes back
as a :class:`Problem`, a sentence with a hint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hw_specs.boundary import type_adapter
from hw_specs.detect import reasons
from hw_specs.detect.child import Failure, Outcome, run_probes
from hw_specs.detect.devices import DetectedGpu, Driver, PairLink, Problem
from hw_specs.detect.host import Host, look_at_host
from hw_specs.detect.match import match
from hw_specs.detect.report import DetectionReport
from hw_specs.detect.visible import VARIABLES, hidden_by, key
from hw_specs.spec import Vendor
from hw_specs.units import GIB, TIB

__all__ = ["DetectionReport", "detect_gpus"]

DEFAULT_TIMEOUT_S = 30.0
"""Without persistence mode a driver takes a second or two per GPU to wake up."""

_PROBES: dict[Vendor, str] = {"nvidia": "hw_specs.detect.nvidia", "amd": "hw_specs.detect.amd"}


def detect_gpus(
    *, timeout_s: float = DEFAULT_TIMEOUT_S, environment: Mapping[str, str] | None = None
) -> DetectionReport:
    """Return what GPUs this machine has; nothing is raised when it has none, the report says why.

    Args:
        timeout_s: seconds after which a vendor library that does not answer is given up.
        environment: where to read the settings that hide GPUs; this process's own by default.
    """
    settings = os.environ if environment is None else environment
    host = look_at_host()
    outcomes = run_probes(list(_PROBES.values()), timeout_s=timeout_s)
    report = DetectionReport(
        hostname=host.hostname,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        in_container=host.in_container,
        environment={name: settings[name] for name in VARIABLES if name in settings},
    )
    for vendor, outcome in zip(_PROBES, outcomes, strict=True):
        report = _add(report, vendor, outcome, host)
    return _recognise(report)


def _add(report: DetectionReport, vendor: Vendor, outcome: Outcome, host: Host) -> DetectionReport:
    """Return `report` with what one probe found, or why it found nothing."""
    if outcome.reading is None:
        failure = outcome.failure or Failure(kind="garbage")
        return replace(report, problems=(*report.problems, reasons.explain(vendor, failure, host)))
    try:
        driver, gpus, links = _validated(outcome.reading)
        problems = [
            reasons.device_problem(vendor, int(error["index"]), error["code"], str(error["text"]))
            for error in _list(outcome.reading, "device_errors")
        ]
    except (ValueError, KeyError, TypeError):
        problem = reasons.explain(vendor, Failure(kind="garbage"), host)
        return replace(report, problems=(*report.problems, problem))
    if any(_is_nonsense(gpu) for gpu in gpus):
        problem = reasons.explain(vendor, Failure(kind="garbage"), host)
        return replace(report, problems=(*report.problems, problem))
    if outcome.reading.get("wrapper_is_old"):
        problems.append(_OLD_WRAPPER)
    if not gpus and not problems:
        problems.append(reasons.no_devices(vendor, host))
    if vendor == "amd" and gpus:
        kfd = reasons.kfd_problem(host)
        problems += [kfd] if kfd else []
    return replace(
        report,
        drivers=(*report.drivers, driver),
        gpus=(*report.gpus, *gpus),
        links=(*report.links, *links),
        problems=(*report.problems, *problems),
    )


_OLD_WRAPPER = Problem(
    kind="note",
    vendor="nvidia",
    message="an old `pynvml` package hides nvidia-ml-py, so the driver's reserve cannot be read",
    hint="`pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py`",
)


def _list(reading: Mapping[str, object], name: str) -> list[dict[str, Any]]:
    value = reading[name]
    if not isinstance(value, list):
        raise TypeError(name)
    return value


def _validated(reading: Mapping[str, object]) -> tuple[Driver, tuple[DetectedGpu, ...], tuple[PairLink, ...]]:
    """Check a child's answer; pydantic's errors are ValueErrors."""
    return (
        type_adapter(Driver).validate_python(reading["driver"]),
        type_adapter(tuple[DetectedGpu, ...]).validate_python(reading["gpus"]),
        type_adapter(tuple[PairLink, ...]).validate_python(reading["links"]),
    )


def _is_nonsense(gpu: DetectedGpu) -> bool:
    """Whether a reading cannot come from a GPU: what a library of another version than its wrapper gives."""
    total = gpu.driver_total_bytes
    if not gpu.name.isprintable() or not gpu.uuid.isprintable() or not gpu.pci_bus_id.isprintable():
        return True
    if total is not None and not GIB <= total <= 4 * TIB:
        return True
    if total is not None and (gpu.used_bytes or 0) > total:
        return True
    if gpu.vendor == "amd" and gpu.architecture is not None:
        digits = gpu.architecture.removeprefix("gfx")
        return not (3 <= len(digits) <= 5 and all(digit in "0123456789abcdef" for digit in digits))
    return False


def _recognise(report: DetectionReport) -> DetectionReport:
    """Add to each GPU what it is and whether the engine may see it."""
    hidden = hidden_by(report.gpus, report.environment)
    known: list[DetectedGpu] = []
    for gpu in report.gpus:
        found = match(gpu)
        engine_total = gpu.engine_total_bytes
        notes = found.notes
        if engine_total is None and gpu.driver_total_bytes is not None and gpu.slice_index is None and found.spec:
            reserve = found.spec.driver_memory_bytes - found.spec.engine_memory_bytes
            engine_total = gpu.driver_total_bytes - reserve
            notes = (*notes, "the driver's reserve is the catalogue's, not this driver's")
        elif engine_total is None:
            engine_total = gpu.driver_total_bytes
        known.append(
            replace(
                gpu,
                catalogue_id=found.spec.id if found.spec else None,
                matched_by=found.by,
                engine_total_bytes=engine_total,
                hidden_by=hidden.get(key(gpu)),
                processes=tuple(replace(process, name=_printable(process.name)) for process in gpu.processes),
                notes=notes,
            )
        )
    return replace(report, gpus=tuple(known))


def _printable(name: str | None) -> str | None:
    """Return a process's name, which its user chose, without what could steer a terminal."""
    return name and "".join(one if one.isprintable() else "?" for one in name)
