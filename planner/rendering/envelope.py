"""The head of every JSON document: what it is, and which version of its shape. It prints nothing.

    @document("start-report", "2.0")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class StartReport: ...

A value is its own document: its fields are the keys, also those that it works out of the others (``init=False``).
``to_value`` puts the head before them; ``schema`` says the same for machines. A minor version adds keys, a major one
removes or redefines some.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

T = TypeVar("T")

_HEADS: dict[type, tuple[str, str]] = {}


def document(kind: str, version: str) -> Callable[[type[T]], type[T]]:
    """Give a dataclass the head under which it is written."""

    def register(cls: type[T]) -> type[T]:
        _HEADS[cls] = (kind, version)
        return cls

    return register


def documents() -> dict[str, type]:
    """Return every registered class by its kind, of the modules that are loaded."""
    return {kind: cls for cls, (kind, _) in _HEADS.items()}


def head(cls: type) -> tuple[str, str]:
    """Return kind and version of a registered class."""
    return _HEADS[cls]


def entry(cls: type[T], source: object, **others: object) -> T:
    """Return a value of the dataclass `cls` with `others`, and everything else of `source`, which has the same names.

    Raises:
        AttributeError: when `source` has not what a field is called, also where the field has a default.
    """
    assert dataclasses.is_dataclass(cls)
    same = {
        one.name: getattr(source, one.name) for one in dataclasses.fields(cls) if one.init and one.name not in others
    }
    made: T = cls(**same, **others)
    return made


def to_value(value: object) -> dict[str, Any]:
    """Return a document as plain dicts and lists, its head first.

    Raises:
        TypeError: for a value that is not one.
    """
    if type(value) not in _HEADS:
        raise TypeError(f"{type(value).__name__} is not a document")
    kind, version = _HEADS[type(value)]
    return {"kind": kind, "schema_version": version, **plain(value)}


def plain(value: object) -> Any:
    """Return a value as JSON has it: of a dataclass every field, of a path its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, PurePath) else value


def schema(cls: type) -> dict[str, Any]:
    """Return the JSON schema of a document, its head included."""
    from pydantic import TypeAdapter

    kind, version = _HEADS[cls]
    found = TypeAdapter(cls).json_schema(mode="serialization")
    for definition in (found, *found.get("$defs", {}).values()):
        # Every field is written, also one that has a default.
        if "properties" in definition:
            definition["required"] = [*definition["properties"]]
    head = {"kind": {"const": kind, "type": "string"}, "schema_version": {"const": version, "type": "string"}}
    found["properties"] = {**head, **found.get("properties", {})}
    found["required"] = [*head, *found.get("required", [])]
    return found
