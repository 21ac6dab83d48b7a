"""How elements of a linear layer are stored: ``weight_formats.toml``."""

from collections.abc import Mapping
from functools import cache

from planner.facts.record import Record, read
from planner.facts.vllm import Origin


class Stored(Record):
    """One format."""

    bits: int
    group_rows: int = 0
    group_columns: int = 0
    """Elements that share a scale; 0 is the whole row, or what the checkpoint says."""
    scale_bytes: int = 0
    emulated_on: tuple[str, ...] = ()
    """Vendors on whose GPUs vLLM expands it to 16 bits in each step."""
    source: str


class WeightFormats(Origin):
    """The whole file."""

    formats: Mapping[str, Stored]


@cache
def weight_formats() -> WeightFormats:
    """Return what ``weight_formats.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("weight_formats.toml", WeightFormats)
