"""Reports to JSON and back; the only place that validates a report from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from hw_specs.boundary import type_adapter
from hw_specs.detect.devices import DetectedGpu, GpuProcess, PairLink
from hw_specs.detect.report import DetectionReport
from hw_specs.errors import BadSnapshot, shown
from hw_specs.gpu_set import MAX_MEMORY_BYTES
from hw_specs.parsing import BadJson, parse_json
from hw_specs.units import GIB, format_gib

if TYPE_CHECKING:
    from pydantic import TypeAdapter

KIND, SCHEMA_VERSION = "detection", "1.1"
"""The head of the document. Version 1 was a number and had no kind; it is read."""
_MAX_DEVICES = 256
"""Twice what any host shows: 8 cards in 8 partitions each, or 16 with 7 slices."""
_MAX_NUMBER = 2**32 - 1
"""Of process ids and PCI ids; other counts have tighter limits."""
_MAX_BY_FIELD = {
    **dict.fromkeys(("index", "engine_index", "slice_index", "a", "b", "active_links", "hops"), 2**10),
    **dict.fromkeys(("compute_units", "cores"), 2**20),
    "bandwidth_bytes_per_s": 2**50,
}
"""Limits far above what exists, so that only nonsense is refused."""


@cache
def _adapter() -> TypeAdapter[DetectionReport]:
    return type_adapter(DetectionReport)


def to_document(report: DetectionReport) -> dict[str, object]:
    """Return the report as plain JSON values, with a summary of what it amounts to under ``plan_for``."""
    selection = report.selection
    gpus = selection.gpu_set
    document: dict[str, object] = {"kind": KIND, "schema_version": SCHEMA_VERSION}
    document |= _adapter().dump_python(report, mode="json")
    document["plan_for"] = (
        None
        if gpus is None
        else {
            "gpus": str(gpus),
            "name": gpus.spec.name,
            "count": gpus.count,
            "total_bytes": gpus.memory_bytes,
            "free_bytes": gpus.free_memory_bytes,
            "linked": gpus.linked,
            "env": dict(gpus.env),
            "devices": [gpu.label for gpu in selection.chosen],
        }
    )
    document["left_out"] = [{"device": left.gpu.label, "reason": left.reason} for left in selection.left_out]
    document["warnings"] = list(selection.warnings)
    document["holders"] = list(gpus.holders) if gpus else []
    return document


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of :func:`to_document`."""
    found = _adapter().json_schema(mode="serialization")
    texts = {"type": "array", "items": {"type": "string"}}
    pairs = {"type": "array", "items": {"type": "object", "required": ["device", "reason"]}}
    head = {"kind": {"const": KIND, "type": "string"}, "schema_version": {"const": SCHEMA_VERSION, "type": "string"}}
    summary = {"plan_for": {"type": ["object", "null"]}, "left_out": pairs, "warnings": texts, "holders": texts}
    found["properties"] = {**head, **found["properties"], **summary}
    found["required"] = [*head, *found["required"], *summary]
    return found


def from_json(text: str | bytes, *, where: str = "the snapshot") -> DetectionReport:
    """Return the report that :func:`to_document` wrote.

    Args:
        text: a JSON document.
        where: how to call it in an error.

    Raises:
        BadSnapshot: the text is not such a document.
        MissingPackage: pydantic is not installed.
    """
    adapter = _adapter()
    from pydantic import ValidationError

    hint = "write it on the machine with `m35-plan detect --json > host.json`"
    try:
        raw = parse_json(text)
    except BadJson as error:
        raise BadSnapshot(f"{where} {error}", hint=hint) from None
    if not isinstance(raw, dict) or "schema_version" not in raw or "gpus" not in raw:
        raise BadSnapshot(f"{where} is not a report of `m35-plan detect --json`", hint=hint)
    if _has_control_characters(raw):
        raise BadSnapshot(f"{where} holds control characters", hint=hint)
    if raw.get("kind", KIND) != KIND or str(raw["schema_version"]).partition(".")[0] != "1":
        version = shown(str(raw["schema_version"]), characters=20)
        raise BadSnapshot(
            f"{where} has schema version {version}, this program reads {SCHEMA_VERSION}",
            hint="write it again with the same version of m35-plan",
        )
    try:
        report = replace(adapter.validate_python(raw, strict=False), origin="snapshot")
    except ValidationError as error:
        first = error.errors()[0]
        place = shown(".".join(str(part) for part in first["loc"]))
        raise BadSnapshot(f"{where} is damaged at `{place}`: {shown(first['msg'].lower())}", hint=hint) from error
    fault = next(_faults(report), None)
    if fault:
        raise BadSnapshot(f"{where} is damaged at {fault}", hint=hint)
    return report


def _faults(report: DetectionReport) -> Iterator[str]:
    """Say which numbers cannot be true; a plan would follow them anyway."""
    if len(report.gpus) > _MAX_DEVICES:
        yield f"`gpus`: {len(report.gpus):,} devices are more than any host has"
        return
    for number, link in enumerate(report.links):
        yield from _out_of_range(link, f"links.{number}")
    for number, gpu in enumerate(report.gpus):
        place = f"gpus.{number}"
        yield from _out_of_range(gpu, place)
        for position, process in enumerate(gpu.processes):
            yield from _out_of_range(process, f"{place}.processes.{position}")
        total = max(gpu.driver_total_bytes or 0, gpu.engine_total_bytes or 0)
        if total and (gpu.free_bytes or 0) > total:
            yield f"`{place}.free_bytes`: {_gib(gpu.free_bytes)} are more than the GPU's {_gib(total)}"
    gpus = report.gpu_set
    if gpus is not None and gpus.memory_bytes < GIB:
        yield f"`gpus`: {_gib(gpus.memory_bytes)} of memory are too little for a GPU to plan for, which has 1 or more"


def _out_of_range(value: DetectedGpu | GpuProcess | PairLink, place: str) -> Iterator[str]:
    for field in fields(value):
        number = getattr(value, field.name)
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        size = field.name.endswith("_bytes")
        most = MAX_MEMORY_BYTES if size else _MAX_BY_FIELD.get(field.name, _MAX_NUMBER)
        if not 0 <= number <= most:
            limits = f"0 and {_gib(most)}" if size else f"0 and {most:,}"
            yield f"`{place}.{field.name}`: {shown(str(number), characters=20)} is not between {limits}"


def _gib(size_bytes: int | None) -> str:
    return f"{format_gib(size_bytes or 0, decimals=3)} GiB"


def _has_control_characters(value: object) -> bool:
    """Whether any text in a document could steer a terminal; what a probe writes never does."""
    if isinstance(value, str):
        return not value.isprintable()
    if isinstance(value, dict):
        return any(_has_control_characters(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_has_control_characters, value))
