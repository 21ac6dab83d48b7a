"""Reports to JSON and back; the only place that validates a report from outside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hw_specs.detect.choose import as_snapshot
from hw_specs.detect.report import SCHEMA_VERSION, DetectionReport
from hw_specs.errors import BadSnapshot

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_MAX_FILE_BYTES = 16 * 2**20


@cache
def _adapter() -> TypeAdapter[DetectionReport]:
    from pydantic import TypeAdapter

    return TypeAdapter(DetectionReport)


def to_document(report: DetectionReport) -> dict[str, object]:
    """Return the report as plain JSON values, with a summary of what it amounts to under ``plan_for``."""
    selection = report.selection
    gpus = selection.gpu_set
    document: dict[str, object] = _adapter().dump_python(report, mode="json")
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


def from_json(text: str | bytes, *, where: str = "the snapshot") -> DetectionReport:
    """Return the report that :func:`to_document` wrote.

    Args:
        text: a JSON document.
        where: how to call it in an error.

    Raises:
        BadSnapshot: the text is no such document.
    """
    from pydantic import ValidationError

    hint = "write it on the machine with `m35-plan detect --json > host.json`"
    try:
        raw = json.loads(text)
        steers = _has_control_characters(raw)
    except (ValueError, RecursionError) as error:
        raise BadSnapshot(f"{where} is not JSON", hint=hint) from error
    if not isinstance(raw, dict) or "schema_version" not in raw or "gpus" not in raw:
        raise BadSnapshot(f"{where} is not a report of `m35-plan detect --json`", hint=hint)
    if raw["schema_version"] != SCHEMA_VERSION:
        raise BadSnapshot(
            f"{where} has schema version {str(raw['schema_version'])[:20]}, this program reads {SCHEMA_VERSION}",
            hint="write it again with the same version of m35-plan",
        )
    if steers:
        raise BadSnapshot(f"{where} holds control characters", hint=hint)
    try:
        return as_snapshot(_adapter().validate_python(raw, strict=False))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadSnapshot(f"{where} is damaged at `{place}`: {first['msg'].lower()}", hint=hint) from error


def _has_control_characters(value: object) -> bool:
    """Whether any text in a document could steer a terminal; what a probe writes never does."""
    if isinstance(value, str):
        return not value.isprintable()
    if isinstance(value, dict):
        return any(_has_control_characters(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_has_control_characters, value))


def load_report(path: Path) -> DetectionReport:
    """Return the report in a file that ``m35-plan detect --json`` wrote.

    Raises:
        BadSnapshot: the file cannot be read, or is something else.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadSnapshot(f"`{path}` is too large for a snapshot", hint="a snapshot has a few kilobytes")
        text = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise BadSnapshot(f"cannot read the snapshot `{path}`: {reason}", hint="check the path behind `@`") from error
    return from_json(text, where=f"`{path}`")
