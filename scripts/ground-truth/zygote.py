"""A process that has imported the engine once and forks a copy for every run; it never touches the GPU itself.

Importing the engine takes ten seconds and more in each of its processes; on a GPU machine they are paid for.
The engine's and the workers' processes come from a second process, the fork server of ``m35_fork.py``.

Reads one JSON object per line, ``{"argv": […], "env": {…}, "log": path}``; answers ``{"pid": …}`` and
``{"exited": pid, "code": …}``. What runs in the copy is the engine's own ``vllm`` command.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

PRELOAD = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.launchers.api_server",
    "vllm.entrypoints.launchers.app",
    "vllm.v1.engine.core",
    "vllm.v1.engine.async_llm",
    "vllm.benchmarks.serve",
    "vllm.benchmarks.datasets",
    "vllm.model_executor.models.pixtral",
    "vllm.model_executor.models.mistral",
    "vllm.tokenizers.mistral",
)


def _serve_forks() -> None:
    import multiprocessing.forkserver as server

    os.environ["M35_FORK_SERVER"] = "1"
    server._forkserver.set_forkserver_preload(["m35_fork"])
    server._forkserver.ensure_running()
    del os.environ["M35_FORK_SERVER"]


def _forks_see_gpu() -> bool:
    """True when a process of the fork server can use the GPU."""
    import m35_fork

    began = time.time()
    m35_fork.use_running_server()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "seen"
        process = m35_fork.Process(target=m35_fork.see_gpu, args=(str(path),))
        process.start()
        process.join(150)
        found = path.read_text(encoding="utf-8") if path.exists() else ""
    print(f"a fork saw {found!r} after {time.time() - began:.1f} s", file=sys.stderr, flush=True)
    return bool(found) or os.environ.get("M35_FORK_ANYWAY") == "1"


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def _start(order: dict[str, object], *, forks: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["env"])  # type: ignore[arg-type]
    os.environ["M35_LOG"] = str(order["log"])
    if forks:
        import m35_fork

        m35_fork.patch()
    sys.argv = list(order["argv"])  # type: ignore[call-overload]
    code = 1
    try:
        from vllm.entrypoints.cli.main import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    _serve_forks()
    import m35_fork

    # The probe imports the worker's modules in the server's process too.
    m35_fork.preload((*PRELOAD, *m35_fork.HEAVY))
    import torch

    forks = _forks_see_gpu()
    _say(ready=True, cuda_initialized=torch.cuda.is_initialized(), forks=forks)
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], 0.1)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                _say(exited=pid, code=os.waitstatus_to_exitcode(status))
        if readable:
            line = sys.stdin.readline()
            if not line:
                return
            _say(pid=_start(json.loads(line), forks=forks))


if __name__ == "__main__":
    main()
