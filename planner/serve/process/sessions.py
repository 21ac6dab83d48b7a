"""Which processes belong to a run: its session, its server, and who still holds its log. It signals nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.serve.process.supervisor import boot_id, family, read_stat


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
    """Whether leader and server are both gone, so that what is left of the session serves nobody."""
    server = process.get("server_pid")
    if lives(session) or not isinstance(server, int) or server < 1:
        return False
    return not lives(server, start_ticks=process.get("server_start_ticks"))


def session_at_log(log: Path) -> int | None:
    """Return the session whose processes write to `log`: how a run is found whose record is damaged.

    A session that somebody else leads, such as the shell of a person who appends to the log, is not taken.
    """
    try:
        wanted = log.stat()
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
    if not lives(session):
        return True
    try:
        words = Path(f"/proc/{session}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith(b"supervisor.py") for word in words)
