"""A stand-in for the ``vllm`` program: prints a real start-up log, serves the routes of vLLM's API, or fails.

    vllm serve MODEL --host H --port P …

M35_FAKE_FAIL_UNLESS names a flag: without it on the command line the start ends like one without room for the KV
cache. M35_FAKE_DIE is how many seconds the server lives.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2]
LOGS = TESTS / "fixtures" / "logs"

_WHERE = "(EngineCore pid=7) ERROR 11-23 15:00:02 [core.py:1100] "
NO_ROOM = "\n".join(
    [
        "(EngineCore pid=7) INFO 11-23 15:00:01 [gpu_worker.py:480] Available KV cache memory: 1.10 GiB",
        _WHERE + "EngineCore failed to start.",
        _WHERE + "Traceback (most recent call last):",
        _WHERE + '  File "kv_cache_utils.py", line 1, in check_enough_kv_cache_memory',
        _WHERE + "ValueError: To serve at least one request with the models's max seq len (262144), (11.0 GiB KV cache "
        "is needed, which is larger than the available KV cache memory (1.10 GiB). Based on the available memory, the "
        "estimated maximum model length is 26208. Try increasing `gpu_memory_utilization` or decreasing "
        "`max_model_len` when initializing the engine.",
        "",
    ]
)

GAUGES = """\
vllm:num_requests_running{{engine="0"}} 2.0
vllm:num_requests_waiting{{engine="0"}} 1.0
vllm:kv_cache_usage_perc{{engine="0"}} 0.25
vllm:generation_tokens_total{{engine="0"}} 1200.0
vllm:prompt_tokens_total{{engine="0"}} 300.0
"""


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def main() -> None:
    log = (LOGS / "reconstructed" / "v2-8xh200-0.33.0.log").read_text(encoding="utf-8")
    needed = os.environ.get("M35_FAKE_FAIL_UNLESS")
    if needed and needed not in " ".join(sys.argv):
        sys.stdout.write(log.partition("Available KV cache memory")[0].rpartition("\n")[0] + "\n" + NO_ROOM)
        sys.exit(1)
    sys.path.insert(0, str(TESTS.parent))
    fake: Any = importlib.import_module("tests.serve.fakes.openai_server")
    fake.LIMIT = int(option("--max-model-len", "4096"))
    fake.METRICS = fake.METRICS.replace("1000", os.environ.get("M35_FAKE_BLOCKS", "1000")) + GAUGES
    if "--speculative-config" not in sys.argv:
        fake.METRICS = "\n".join(line for line in fake.METRICS.splitlines() if "spec_decode" not in line)
    server = fake.FakeServer("", None, int(option("--port", "8000")))
    if os.environ.get("M35_FAKE_DIE"):
        threading.Timer(float(os.environ["M35_FAKE_DIE"]), os._exit, (1,)).start()
    sys.stdout.buffer.write(log.partition("Application startup complete.")[0].encode())
    sys.stdout.buffer.write(b"Application startup complete.\n\xff\xfe broken \x1b[31mbytes\x1b[0m\n")
    sys.stdout.buffer.flush()
    server.serve_forever()


main()
