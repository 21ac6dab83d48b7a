"""The only door to the user's state: run directories, start histories, calibrations; it never interprets them.

Whole files are replaced atomically. Record files (``*.jsonl``) only ever grow, one line per record, under a lock;
a line that a crash cut short is skipped when reading and never repaired silently.

State is private: folders are made for the owner alone, and what another user owns or may write, or a link in place of
a file, is refused. Whoever may write there could otherwise choose which process is ended.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from hw_specs.errors import reason_of
from hw_specs.parsing import BadJson, parse_json
from planner.errors import PlannerError, UnsafePath
from planner.home import calibrations_file, state_folder, without_secrets

T = TypeVar("T")

MOST_BYTES = 64 << 20
"""No file of ours but a log is larger; a larger one is not read."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def state_dir() -> Path:
    """Return the folder of the state; it need not exist.

    Raises:
        PlannerError: when neither variable nor password file names a home.
    """
    return Path(state_folder())


def runs_dir() -> Path:
    """Where run directories live, or links to those that were put elsewhere."""
    return state_dir() / "runs"


def history_path() -> Path:
    """How long the phases of earlier starts took on this machine."""
    return state_dir() / "history.jsonl"


def calibrations_path() -> Path:
    """What engines measured on this machine."""
    return Path(calibrations_file())


def make_private(directory: Path) -> None:
    """Create `directory` and its parents; those of our own are the owner's alone, whatever the umask.

    Raises:
        UnsafePath: when it is there and another user owns it or may write it.
        PlannerError: when it cannot be created.
    """
    ours = state_dir()
    try:
        for folder in (*reversed(directory.parents), directory):
            is_ours = folder in (directory, ours) or ours in folder.parents
            if not folder.is_dir():
                folder.mkdir(mode=0o700 if is_ours else 0o777, exist_ok=True)
            if is_ours:
                require_own_folder(folder)
                # Whatever an umask took away or an older folder gave to others.
                folder.chmod(0o700)
    except OSError as error:
        raise PlannerError(
            f"cannot create `{directory}`: {reason_of(error)}",
            hint="set XDG_STATE_HOME to a folder you can write",
        ) from error


def require_own_folder(directory: Path) -> None:
    """Raise unless `directory` is a folder of this user that no one else may write.

    Raises:
        UnsafePath: with what is wrong.
        OSError: when it cannot be looked at.
    """
    _require_own(directory, directory.stat())


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of the state and return its descriptor; links, devices and pipes are never followed.

    Raises:
        UnsafePath: when another user owns it or may write it, or it is not a plain file.
        OSError: when it cannot be opened.
    """
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        if path.is_symlink():
            raise UnsafePath(f"`{path}` is a link", hint="a run's files are plain files; remove the link") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnsafePath(f"`{path}` is not a plain file", hint="remove it")
        _require_own(path, found)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_own(path: Path) -> bytes:
    """Return the bytes of a file of the state.

    Raises:
        UnsafePath: as :func:`open_own` does, and for a file larger than :data:`MOST_BYTES`.
        OSError: when it cannot be read.
    """
    with os.fdopen(open_own(path), "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UnsafePath(f"`{path}` is larger than {MOST_BYTES >> 20} MiB", hint="move it away")
    return data


def _require_own(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise UnsafePath(f"`{path}` belongs to another user", hint="only your own state and runs are used")
    if found.st_mode & _OTHERS_WRITE:
        raise UnsafePath(
            f"`{path}` can be written by other users", hint=f"if you trust what is in it: `chmod go-w {path}`"
        )


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: readers see the old file or the new one, never a part."""
    import fcntl
    import tempfile

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # Held, so that it is not taken for what a killed writer left.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            file.write(without_secrets(text))
            file.flush()
            os.fsync(file.fileno())
            Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: object) -> None:
    """Replace `path` by `document` as indented JSON."""
    import json

    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in `path`, or None when there is none that can be read.

    Raises:
        UnsafePath: when another user may have written it.
    """
    try:
        document = parse_json(read_own(path), constants=True)
    except (OSError, BadJson):
        return None
    return document if isinstance(document, dict) else None


def append_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Append one line per record, all of them in one write under the file's lock.

    Raises:
        UnsafePath: when another user may write it.
        OSError: when it cannot be written.
    """
    import fcntl
    import json

    if not records:
        return
    make_private(path.parent)
    lines = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            # An earlier writer died in the middle of a line; its rest must not swallow ours.
            lines = "\n" + lines
        data = memoryview(without_secrets(lines).encode())
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(path: Path, *, dropped: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the records of `path` in order; a line that is not a JSON object takes no other one with it.

    Args:
        path: a file of records, which need not exist.
        dropped: gets a text for every line, or for the whole file, that is left out.

    Raises:
        UnsafePath: when another user may have written it.
    """
    faults = [] if dropped is None else dropped
    try:
        data = read_own(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        faults.append(f"`{path.name}` cannot be read: {reason_of(error)}")
        return []
    records = []
    # Lines end with a line feed alone: a record's text may hold whatever else ends a line to Python.
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip(b"\0 \t\r"):
            continue
        try:
            record = parse_json(line)
        except BadJson as error:
            faults.append(f"line {number:,} of `{path.name}` {error}")
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            faults.append(f"line {number:,} of `{path.name}` is not a JSON object")
    return records


NO_OLDER: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
"""Of a record file that never had another head."""


def major(version: object) -> str:
    """Return the part of a ``schema_version`` that says whether a record can be read.

    >>> major("3.1"), major(None)
    ('3', '')
    """
    return version.partition(".")[0] if isinstance(version, str) else ""


def read_kept(
    path: Path,
    make: Callable[[dict[str, Any]], T],
    *,
    head: tuple[str, str],
    fault: Callable[[dict[str, Any]], str | None],
    older: Mapping[int, Mapping[str, Any]] = NO_OLDER,
) -> tuple[tuple[T, ...], tuple[str, ...]]:
    """Return the values that a record file holds, oldest first, and why others are left out.

    A plan must not fail over a store that was changed from outside, so nothing is raised; records of another kind
    or of another major version are not listed. Until 2026-11-29 a record had the number of its form in ``schema`` and
    no other head; those of the last such form are read with what it had not.

    Args:
        path: the record file.
        make: the value of a record without faults.
        head: ``kind`` and ``schema_version`` of today's records.
        fault: what is wrong with a record, or None.
        older: number of an old form → the fields that it had not, with the values that they mean there.
    """
    faults: list[str] = []
    try:
        records = read_records(path, dropped=faults)
    except PlannerError as error:
        return (), (str(error),)
    kind, version = head
    kept = []
    for record in records:
        form = record.get("schema")
        if isinstance(form, int) and form in older and "kind" not in record:
            record = {**older[form], **record}
        elif record.get("kind") != kind or major(record.get("schema_version")) != major(version):
            continue
        if wrong := fault(record):
            faults.append(wrong)
        else:
            kept.append(make(record))
    return tuple(kept), tuple(faults)
