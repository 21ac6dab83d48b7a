"""Checks of what a start compiles with, and of the driver against the CUDA that torch was built for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from planner.facts.preflight import preflight_facts
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight.engine import is_cpu_build, vllm_version
from planner.serve.preflight.subject import Subject

_CUDA = re.compile(r"CUDA (\d+)\.(\d+)")
_LOCAL_CUDA = re.compile(r"\+cu(\d+)(\d)$")
_RUNTIMES = ("nvidia_cuda_runtime", "nvidia_cuda_runtime_cu13", "nvidia_cuda_runtime_cu12")


def check_runtime(subject: Subject) -> str | None:
    """Whether the driver is new enough for the CUDA of the installed torch, or of the image."""
    driver = next((one for one in subject.report.drivers if one.vendor == "nvidia"), None)
    if driver is None:
        return None
    able = _CUDA.search(driver.runtime or "")
    built, where = _built_for(subject)
    if able is None or built is None:
        raise Unknown(f"driver {driver.driver_version or 'unknown'}; the CUDA of {where} is not known")
    runs = (int(able[1]), int(able[2]))
    needed = f"CUDA {built[0]}.{built[1]}"
    said = f"{where} is built for {needed}, driver {driver.driver_version} runs CUDA {runs[0]}.{runs[1]}"
    if built[0] > runs[0]:
        raise Failed(
            said, f"the host's administrator: driver {_least_driver(built)} or newer; or a build for CUDA {runs[0]}"
        )
    if built > runs:
        raise Doubtful(
            f"{said}: kernels that are compiled at start fail with `unsupported toolchain`",
            f"driver {_least_driver(built)} or newer (the host's administrator)",
        )
    return said


def check_compilers(subject: Subject) -> str | None:
    """Whether kernels that the release compiles at start can be compiled."""
    if subject.order.in_container or vllm_version(subject) is None or is_cpu_build(subject):
        return None
    path = subject.environment.get("PATH")
    if not any(shutil.which(name, path=path) for name in ("cc", "gcc", "clang")):
        raise Failed(
            "no C compiler: Triton compiles its launcher at start",
            "`apt install build-essential`, or vLLM's image, which has one",
        )
    versions = subject.versions or {}
    jit = "flashinfer_python" in versions and "flashinfer_jit_cache" not in versions
    home = subject.environment.get("CUDA_HOME") or "/usr/local/cuda"
    nvcc = shutil.which("nvcc", path=path) or (
        str(Path(home) / "bin/nvcc") if Path(home, "bin/nvcc").exists() else None
    )
    ninja = "ninja" in versions or shutil.which("ninja", path=path)
    if jit and (nvcc is None or not ninja):
        missing = " and ".join(name for name, found in (("nvcc", nvcc), ("ninja", ninja)) if not found)
        raise Doubtful(
            f"no {missing}, and FlashInfer compiles at start without its flashinfer-jit-cache",
            "`pip install flashinfer-jit-cache`, or the CUDA toolkit; VLLM_USE_FLASHINFER_SAMPLER=0 needs neither",
        )
    return f"C compiler{', nvcc' if nvcc else ''}{', ninja' if ninja else ''}"


def _built_for(subject: Subject) -> tuple[tuple[int, int] | None, str]:
    """The CUDA that the engine's torch was built for, and where that is known from."""
    if subject.order.in_container:
        rows = preflight_facts().cuda_drivers.images
        planned = subject.plan.vllm_version if subject.plan is not None else "0"
        fitting = [row[1] for row in rows if _numbers(row[0]) <= _numbers(planned)]
        return (_numbers(fitting[-1]) if fitting else None), "the image"
    versions = subject.versions or {}
    if local := _LOCAL_CUDA.search(versions.get("torch", "")):
        return (int(local[1]), int(local[2])), f"torch {versions['torch']}"
    found = next((versions[name] for name in _RUNTIMES if name in versions), None)
    return (_numbers(found) if found else None), f"torch {versions.get('torch', '')}".strip()


def _numbers(text: str) -> tuple[int, int]:
    parts = [int(part) for part in text.split(".")[:2] if part.isdecimal()]
    return (parts[0] if parts else 0, parts[1] if len(parts) > 1 else 0)


def _least_driver(cuda: tuple[int, int]) -> str:
    rows = preflight_facts().cuda_drivers.least
    fitting = [row[1] for row in rows if _numbers(row[0]) <= cuda]
    return fitting[-1]
