"""The head that every JSON document of the command line bears, and its kinds. It prints through one writer.

Documents with a type of their own bring their head along (:mod:`planner.rendering.envelope`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from planner.cli.output import write_json, write_list

KINDS = {
    "accuracy": ("1.0", "the planner against published start-ups"),
    "calibration": ("1.0", "what one start measured, and whether it was kept"),
    "calibrations": ("1.0", "everything that is kept on this machine"),
    "fleet": ("1.1", "a plan for each host"),
    "fleet-load": ("1.0", "how a load is distributed over hosts"),
    "gpu": ("1.0", "one GPU of the catalogue with its sources"),
    "gpus": ("1.0", "the catalogue"),
    "plan-diff": ("1.0", "what changes from one plan to another"),
    "sweep": ("2.0", "configurations with their verdicts"),
}
"""Kind → version of its keys, ``major.minor``, and what it is. Plans and reviews bear heads of their own."""


def write_document(kind: str, body: Mapping[str, Any]) -> None:
    """Write one JSON document under its head."""
    write_json({"kind": kind, "schema_version": KINDS[kind][0], **body})


def write_list_document(kind: str, body: Mapping[str, Any], name: str, items: Iterable[str]) -> None:
    """Write one JSON document under its head whose last key is a long list, item by item."""
    write_list({"kind": kind, "schema_version": KINDS[kind][0], **body}, name, items)


def write_typed(value: object) -> None:
    """Write a document that has a type of its own."""
    from planner.rendering.envelope import to_value

    write_json(to_value(value))
