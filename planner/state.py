"""The only door to the user's state: run directories, start histories, calibrations; it never interprets them.

Whole files are replaced atomically. Record files (``*.jsonl``) only ever grow, one line per record, under a lock;
a line that a crash cut short is skipped when reading and never repaired silently.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from planner.errors import PlannerError

APP = "m35-plan"


def state_dir() -> Path:
    """Return ``$XDG_STATE_HOME/m35-plan``, by default ``~/.local/state/m35-plan``; it need not exist."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification tells programs to ignore relative paths here.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "state"
    return root / APP


def runs_dir() -> Path:
    """Where run directories live, or links to those that were put elsewhere."""
    return state_dir() / "runs"


def history_path() -> Path:
    """How long the phases of earlier starts took on this machine."""
    return state_dir() / "history.jsonl"


def calibrations_path() -> Path:
    """What engines measured on this machine."""
    return state_dir() / "calibration.jsonl"


def make_private(directory: Path) -> None:
    """Create `directory` and its parents, readable by the owner alone.

    Raises:
        PlannerError: when it cannot be created.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlannerError(
            f"cannot create `{directory}`: {(error.strerror or str(error)).lower()}",
            hint="set XDG_STATE_HOME to a folder you can write",
        ) from error


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: readers see the old file or the new one, never a part."""
    import tempfile

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: object) -> None:
    """Replace `path` by `document` as indented JSON."""
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in `path`, or None when there is none that can be read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def append_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Append one line per record, all of them in one write under the file's lock."""
    import fcntl

    if not records:
        return
    make_private(path.parent)
    lines = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            # An earlier writer died in the middle of a line; its rest must not swallow ours.
            lines = "\n" + lines
        data = memoryview(lines.encode())
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of `path` in order, without lines that are no JSON objects."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
