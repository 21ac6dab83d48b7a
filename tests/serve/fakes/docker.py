"""A `docker` that knows run, stop, rm, version and info: enough to see what is asked of the real one.

The container is the replaying server, in a session of its own as a daemon would have it; the client waits for it
and, like the real one, can be killed without taking the container along.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_DOCKER_STATE"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def main(words: list[str]) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    if words[0] == "version":
        print("28.0.0")
    elif words[0] == "info":
        print('{"nvidia": {}} null')
    elif words[0] == "run":
        name = words[words.index("--name") + 1]
        host, port, _ = words[words.index("--publish") + 1].rsplit(":", 2)
        server = subprocess.Popen(
            [*json.loads(os.environ["FAKE_SERVER"]), "--host", host, "--port", port], start_new_session=True
        )
        (STATE / name).write_text(str(server.pid))
        return server.wait()
    elif words[0] in ("stop", "rm"):
        file = STATE / words[-1]
        if not file.exists():
            return 1
        pid = int(file.read_text())
        if alive(pid):
            os.kill(pid, signal.SIGTERM if words[0] == "stop" else signal.SIGKILL)
            while alive(pid):
                time.sleep(0.02)
        if words[0] == "rm":
            file.unlink()
    return 0


sys.exit(main(sys.argv[1:]))
