"""A server that replays a start-up log and answers ``/health``: for what a healthy engine cannot be made to do.

    python replay_server.py [serve MODEL] --log FILE --host H --port P [--fault NAME] [--workers N]

Faults: ``never-ready`` stops before the last lines, ``health-500`` answers 500, ``health-slow`` never answers,
``health-garbage`` answers no HTTP, ``die-after-ready`` exits 1 once healthy, ``end-after-ready`` 0, ``crash`` exits 1
at the end of the log, ``segfault`` kills itself with SIGKILL, ``hang`` says again and again that nobody answers,
``pipe`` and ``link`` put something else in the place of the log and get ready. Workers ignore SIGTERM, as an engine
busy in a kernel does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

WAIT = (
    b"(EngineCore pid=7) INFO %s [shm_broadcast.py:466] No available shared memory broadcast block found in "
    b"60 seconds. "
    b"This typically happens when some processes are hanging or doing some time-consuming work "
    b"(e.g. compilation, weight/kv cache quantization).\n"
)
METRICS = b'vllm:num_requests_running{engine="0"} 0.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fault", default="")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--mark", default="")
    options = parser.parse_args()
    for _ in range(options.workers):
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)",
                options.mark,
            ]
        )
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lines = options.log.read_bytes().splitlines(keepends=True)
    ending = next((i for i, line in enumerate(lines) if b"Application startup complete" in line), len(lines))
    shown = lines[: ending + 1]
    if options.fault == "hang":
        loading = next(i for i, line in enumerate(lines) if b"% Completed" in line)
        shown = lines[: loading + 1]
    if options.fault == "never-ready":
        shown = shown[:-1]
    listener = socket.create_server((options.host, options.port))
    answered = threading.Event()
    threading.Thread(target=serve, args=(listener, options.fault, answered), daemon=True).start()
    for line in shown:
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    if options.fault in ("pipe", "link"):
        log = Path("/proc/self/fd/1").readlink()
        log.rename(log.with_suffix(".old"))
        os.mkfifo(log) if options.fault == "pipe" else log.symlink_to("/dev/null")
    while options.fault == "hang":
        sys.stdout.buffer.write(WAIT % time.strftime("%m-%d %H:%M:%S").encode())
        sys.stdout.buffer.flush()
        time.sleep(0.2)
    if options.fault == "crash":
        sys.exit(1)
    if options.fault == "segfault":
        os.kill(os.getpid(), signal.SIGKILL)
    if options.fault in ("die-after-ready", "end-after-ready"):
        answered.wait(30)
        sys.exit(1 if options.fault == "die-after-ready" else 0)
    while True:
        time.sleep(60)


def serve(listener: socket.socket, fault: str, answered: threading.Event) -> None:
    while True:
        connection, _ = listener.accept()
        # A client on a loaded machine may have given up: that must not end the answers to the next ones.
        with connection, contextlib.suppress(OSError):
            answer(connection, fault)
        answered.set()


def answer(connection: socket.socket, fault: str) -> None:
    if fault == "health-slow":
        time.sleep(60)
    asked = connection.recv(4096)
    if fault == "health-garbage":
        connection.sendall(b"\x00\xffnonsense\r\n\r\n")
        return
    status = b"500 Internal Server Error" if fault == "health-500" else b"200 OK"
    body = METRICS if asked.startswith(b"GET /metrics ") else b""
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
    connection.sendall(head + body)


main()
