"""A free port of this machine's loopback; it only binds and lets go again."""

from __future__ import annotations

import socket

_LOOPBACK = "127.0.0.1"
_MOST_TRIES = 100


def free_port() -> int:
    """Return a port that is free now, of the system's choice."""
    with socket.create_server((_LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def free_port_beside(port: int) -> int | None:
    """Return the first free port above `port`, for people; None when the next hundred are taken."""
    for candidate in range(port + 1, min(port + 1 + _MOST_TRIES, 65536)):
        with socket.socket() as probe:
            try:
                probe.bind((_LOOPBACK, candidate))
            except OSError:
                continue
            return candidate
    return None
