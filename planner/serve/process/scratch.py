"""Folders that last as long as a command, and what is left of those whose command was killed.

Such a folder is locked by the process that uses it; the kernel takes the lock back with the process. So a later command
may delete what is not locked, and never what is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hw_specs.errors import reason_of
from planner.errors import PlannerError
from planner.serve.process.supervisor import read_stat
from planner.state import runs_dir

PREFIXES = ("m35-twin-", "m35-bench-")
"""Of our folders among the temporary ones of everybody."""

_LEFT = re.compile(r"\.\d{8}-\d{6}-[0-9a-f]{4}\.(?:draft|removed)")
"""Names of what a killed launch or removal leaves beside the runs."""

_DRAFT = re.compile(r"\.[a-z]+(?:\.[a-z]+)?\.(?P<owner>[A-Za-z0-9_]{1,16})")
"""Names of what a killed writer leaves in a run; behind the dot a process, or eight characters."""


@contextlib.contextmanager
def scratch_folder(prefix: str, *, parent: Path | None = None) -> Iterator[Path]:
    """Make a private folder, hold it, and delete it in the end.

    Raises:
        PlannerError: when there is no place for one.
    """
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:
            where, cure = ("", "set TMPDIR to") if parent is None else (f" in `{parent}`", "name")
            raise PlannerError(
                f"cannot make a temporary folder{where}: {reason_of(error)}", hint=f"{cure} a folder you can write"
            ) from error
        held = hold(folder)
        if held is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def hold(folder: Path) -> int | None:
    """Lock `folder` until the descriptor that is returned is closed; None where it was deleted before.

    Raises:
        OSError: when it cannot be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):
        # A file system without locks keeps everybody from deleting, too.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        there, here = folder.lstat(), os.fstat(descriptor)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return descriptor
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return None


def sweep(*places: Path) -> None:
    """Delete what killed commands of this user left among temporary folders, among runs and in `places`.

    What cannot be deleted stays; nothing fails over it.
    """
    with contextlib.suppress(OSError):
        for entry in _entries(Path(tempfile.gettempdir())):
            if entry.name.startswith(PREFIXES):
                _delete_if_free(Path(entry.path))
    with contextlib.suppress(PlannerError):
        places = (runs_dir(), *places)
    for place in dict.fromkeys(places):
        for entry in _entries(place):
            if _LEFT.fullmatch(entry.name):
                _delete_if_free(Path(entry.path))


@cache
def sweep_once() -> None:
    """Sweep, but only the first time that this process asks for it."""
    sweep()
    with contextlib.suppress(PlannerError):
        for run in _entries(runs_dir()):
            if not run.name.startswith("."):
                _sweep_drafts(Path(run.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _delete_if_free(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        # Somebody holds it.
        pass
    finally:
        os.close(descriptor)


def _sweep_drafts(run: Path) -> None:
    """Delete half-written files of a run whose writer is gone: a supervisor by its number, others by their lock."""
    for entry in _entries(run):
        found = _DRAFT.fullmatch(entry.name)
        if found is None or not entry.is_file(follow_symlinks=False):
            continue
        path = Path(entry.path)
        if found["owner"].isdigit():
            if read_stat(int(found["owner"])) is None:
                path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)
