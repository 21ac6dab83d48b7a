"""A stand-in for ``vllm serve``: prints a real start-up log and answers like the fake OpenAI server.

    fake_engine.py serve MODEL --host H --port P …

M35_FAKE_FAULT names a fault of the server, or ``crash`` (exits 1 before it is up) or ``never-up``.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOGS = HERE.parents[1] / "fixtures" / "logs" / "0.32.0-cpu"


def main() -> None:
    sys.path.insert(0, str(HERE.parents[2]))
    openai_server = importlib.import_module("tests.serve.fakes.openai_server")
    fault = os.environ.get("M35_FAKE_FAULT", "")
    if fault == "crash":
        print("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.")
        sys.exit(1)
    if fault == "never-up":
        threading.Event().wait()
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = openai_server.FakeServer(fault, None, port)
    log, ready, _ = (LOGS / "text-only.log").read_text(encoding="utf-8").partition("Application startup complete.\n")
    sys.stdout.write(log + ready)
    sys.stdout.flush()
    server.serve_forever()


main()
