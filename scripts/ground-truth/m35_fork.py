"""A fork server that has imported the engine once: every engine and worker process is forked from it.

Importing takes an engine process 15 to 90 seconds on a rented machine, and there is one process for the engine and one
for each GPU. The server never initialises the CUDA driver, so its children can: modules that would are left out, which
a child tries first. `patch` makes the engine take its processes from here instead of spawning them.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing.context
import multiprocessing.forkserver as server
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIGHT = (
    "vllm.entrypoints.cli.main",
    "vllm.v1.engine.core",
    "vllm.v1.engine.async_llm",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.models.pixtral",
    "vllm.model_executor.models.mistral",
    "vllm.model_executor.models.mistral_eagle",
    "vllm.tokenizers.mistral",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch._inductor.codegen.triton",
)
HEAVY = (
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.attention.backends.flash_attn",
    "vllm.distributed.device_communicators.cuda_communicator",
    "vllm.compilation.backends",
    "vllm.compilation.passes.pass_manager",
    "vllm.model_executor.model_loader.dummy_loader",
    "vllm.model_executor.warmup.kernel_warmup",
    "vllm.model_executor.layers.quantization.fp8",
    "vllm.vllm_flash_attn",
    "vllm._custom_ops",
    "flashinfer",
    "flashinfer.comm",
    "flashinfer.sampling",
)
NOT_INITIALISED = 3

_clean = False


def touched() -> bool:
    """True once this process has initialised the CUDA driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return int(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))) != NOT_INITIALISED


class Process(multiprocessing.context.ForkServerProcess):
    """A process of the fork server with the environment and the log of who asked for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._environment = dict(os.environ)

    def run(self) -> None:
        for name in [one for one in os.environ if one not in self._environment]:
            del os.environ[name]
        os.environ.update(self._environment)
        if log := os.environ.get("M35_LOG"):
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
        if pids := os.environ.get("M35_PIDS"):
            with Path(pids).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
        if "torch" in sys.modules and _clean:
            # torch remembers that its parent counted the devices; the driver itself is untouched there.
            sys.modules["torch"].cuda._is_in_bad_fork = lambda: False
        super().run()


class Context(multiprocessing.context.ForkServerContext):
    """What the engine takes for ``multiprocessing``."""

    Process = Process


def use_running_server() -> None:
    """Ask the server that runs already, from whatever process."""
    server._forkserver.ensure_running = lambda *_: None


def patch() -> None:
    """Let the engine take its processes from the fork server."""
    use_running_server()
    context = Context()
    import vllm.utils.system_utils as system

    system.get_mp_context = lambda: context
    for name in ("vllm.v1.engine.utils", "vllm.v1.engine.coordinator", "vllm.v1.executor.multiproc_executor"):
        module = importlib.import_module(name)
        if hasattr(module, "get_mp_context"):
            module.get_mp_context = system.get_mp_context


def see_gpu(path: str) -> None:
    """Write the free and total bytes of the first GPU into `path`: that a child can use it."""
    import torch

    Path(path).write_text(" ".join(map(str, torch.cuda.mem_get_info(0))), encoding="utf-8")


def preload(names: Sequence[str]) -> bool:
    """Import `names`; False at the first that initialises the driver."""
    for name in names:
        began = time.time()
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {error!r}"[:300], file=sys.stderr, flush=True)
        if time.time() - began > 0.5:
            print(f"{name}: {time.time() - began:.1f} s", file=sys.stderr, flush=True)
        if touched():
            print(f"{name} initialised the driver", file=sys.stderr, flush=True)
            return False
    return True


def _serve() -> None:
    global _clean
    if preload(LIGHT):
        tried = os.fork()
        if not tried:
            os._exit(0 if preload(HEAVY) else 1)
        if os.waitstatus_to_exitcode(os.waitpid(tried, 0)[1]) == 0:
            preload(HEAVY)
    _clean = not touched()
    print(f"fork server preloaded, driver untouched: {_clean}", file=sys.stderr, flush=True)
    patch()


if os.environ.get("M35_FORK_SERVER") == "1":
    _serve()
