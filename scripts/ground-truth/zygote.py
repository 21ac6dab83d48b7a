"""A process that has imported the engine once and forks a copy for every run; it never touches the GPU itself.

Importing the engine takes ten seconds and more in each of its processes; on a rented machine that is device time.
Reads one JSON object per line, ``{"argv": […], "env": {…}, "log": path}`` or ``{"kill": pid}``; answers
``{"pid": …}`` and ``{"exited": pid, "code": …}``. What runs in the copy is the engine's own ``vllm`` command.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys

PRELOAD = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.core",
    "vllm.v1.engine.async_llm",
    "vllm.benchmarks.serve",
    "vllm.benchmarks.datasets",
    "vllm.model_executor.models.pixtral",
    "vllm.model_executor.models.mistral",
    "vllm.tokenizers.mistral",
)


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def _start(order: dict[str, object]) -> int:
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
    # Worker modules are left out: they initialise CUDA, and a process forked after that cannot use the GPU.
    for name in PRELOAD:
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"preload {name}: {error!r}", file=sys.stderr, flush=True)
    import torch

    _say(ready=True, cuda_initialized=torch.cuda.is_initialized())
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
            _say(pid=_start(json.loads(line)))


if __name__ == "__main__":
    main()
