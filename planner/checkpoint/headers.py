"""Safetensors headers and indexes; it never reads a tensor's bytes.

A header is 8 bytes of length, then JSON: name to dtype, shape and offsets (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hw_specs.errors import shown
from hw_specs.reading import UnreadableInput, open_input
from planner.checkpoint.document import INDEX_LIMIT_BYTES, Section, parse_object, read_object
from planner.errors import UnreadableCheckpoint

HEADER_LIMIT_BYTES = 100_000_000
"""The safetensors library refuses longer headers."""
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One entry of a header."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        """Elements as stored, packed ones counted as their container."""
        return math.prod(self.shape)


def _tensor(name: str, entry: object, origin: str) -> tuple[Tensor, int]:
    """The tensor and the end of its bytes."""

    def broken(why: str) -> UnreadableCheckpoint:
        return UnreadableCheckpoint(f"tensor `{shown(name)}` in `{origin}` {why}")

    if not isinstance(entry, dict):
        raise broken("is not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise broken(f"has the unknown dtype `{shown(str(dtype))}`")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise broken("has no valid shape")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(n) is int and 0 <= n < 2**53 for n in offsets)
    ):
        raise broken("has no valid offsets")
    start, end = cast("list[int]", offsets)
    size_bytes = math.prod(cast("list[int]", shape)) * DTYPE_BITS[dtype] // 8
    if end - start != size_bytes:
        raise broken(f"claims {end - start} bytes where its shape needs {size_bytes}")
    return Tensor(dtype=dtype, shape=tuple(shape), bytes=size_bytes), end


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors that the file at `path` lists.

    Raises:
        UnreadableCheckpoint: when the file is cut off, broken or no safetensors file.
    """
    origin = shown(path.name)
    try:
        with open_input(path) as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or not 2 <= length <= HEADER_LIMIT_BYTES:
                raise UnreadableCheckpoint(
                    f"`{origin}` is not a safetensors file: its header length is {length}",
                    hint="a Git LFS pointer or a failed download looks like this",
                )
            text = file.read(length)
        file_bytes = path.stat().st_size
    except (OSError, UnreadableInput) as error:
        reason = error.reason if isinstance(error, UnreadableInput) else error.strerror or str(error)
        raise UnreadableCheckpoint(f"cannot read `{origin}`: {reason}") from None
    if len(text) < length:
        raise UnreadableCheckpoint(f"`{origin}` is cut off inside its header", hint="download it again")
    tensors: dict[str, Tensor] = {}
    last = 0
    for name, entry in parse_object(text, origin=origin).values.items():
        if name != "__metadata__":
            tensors[name], end = _tensor(name, entry, origin)
            last = max(last, end)
    if file_bytes < 8 + length + last:
        raise UnreadableCheckpoint(
            f"`{origin}` is cut off: it holds {file_bytes} of {8 + length + last} bytes", hint="download it again"
        )
    return tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A ``*.safetensors.index.json``: which shard holds which tensor."""

    total_bytes: int | None
    """Tensor bytes of all shards, where the index says so."""
    shards: tuple[str, ...]


def read_index(path: Path) -> Index:
    """Return the index at `path`; shard names are plain file names.

    Raises:
        UnreadableCheckpoint: when it is broken or points outside its directory.
    """
    section = read_object(path, limit_bytes=INDEX_LIMIT_BYTES)
    places = section.section("weight_map")
    if places is None or not places.values:
        raise UnreadableCheckpoint(f"`{section.origin}` names no shards (`weight_map` is empty)")
    shards: dict[str, None] = {}
    for tensor in places.values:
        shard = places.text(tensor)
        if not shard.endswith(".safetensors") or Path(shard).name != shard or "\\" in shard or "\0" in shard:
            raise UnreadableCheckpoint(
                f"`{section.origin}` points to `{shown(shard)}`, which is not a plain shard name"
            )
        shards[shard] = None
    metadata = section.section("metadata") or Section(origin=section.origin, values={})
    total = metadata.integer("total_size", limit=2**50) if "total_size" in metadata else None
    return Index(total_bytes=total, shards=tuple(shards))
