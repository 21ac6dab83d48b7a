"""Checks of the folders that a start writes to: temporary files, sockets, compiled code.

They ask the file systems and write nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hw_specs.units import GIB, format_gib
from planner.facts.preflight import preflight_facts
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight.subject import Subject

_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_USUAL = ("/tmp", "/var/tmp", "/usr/tmp")
"""Where Python looks after those variables, in this order; then in the current folder."""


def check_temporary(subject: Subject) -> str | None:
    """Whether the engine's processes can meet at sockets in the temporary folder, and whether it has room."""
    if subject.order.in_container:
        return None
    facts, environment = preflight_facts().temporary, subject.environment
    named = [environment[name] for name in _TEMPORARY if environment.get(name)]
    folder = next((Path(one).absolute() for one in (*named, *_USUAL, str(Path.cwd())) if _may_write(Path(one))), None)
    if folder is None:
        raise Failed("no temporary folder can be written", "`export TMPDIR=` a folder that can be")
    asked = environment.get("TMPDIR")
    if asked and not _may_write(Path(asked)):
        raise Doubtful(
            f"TMPDIR is `{asked[:80]}`, which cannot be written: Python takes {folder}, compilers stop there",
            "make the folder, or unset TMPDIR",
        )
    given = environment.get("VLLM_RPC_BASE_PATH")
    sockets = Path(given) if given else folder
    if not _may_write(sockets):
        raise Failed(
            f"VLLM_RPC_BASE_PATH is `{given}`: not a folder in which sockets can be made",
            "unset it, or make the folder",
        )
    length = len(os.fsencode(str(sockets))) + facts.socket_name_bytes
    if length > facts.most_socket_bytes:
        raise Failed(
            f"sockets in `{str(sockets)[:60]}…` have names of {length} bytes, of {facts.most_socket_bytes} at most",
            "a shorter folder: `export TMPDIR=/tmp` or VLLM_RPC_BASE_PATH=/tmp",
        )
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if not free or (room.f_files and not room.f_favail):
        raise Failed(f"{folder} is full", "make room there, or `export TMPDIR=` another folder")
    if free < facts.least_gib * GIB:
        raise Doubtful(
            f"{format_gib(free)} GiB free in {folder}: compilers put their files there",
            "make room there, or `export TMPDIR=` another folder",
        )
    return f"{folder}, {format_gib(free)} GiB free"


def check_caches(subject: Subject) -> str | None:
    """Whether what is compiled at start can be kept, and loaded from where it is kept."""
    if subject.order.in_container:
        return None
    least = preflight_facts().compiled_code.least_gib * GIB
    seen: list[str] = []
    for name, folder in _code_folders(subject):
        there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
        if not there.is_dir() or not _may_write(there):
            if name not in subject.environment:
                continue  # The home; the check of the user speaks of it.
            raise Failed(
                f"{name} is `{str(folder)[:80]}`, which cannot be made or written", f"unset {name}, or name another"
            )
        room = os.statvfs(there)
        if room.f_flag & os.ST_NOEXEC:
            raise Failed(
                f"{folder} is on a file system that is mounted noexec: compiled kernels cannot be loaded from there",
                f"{name}= a folder elsewhere, or mount it with exec (the host's administrator)",
            )
        free = room.f_bavail * room.f_frsize
        if free < least or (room.f_files and not room.f_favail):
            raise Doubtful(
                f"{format_gib(free)} GiB free for {folder}, where compiled kernels go",
                f"make room there, or {name}= a folder elsewhere",
            )
        seen.append(f"{folder}, {format_gib(free)} GiB free")
    return seen[0] if seen else None


def _code_folders(subject: Subject) -> Iterator[tuple[str, Path]]:
    """Yield the variable and the folder of each cache of compiled code, as its library would find it."""
    environment = subject.environment
    home = Path(environment.get("HOME") or "/")
    for name, usual in preflight_facts().compiled_code.folders.items():
        given = environment.get(name)
        base = environment.get("XDG_CACHE_HOME")
        if not given and base and usual.startswith("~/.cache/") and name.startswith("VLLM_"):
            yield "XDG_CACHE_HOME", Path(base) / usual.removeprefix("~/.cache/")
        else:
            text = given or (usual if usual != _USUAL[0] else environment.get("TMPDIR") or usual)
            yield name, home / text[2:] if text.startswith("~/") else Path(text)


def _may_write(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
