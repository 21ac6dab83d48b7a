"""One process plays one rank: torch's own `fake` backend under vLLM's real group coordinators; nothing is sent."""

# ruff: noqa: ARG001, ARG005 - the signatures are those of what is stood in for
from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore


class _Nccl:
    """PyNccl without communication: an out-of-place all-reduce allocates its output, as the real one does."""

    def __init__(self, group: Any = None, device: Any = None, *_: Any, **__: Any) -> None:
        self.disabled = False
        self.available = True
        self.device = device
        self.group = group
        self.rank = 0
        self.world_size = getattr(group, "world_size", None) or dist.get_world_size(group)
        self.nccl_version = 22800

    def all_reduce(self, tensor: torch.Tensor, out_tensor: Any = None, *_: Any, **__: Any) -> torch.Tensor:
        return torch.empty_like(tensor) if out_tensor is None else out_tensor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Disabled:
    """A custom all-reduce that says it cannot serve, so that the plain path is taken."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.disabled = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: False


_STAND_INS = {
    "pynccl": ("PyNcclCommunicator", _Nccl),
    "custom_all_reduce": ("CustomAllreduce", _Disabled),
    "symm_mem": ("SymmMemCommunicator", _Disabled),
    "flashinfer_all_reduce": ("FlashInferAllReduce", _Disabled),
    "flashinfer_pcie_ipc_all_reduce": ("FlashInferPcieIpcAllReduce", _Disabled),
    "quick_all_reduce": ("QuickAllReduce", _Disabled),
}


def install() -> None:
    """Replace the communicators; after the platform is set."""
    real_new_group = dist.new_group

    def new_group(ranks: Any = None, *args: Any, **kwargs: Any) -> Any:
        for name in ("backend", "timeout", "pg_options"):
            kwargs.pop(name, None)
        return real_new_group(ranks, backend="fake")

    dist.new_group = new_group
    for module, (name, stand_in) in _STAND_INS.items():
        with contextlib.suppress(ImportError):
            found = importlib.import_module("vllm.distributed.device_communicators." + module)
            if hasattr(found, name):
                setattr(found, name, stand_in)
    broadcast: Any = importlib.import_module("vllm.distributed.device_communicators.shm_broadcast")
    broadcast.MessageQueue.create_from_process_group = staticmethod(lambda *_, **__: None)
    state: Any = importlib.import_module("vllm.distributed.parallel_state")
    state.in_the_same_node_as = lambda group, source_rank=0: [True] * dist.get_world_size(group)
    state._node_count = lambda _: 1


def become(config: Any, *, tensor_parallel_size: int, pipeline_parallel_size: int, rank: int) -> None:
    """Make this process `rank` of a new world, forgetting the last one."""
    from vllm.config import set_current_vllm_config

    state: Any = importlib.import_module("vllm.distributed.parallel_state")
    if dist.is_initialized():
        state.destroy_model_parallel()
        state._WORLD = None
        with contextlib.suppress(Exception):
            state.destroy_distributed_environment()
        if dist.is_initialized():
            dist.destroy_process_group()
    world = tensor_parallel_size * pipeline_parallel_size
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    with set_current_vllm_config(config):
        state.init_distributed_environment(world, rank, "fake://", 0, "fake")
        state.initialize_model_parallel(tensor_parallel_size, pipeline_parallel_size, backend="fake")
