"""The shipped model descriptions, ``models/*.toml``: a model's own table, and what stands beside it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from planner.facts import load
from planner.facts.record import Record, keys, read_value
from planner.facts.vllm import Origin


class Notes(Record):
    """What a file says beside the model."""

    kind: Literal["model", "draft"] = "model"
    """A draft runs beside its target only."""
    target: str = ""
    """Repository that a draft belongs to."""
    facts: Mapping[str, Origin]
    """Where the figures come from."""


@cache
def described(stem: str) -> tuple[Notes, Mapping[str, Any]]:
    """Return the notes of ``models/<stem>.toml``, and its other keys, which are the model's.

    Raises:
        BadFacts: where the notes have another shape.
        FileNotFoundError: when there is no such file.
    """
    name = f"models/{stem}.toml"
    table = dict(load(name))
    notes = {key: table.pop(key) for key in keys(Notes) if key in table}
    return read_value(notes, Notes, name), table
