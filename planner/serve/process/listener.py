"""Who listens on a port of this machine: a health answer proves nothing if another process gives it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"


def listening_inodes(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on TCP `port`."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def listens(pids: Iterable[int], port: int) -> bool:
    """Whether one of the processes `pids` holds a socket that listens on `port`."""
    wanted = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    if not wanted:
        return False
    for pid in pids:
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                if str(entry.readlink()) in wanted:
                    return True
        except OSError:
            continue
    return False
