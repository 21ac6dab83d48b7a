"""Flags of ``vllm serve`` that no plan decides: ``serve_flags.toml``."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts.record import Record, read
from planner.facts.vllm import Basis


class Whole(Record):
    """Flags that abbreviate nothing, though they look like it."""

    names: tuple[str, ...]


class ServeFlags(Record):
    """The whole file; names stand without their dashes."""

    basis: Basis
    source: str
    switches: tuple[str, ...]
    values: tuple[str, ...]
    """Flags that take one value."""
    layouts: Mapping[str, Mapping[str, Literal["mistral", "hf"]]]
    """Flag → its values → the checkpoint layout they mean."""
    short: Mapping[str, str]
    """Short form → flag."""
    whole: Whole
    unmodelled: Mapping[str, str]
    """Flag → the memory it takes that no plan counts."""


@cache
def serve_flags() -> ServeFlags:
    """Return what ``serve_flags.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("serve_flags.toml", ServeFlags)
