"""Tells vLLM on which platform it runs: a subclass of its own CUDA or ROCm platform that needs no driver."""

# ruff: noqa: ARG005 - the signatures are those of what is stood in for
from __future__ import annotations

import importlib
import sys
from typing import Any

from oracle.inside.device import GPUS_PER_NODE, Device
from oracle.inside.hollow import HollowModule


def _amdsmi(device: Device) -> HollowModule:
    module: Any = HollowModule("amdsmi")
    module.AmdSmiException = type("AmdSmiException", (Exception,), {})
    module.amdsmi_init = module.amdsmi_shut_down = lambda *_, **__: None
    module.amdsmi_get_processor_handles = lambda: [object()] * GPUS_PER_NODE
    module.amdsmi_get_gpu_asic_info = lambda _: {
        "target_graphics_version": device.gcn.split(":")[0],
        "device_id": "0x74a1",
        "market_name": device.name,
    }
    module.amdsmi_get_gpu_memory_total = lambda *_: device.driver_bytes
    module.amdsmi_topo_get_numa_node_number = lambda _: 0
    return module


def install(device: Device) -> None:
    """Make `vllm.platforms.current_platform` the platform of `device`; the first import of vLLM."""
    if device.vendor == "rocm":
        sys.modules["amdsmi"] = _amdsmi(device)
    platforms: Any = importlib.import_module("vllm.platforms")
    interface: Any = importlib.import_module("vllm.platforms.interface")
    if device.vendor == "rocm":
        base: Any = importlib.import_module("vllm.platforms.rocm").RocmPlatform
    else:
        base = importlib.import_module("vllm.platforms.cuda").CudaPlatformBase
    answers = {
        "get_device_capability": lambda *_, **__: interface.DeviceCapability(*device.capability),
        "get_device_name": lambda *_, **__: device.name,
        "get_device_total_memory": lambda *_, **__: device.driver_bytes,
        "get_device_uuid": lambda *_, **__: "GPU-0",
        "get_device_numa_node": lambda *_, **__: None,
        "get_all_device_numa_nodes": lambda *_, **__: None,
        "is_fully_connected": lambda *_, **__: True,
        "device_count": lambda *_, **__: GPUS_PER_NODE,
        "import_kernels": lambda *_, **__: None,
        "check_if_supports_dtype": lambda *_, **__: None,
        "is_pin_memory_available": lambda *_, **__: True,
    }
    # vLLM compares the class name in no place, but prints it.
    body = {name: classmethod(lambda cls, *a, _f=f, **k: _f(*a, **k)) for name, f in answers.items()}
    platforms._current_platform = type("Pretended" + base.__name__, (base,), body)()
    platforms.current_platform = platforms._current_platform
