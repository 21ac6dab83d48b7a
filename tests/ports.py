"""Ports for servers that tests start: none that an outgoing connection of another test may be given meanwhile."""

from __future__ import annotations

import os
import socket
from itertools import count

FIRST, EACH = 10_000, 1_000
"""Below the range that systems give to outgoing connections; each worker has a thousand of its own."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_next = count(os.getpid() % EACH)


def own_port() -> int:
    """Return a port that nobody listens on and that this worker has not given away before."""
    for _ in range(EACH):
        port = FIRST + _worker % 20 * EACH + next(_next) % EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("a thousand ports are taken")
