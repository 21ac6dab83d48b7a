"""Which processes belong to a run: its session, its server, and who still holds its log. It sends no signal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.serve.process.supervisor import boot_id, family, read_stat

_CHILDREN: dict[str, subprocess.Popen[bytes]] = {}
"""Supervisors that this process started: they must be reaped when they end."""


def adopt_child(run_id: str, process: subprocess.Popen[bytes]) -> None:
    """Remember a supervisor of ours."""
    _CHILDREN[run_id] = process


def reap_children() -> None:
    """Collect the supervisors of ours that ended."""
    for run_id, process in list(_CHILDREN.items()):
        if process.poll() is not None:
            _CHILDREN.pop(run_id, None)


def lives(pid: int, *, start_ticks: object = None) -> bool:
    """Whether `pid` runs and, where its start is known, is still the process that began then."""
    stat = read_stat(pid)
    return stat is not None and stat[0] not in "ZX" and (start_ticks is None or stat[4] == start_ticks)


def members(session: int) -> list[int]:
    """Return the living processes of a session, its leader last."""
    return family(session, root=session) + ([session] if lives(session) else [])


def recorded_session(process: Mapping[str, Any]) -> int | None:
    """Return the session that a whole record names, unless its leader's number is another process by now.

    Raises:
        ValueError: for a record that is damaged.
    """
    pid = process.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid < 1 or not isinstance(process.get("boot_id"), str):
        raise ValueError("the record of the processes is damaged")
    if process["boot_id"] != boot_id():
        return None
    stat = read_stat(pid)
    return None if stat is not None and stat[4] != process.get("start_ticks") else pid


def server_died(process: Mapping[str, Any], session: int) -> bool:
    """Whether leader and server are both gone, so that what is left of the session serves no one."""
    server = process.get("server_pid")
    if lives(session) or not isinstance(server, int) or server < 1:
        return False
    return not lives(server, start_ticks=process.get("server_start_ticks"))


def session_at_log(log: Path) -> int | None:
    """Return the session whose processes write to `log`: how a run is found whose record is damaged.

    A session with another leader, such as the shell of a person who appends to the log, is not taken.
    """
    try:
        wanted = log.lstat()
    except OSError:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not _writes(entry, wanted):
            continue
        stat = read_stat(int(entry.name))
        if stat is not None and stat[0] not in "ZX" and stat[3] != os.getsid(0) and _is_ours(stat[3]):
            return stat[3]
    return None


def _writes(entry: Path, wanted: os.stat_result) -> bool:
    for descriptor in ("1", "2"):
        try:
            there = (entry / "fd" / descriptor).stat()
        except OSError:
            continue
        if (there.st_ino, there.st_dev) == (wanted.st_ino, wanted.st_dev):
            return True
    return False


def _is_ours(session: int) -> bool:
    """Whether the leader is a supervisor of ours, or gone."""
    return not lives(session) or supervised_folder(session) is not None


def supervised_folder(pid: int) -> Path | None:
    """Return the run directory on the command line of a supervisor of this user; None for any other process."""
    try:
        if Path(f"/proc/{pid}").stat().st_uid != os.geteuid():
            return None
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    if len(words) < 2 or not words[-2].endswith(b"/process/supervisor.py"):
        return None
    return Path(os.fsdecode(words[-1]))
