"""How elements of a linear layer are stored: ``weight_formats.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.rows import Row
from planner.facts.vllm import Origin


class Stored(Record):
    """One format."""

    bits: int
    group_rows: int = 0
    group_columns: int = 0
    """Elements that share a scale; 0 is the whole row, or what the checkpoint says."""
    scale_bytes: int = 0
    emulated_on: tuple[str, ...] = ()
    """Vendors, or architectures by how they begin, on whose GPUs vLLM expands it to 16 bits in each step."""
    source: str


class Tiles(Row):
    """Shapes that some card's kernels take in whole tiles only."""

    vendor: str
    formats: tuple[str, ...]
    packings: tuple[str, ...] = ()
    """Whose packing; empty is any."""
    groups: tuple[int, ...] = ()
    """Columns that share a scale, 0 a whole row; empty is any."""
    shapes: tuple[tuple[int, int], ...]
    """Columns and rows of a tile; one of them has to divide the matrix."""
    source: str


class Refused(Row):
    """Formats that the engine refuses whatever the shape."""

    formats: tuple[str, ...]
    packings: tuple[str, ...] = ()
    """Whose packing; empty is any."""
    vendor: str | None = None
    """None is any."""
    why: str
    """What follows ``vLLM VERSION``."""
    source: str


class WeightFormats(Origin):
    """The whole file."""

    formats: Mapping[str, Stored]
    refused: tuple[Refused, ...]
    tiles: tuple[Tiles, ...]


weight_formats = door("weight_formats.toml", WeightFormats)
