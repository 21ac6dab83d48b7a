"""Ending the processes of a server: ask, wait, kill. It needs no file, so it works where none can be written.

A supervisor names its run directory on its command line; one whose directory was deleted is found by that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from planner.serve.process.sessions import lives, members, reap_children, supervised_folder
from planner.state import runs_dir

POLL_S = 0.05
_KILL_WAIT_S = 5.0

Ending = Literal["terminated", "killed"]


def wait_or_kill(session: int, *, grace_s: float) -> Ending:
    """Wait `grace_s` for the end of a session that was asked to end, then kill what is left."""
    if wait_gone(session, grace_s):
        return "terminated"
    kill_all(session)
    return "killed"


def terminate(session: int) -> None:
    """Ask a server to end."""
    # A supervisor passes it on to the whole family, once.
    _signal([session] if lives(session) else members(session), signal.SIGTERM)


def kill_all(session: int) -> None:
    """Kill every process of a session; the supervisor goes last, because it writes down how the server ended."""
    for number in range(3):
        spare = {session} if number == 0 else set()
        _signal([pid for pid in members(session) if pid not in spare], signal.SIGKILL)
        if wait_gone(session, _KILL_WAIT_S):
            break


def wait_gone(session: int, wait_s: float) -> bool:
    """Wait until no process of a session is left; return whether that happened."""
    deadline = time.monotonic() + wait_s
    while members(session):
        reap_children()
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A server that runs although its run directory was deleted: nothing but its supervisor knows it."""

    directory: Path
    """Where its run was."""
    session: int

    @property
    def id(self) -> str:
        """What its run was called, where it lay among ours."""
        return self.directory.name

    @property
    def is_listed(self) -> bool:
        """Whether its run was one of those that are kept for this user, here or by a link."""
        root = runs_dir()
        if self.directory.parent == root:
            return True
        with contextlib.suppress(OSError):
            return any(entry.is_symlink() and entry.readlink() == self.directory for entry in root.iterdir())
        return False

    def stop(self, *, grace_s: float) -> Ending:
        """End it and everything it started."""
        terminate(self.session)
        return wait_or_kill(self.session, grace_s=grace_s)


def find_strays() -> list[Stray]:
    """Return the servers of this user whose run directories are gone, wherever they were."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        folder = supervised_folder(int(entry.name))
        if folder is not None and not folder.exists() and lives(int(entry.name)):
            found.append(Stray(directory=folder, session=int(entry.name)))
    return sorted(found, key=lambda stray: str(stray.directory))
