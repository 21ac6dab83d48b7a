"""Blanks what one architecture does not need in a CUDA library; size, headers and offsets stay, it packs small.

    python fatbin.py IN.so OUT.so --sm 90 [--keep REGEX] [--no-code]

Blanked, never stripped: wheels patch their libraries, and a tool that moves sections breaks them. Symbols and debug
sections go, and GPU code of other architectures. ``__nv_relfatbin`` holds code that only a linker reads.

A library holds containers; each holds entries: PTX (kind 1) or machine code (kind 2) for one architecture. The driver
takes the entry for its own architecture and reads no other, and modules are loaded when first used. Where a container
has no machine code for the architecture, its PTX stays. `--keep` keeps, among containers with attention kernels,
those whose demangled first kernel matches; ``--no-code`` keeps none, for a library that is loaded and never asked.
Never run it on a library that other GPUs shall use.
"""

from __future__ import annotations

import argparse
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, CODE = 1, 2
NO_BYTES = 8
UNREAD = (".symtab", ".strtab", ".comment", ".gnu.build.attributes")
"""Sections that nothing reads at run time; debug sections are the others."""


@dataclass(frozen=True)
class Entry:
    start: int
    size: int
    kind: int
    sm: int


def containers(data: bytes) -> Iterator[list[Entry]]:
    """Entries of every container; `start` and `size` are the payload's."""
    position = 0
    while (found := data.find(MAGIC, position)) >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", data, found)
        end = found + header + size
        if version != 1 or header != 16 or end > len(data):
            position = found + 4
            continue
        entries, at = [], found + header
        while at < end:
            kind, _, entry_header, payload = struct.unpack_from("<HHIQ", data, at)
            (sm,) = struct.unpack_from("<I", data, at + 28)
            entries.append(Entry(at + entry_header, payload, kind, sm))
            at += entry_header + payload
        yield entries
        position = end


def sections(data: bytes) -> list[tuple[str, int, int]]:
    """Name, start and size of every section that has bytes in the file, unloaded ones among them."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * entry) for index in range(count)]
    strings = headers[names][4]
    found = []
    for name, kind, _, _, start, size, *_ in headers:
        if kind != NO_BYTES:
            end = data.index(b"\0", strings + name)
            found.append((data[strings + name : end].decode(), start, size))
    return found


def kernel(payload: bytes) -> str:
    """Demangled name of the first kernel of uncompressed machine code, else empty."""
    names = sorted(set(re.findall(rb"\.text\.(_Z\w+)", payload)))
    if not names:
        return ""
    return subprocess.run(["c++filt", names[0].decode()], capture_output=True, text=True, check=True).stdout


def blank(data: bytes, *, sm: int, keep: str, no_code: bool = False) -> tuple[bytes, int]:
    """Return the library with everything unread zeroed, and the bytes of GPU code that stayed."""
    out, kept = bytearray(data), 0
    parts = sections(data)
    linked = [(start, start + size) for name, start, size in parts if name == "__nv_relfatbin"]
    for entries in containers(data):
        native = any(entry.kind == CODE and entry.sm == sm for entry in entries)
        for entry in entries:
            payload = data[entry.start : entry.start + entry.size]
            if native:
                stays = entry.kind == CODE and entry.sm == sm
            else:
                stays = entry.kind == PTX and entry.sm <= sm
            if no_code or any(start <= entry.start < end for start, end in linked):
                stays = False
            if stays and keep and b"FlashAttnFwdSm" in payload:
                stays = bool(re.search(keep, kernel(payload)))
            if stays:
                kept += entry.size
            else:
                out[entry.start : entry.start + entry.size] = bytes(entry.size)
    for name, start, size in parts:
        if name in UNREAD or name.startswith(".debug"):
            out[start : start + size] = bytes(size)
    return bytes(out), kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--sm", type=int, required=True)
    parser.add_argument("--keep", default="")
    parser.add_argument("--no-code", action="store_true")
    args = parser.parse_args()
    result, kept = blank(args.library.read_bytes(), sm=args.sm, keep=args.keep, no_code=args.no_code)
    args.result.write_bytes(result)
    print(f"{args.result}: {kept:,} bytes of GPU code kept")


if __name__ == "__main__":
    main()
