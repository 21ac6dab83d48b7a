"""``python -m tests.soak [SECONDS]``: a day of log and dashboard at speed, and how memory and descriptors grow.

A day is 86,400 lines of a busy server's log and a look at its metrics every two seconds. A real run is followed through
the parts that the wizard follows it with; a real server answers the looks.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from planner.serve.process.follower import Follower
from planner.serve.process.health import read_metrics
from planner.serve.process.launcher import launch
from planner.serve.process.start_order import StartOrder
from planner.serve.process.tail import LogTail
from tui import news
from tui.serving import Serving, take
from tui.watching import MOST_LOG_BYTES

LINES, LOOKS, STEPS = 86_400, 43_200, 20
SERVER = "import sys, signal, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(86400)"
LINE = (
    "INFO 11-23 10:{:02d}:{:02d} [loggers.py:259] Engine 000: Avg prompt throughput: {}.0 tokens/s, Avg generation "
    "throughput: 512.3 tokens/s, Running: 32 reqs, Waiting: 0 reqs, GPU KV cache usage: 71.4%\n"
)
COUNTED = (
    "num_requests_running", "num_requests_waiting", "generation_tokens_total", "prompt_tokens_total",
    "num_preemptions_total", "time_to_first_token_seconds_sum", "time_to_first_token_seconds_count",
)  # fmt: skip


class Metrics(BaseHTTPRequestHandler):
    """A page that counts."""

    asked = 0

    def do_GET(self) -> None:
        Metrics.asked += 1
        page = "".join(f'vllm:{name}{{engine="0",model_name="m"}} {Metrics.asked * 3}.0\n' for name in COUNTED).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def memory_kib() -> int:
    """Return the resident memory of this process."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def main(limit_s: float) -> None:
    """Play the day and print a line per twentieth of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory(prefix="m35-test-soak-") as state:
        os.environ["XDG_STATE_HOME"] = state
        run = launch(StartOrder.of_command([sys.executable, "-c", SERVER], port=9))
        follower, tail, serving = Follower(run, until="end"), LogTail(run.log_path), Serving()
        begun, lines, looks, seen = time.monotonic(), 0, 0, 0
        try:
            for step in range(1, STEPS + 1):
                while lines < LINES * step // STEPS:
                    with run.log_path.open("a") as log:
                        log.write("".join(LINE.format(i // 60 % 60, i % 60, i) for i in range(lines, lines + 432)))
                    lines += 432
                    follower.poll()
                    while batch := tail.read(MOST_LOG_BYTES):
                        seen += len(batch)
                    for _ in range(432 * LOOKS // LINES):
                        looks += 1
                        page = read_metrics(url)
                        serving = take(serving, news.MetricsRead(page, at_s=float(looks), alive=True))
                files = len(list(Path("/proc/self/fd").iterdir()))
                kept = sum(path.stat().st_size for path in run.directory.iterdir() if path.name != "server.log")
                print(
                    f"{step / STEPS:>5.0%} {lines:>7,} lines {looks:>7,} looks {memory_kib() / 1024:>7.1f} MiB "
                    f"{files:>3} descriptors {kept:>9,} bytes kept {time.monotonic() - begun:>6.0f} s",
                    flush=True,
                )
                if time.monotonic() - begun > limit_s:
                    break
        finally:
            run.stop(grace_s=2)
    assert seen > 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=600.0, help="limit of the whole")
    main(parser.parse_args().seconds)
