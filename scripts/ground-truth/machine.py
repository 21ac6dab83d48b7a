"""Writes what the driver, NVML, torch and the project's own detection say about the GPUs here, as one JSON object.

It never changes a setting of the card.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
QUERY = "name,driver_version,memory.total,memory.used,memory.free,memory.reserved,compute_cap,pcie.link.gen.max,power.limit,clocks.max.sm,clocks.max.memory,mig.mode.current,ecc.mode.current"  # noqa: E501


def output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return repr(error)


def nvml() -> Any:
    try:
        import pynvml
    except ImportError as error:
        return repr(error)
    pynvml.nvmlInit()
    cards = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        second = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        cards.append(
            {
                "name": pynvml.nvmlDeviceGetName(handle),
                "total_bytes": memory.total,
                "free_bytes": memory.free,
                "used_bytes": memory.used,
                "v2_reserved_bytes": second.reserved,
                "v2_used_bytes": second.used,
                "pci_device_id": hex(pynvml.nvmlDeviceGetPciInfo(handle).pciDeviceId),
                "compute_capability": pynvml.nvmlDeviceGetCudaComputeCapability(handle),
            }
        )
    return cards


def torch_view() -> Any:
    import torch

    cards = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        cards.append(
            {
                "name": properties.name,
                "total_bytes": total,
                "properties_total_bytes": properties.total_memory,
                "free_with_context_bytes": free,
                "multiprocessors": properties.multi_processor_count,
                "l2_bytes": properties.L2_cache_size,
            }
        )
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "cards": cards}


def project_view() -> Any:
    command = [sys.executable, "-m", "planner", "detect", "--json"]
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"exit_code": done.returncode, "stdout": done.stdout[-2000:], "stderr": done.stderr[-2000:]}


def main() -> None:
    document = {
        "nvidia_smi": output(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]),
        "nvidia_smi_q_memory": output(["nvidia-smi", "-q", "-d", "MEMORY"]),
        "nvidia_smi_topo": output(["nvidia-smi", "topo", "-m"]),
        "nvml": nvml(),
        "project": project_view(),
        "torch": torch_view(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "tools": {name: bool(shutil.which(name)) for name in ("nvcc", "gcc", "ninja", "xz", "zstd")},
    }
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1, default=str), encoding="utf-8")
    print(json.dumps({key: document[key] for key in ("nvidia_smi", "nvml", "torch")}, default=str)[:1500])


if __name__ == "__main__":
    main()
