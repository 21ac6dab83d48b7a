"""Makes torch answer as if one chosen GPU were there; it never touches a real one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from oracle.inside import counter

GPUS_PER_NODE = 16
FREE_BELOW_TOTAL_BYTES = 1 << 30


@dataclass(slots=True, kw_only=True)
class Device:
    """What the pretended GPU answers; changed in place when another card's defaults are asked for."""

    vendor: str
    name: str
    capability: tuple[int, int]
    gcn: str
    compute_units: int
    total_bytes: int
    driver_bytes: int


class _Nothing:
    """A stream, event or graph that does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.cuda_stream = self.stream_id = 0
        self.device = counter.DEVICE

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: Any) -> float:
        return 0.0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Generator:
    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = counter.DEVICE

    def manual_seed(self, _: int) -> _Generator:
        return self

    def get_state(self) -> torch.Tensor:
        return torch.zeros(16, dtype=torch.uint8)

    def set_state(self, _: Any) -> None:
        return None


@contextlib.contextmanager
def _no_context(*_: Any, **__: Any) -> Iterator[None]:
    yield


def pretend(device: Device) -> None:
    """Patch `torch.cuda` and `torch.accelerator` to answer as `device`; once per process, before vLLM is imported."""

    class Properties:
        warp_size = 64 if device.vendor == "rocm" else 32
        is_integrated = False
        L2_cache_size = 50 << 20
        max_threads_per_multi_processor = 2048
        regs_per_multiprocessor = 65536
        shared_memory_per_block_optin = 232448
        multi_processor_count = property(lambda _: device.compute_units)
        total_memory = property(lambda _: device.total_bytes)
        name = property(lambda _: device.name)
        major = property(lambda _: device.capability[0])
        minor = property(lambda _: device.capability[1])
        gcnArchName = property(lambda _: device.gcn)  # noqa: N815

    stream = _Nothing()
    cuda: Any = torch.cuda
    cuda.Stream = cuda.Event = cuda.CUDAGraph = _Nothing
    torch_: Any = torch
    torch_.Event = torch_.Stream = _Nothing
    torch_.Generator = _Generator
    torch_.version.cuda = "12.9" if device.vendor == "cuda" else None
    torch_.version.hip = "7.0" if device.vendor == "rocm" else None
    cuda.stream = cuda.device = _no_context
    for name in (
        "synchronize",
        "empty_cache",
        "reset_peak_memory_stats",
        "set_device",
        "manual_seed_all",
        "manual_seed",
    ):
        setattr(cuda, name, lambda *_, **__: None)
    answers: dict[str, Any] = {
        "current_stream": stream,
        "default_stream": stream,
        "set_stream": None,
        "current_device": 0,
        "device_count": GPUS_PER_NODE,
        "is_available": True,
        "is_current_stream_capturing": False,
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "memory_reserved": 0,
        "graph_pool_handle": (0, 0),
    }
    for name, answer in answers.items():
        setattr(cuda, name, lambda *_, _answer=answer, **__: _answer)
    cuda._is_compiled = lambda: True
    cuda._device_count_nvml = cuda._device_count_amdsmi = lambda: GPUS_PER_NODE
    cuda.memory_stats = lambda *_, **__: {}
    cuda.get_device_properties = lambda *_, **__: Properties()
    cuda.get_device_capability = lambda *_, **__: device.capability
    cuda.get_device_name = lambda *_, **__: device.name
    cuda.mem_get_info = lambda *_, **__: (device.total_bytes - FREE_BELOW_TOTAL_BYTES, device.total_bytes)
    sys.modules["torch.cuda.graphs"].graph_pool_handle = lambda *_, **__: (0, 0)  # type: ignore[attr-defined]

    accelerator: Any = torch.accelerator
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_device_index", "set_stream"):
        setattr(accelerator, name, lambda *_, **__: None)
    accelerator.current_stream = cuda.current_stream
    accelerator.current_device_index = cuda.current_device
    accelerator.device_count = cuda.device_count
    accelerator.get_memory_info = cuda.mem_get_info
    accelerator.memory_stats = cuda.memory_stats
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved"):
        setattr(accelerator, name, lambda *_, **__: 0)
    # In-place sampling noise takes a generator that this torch would refuse for a device it does not have.
    draw = torch.Tensor.exponential_
    torch.Tensor.exponential_ = lambda self, *_, **__: draw(self)
