"""Checks of what a start compiles with, and of the driver against the CUDA or ROCm that torch was built for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hw_specs.detect.devices import Driver
from planner.facts.preflight import preflight_facts
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight.engine import is_cpu_build, vllm_version
from planner.serve.preflight.subject import Subject

_CUDA = re.compile(r"CUDA (\d+)\.(\d+)")
_LOCAL_ROCM = re.compile(r"\+rocm(\d)\.?(\d)")
_LOCAL_CUDA = re.compile(r"\+cu(\d+)(\d)$")
_RUNTIMES = ("nvidia_cuda_runtime", "nvidia_cuda_runtime_cu13", "nvidia_cuda_runtime_cu12")


def check_runtime(subject: Subject) -> str | None:
    """Whether the driver is new enough for the CUDA or ROCm of the installed torch, or of the image."""
    wanted = subject.plan.gpus.spec.vendor if subject.plan is not None else None
    driver = next((one for one in subject.report.drivers if wanted in (None, one.vendor)), None)
    if driver is None:
        return None
    return _check_rocm(subject, driver) if driver.vendor == "amd" else _check_cuda(subject, driver)


def _check_cuda(subject: Subject, driver: Driver) -> str:
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


def _check_rocm(subject: Subject, driver: Driver) -> str:
    built, where = _built_for_rocm(subject)
    package = _amdgpu_package(driver.driver_version or "")
    rows = preflight_facts().rocm_drivers.supported
    row = next((row for row in rows if row[0] == package), None)
    if built is None:
        raise Unknown(f"amdgpu {driver.driver_version or 'unknown'}; the ROCm of {where} is not known")
    needed = f"ROCm {built[0]}.{built[1]}"
    if row is None:
        raise Unknown(
            f"amdgpu {driver.driver_version or 'unknown'} belongs to none of the packages that are known: the kernel's "
            f"own driver may lack what {needed} needs"
        )
    said = f"{where} is built for {needed}, amdgpu {row[0]} is supported with {row[1]} to {row[2]}"
    if built > _numbers(row[2]):
        fitting = [one[0] for one in rows if built <= _numbers(one[2])]
        raise Doubtful(said, f"the host's administrator: amdgpu {fitting[0]} or newer" if fitting else "an older build")
    if built < _numbers(row[1]):
        raise Doubtful(said, f"a build for ROCm {row[1]} or newer")
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
    given = subject.environment.get("CUDA_HOME")
    if jit and given and not Path(given, "bin/nvcc").exists():
        raise Doubtful(
            f"CUDA_HOME is `{given[:80]}`, and there is no bin/nvcc in it: FlashInfer compiles at start with that one",
            "point CUDA_HOME at one toolkit's folder, without colons, or unset it",
        )
    home = given or "/usr/local/cuda"
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
        return _of_image(subject, preflight_facts().cuda_drivers.images), "the image"
    versions = subject.versions or {}
    if local := _LOCAL_CUDA.search(versions.get("torch", "")):
        return (int(local[1]), int(local[2])), f"torch {versions['torch']}"
    found = next((versions[name] for name in _RUNTIMES if name in versions), None)
    return (_numbers(found) if found else None), f"torch {versions.get('torch', '')}".strip()


def _built_for_rocm(subject: Subject) -> tuple[tuple[int, int] | None, str]:
    """The ROCm that the engine was built for, and where that is known from."""
    if subject.order.in_container:
        return _of_image(subject, preflight_facts().rocm_drivers.images), "the image"
    versions = subject.versions or {}
    for name in ("vllm", "torch"):
        if local := _LOCAL_ROCM.search(versions.get(name, "")):
            return (int(local[1]), int(local[2])), f"{name} {versions[name]}"
    return None, f"torch {versions.get('torch', '')}".strip()


def _of_image(subject: Subject, rows: tuple[tuple[str, str], ...]) -> tuple[int, int] | None:
    planned = subject.plan.vllm_version if subject.plan is not None else "0"
    fitting = [row[1] for row in rows if _numbers(row[0]) <= _numbers(planned)]
    return _numbers(fitting[-1]) if fitting else None


def _amdgpu_package(version: str) -> str | None:
    """The package that a version of the kernel module is of; None for a kernel's own driver."""
    module = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version.strip())
    if module is None:
        return None
    rows = [(tuple(map(int, first.split("."))), package) for first, package in preflight_facts().rocm_modules.first]
    fitting = [package for first, package in rows if first <= tuple(map(int, module.groups()))]
    return fitting[-1] if fitting else None


def _numbers(text: str) -> tuple[int, int]:
    parts = [int(part) for part in text.split(".")[:2] if part.isdecimal() and len(part) < 10]
    return (parts[0] if parts else 0, parts[1] if len(parts) > 1 else 0)


def _least_driver(cuda: tuple[int, int]) -> str:
    rows = preflight_facts().cuda_drivers.least
    fitting = [row[1] for row in rows if _numbers(row[0]) <= cuda]
    return fitting[-1]
