"""Failures of a probe in plain words: one sentence and a hint each. It is pure; it looks at nothing itself."""

from __future__ import annotations

from hw_specs.detect.child import Failure
from hw_specs.detect.devices import Problem, ProblemKind
from hw_specs.detect.host import Host
from hw_specs.spec import Vendor

_NVML_LIBRARY_NOT_FOUND = 12
_IN_A_CONTAINER = {
    "nvidia": "start the container with `--gpus all` (NVIDIA's toolkit); in Kubernetes, request `nvidia.com/gpu`",
    "amd": "start the container with `--device /dev/kfd --device /dev/dri --group-add video --group-add render`; "
    "in Kubernetes, request `amd.com/gpu`",
}
_DISPLAY = {"nvidia": "NVIDIA", "amd": "AMD"}
_NVIDIA_CODES = {
    4: ("this user may not talk to the NVIDIA driver", "check the permissions of `/dev/nvidiactl` and `/dev/nvidia*`"),
    17: ("the operating system refused a call of the NVIDIA driver", "`dmesg | grep -i nvrm` says why"),
    18: (
        "the NVIDIA kernel module and its library are of different versions",
        "reboot, or unload and load the module: this is the usual state after a driver upgrade",
    ),
    999: (
        "NVML failed with its unknown error (999)",
        "`nvidia-smi` and `dmesg | grep -i nvrm` say more; in a container that ran for long, start it again",
    ),
}
_AMD_CODES = {
    10: ("this user may not talk to the AMD driver", "join the groups: `sudo usermod -aG render,video $USER`"),
    18: ("amdsmi could not start (18, initialisation error)", "`amd-smi list` and `dmesg | grep -i amdgpu` say more"),
    34: ("the AMD driver is not loaded", "load it: `sudo modprobe amdgpu`; `dmesg | grep -i amdgpu` says why not"),
}


def explain(vendor: Vendor, failure: Failure, host: Host) -> Problem:
    """Return why the probe of `vendor` found nothing."""
    if failure.kind == "module-missing":
        return _module_missing(vendor, host)
    library = f"the {'NVIDIA (NVML)' if vendor == 'nvidia' else 'AMD (amdsmi)'} library"
    during = f" during `{failure.call}`" if failure.call else ""
    if failure.kind == "timeout":
        hint = f"see whether `{_tool(vendor)}` hangs too; `--timeout` waits longer"
        return _broken(vendor, f"{library} did not answer within {failure.text}{during}", hint)
    if failure.kind == "crash":
        return _broken(vendor, f"{library} crashed ({failure.text.lower()}){during}", _mismatch_hint(vendor))
    if failure.kind == "garbage":
        return _broken(vendor, f"{library} gave an answer that makes no sense", _mismatch_hint(vendor))
    return _nvidia(failure, host) if vendor == "nvidia" else _amd(failure, host)


def no_devices(vendor: Vendor, host: Host) -> Problem:
    """Return why a library that works shows no GPU."""
    name = _DISPLAY[vendor]
    answers = f"the {name} driver answers, but"
    if host.in_container:
        return _broken(vendor, f"{answers} this container was given no GPU", _IN_A_CONTAINER[vendor])
    hint = f"`lspci | grep -i {name.lower()}` shows what is on the bus; `{_tool(vendor)}` should list it"
    return _broken(vendor, f"{answers} reports no GPU", hint)


def device_problem(vendor: Vendor, index: int, code: int | None, text: str) -> Problem:
    """Return why one device is missing from the list."""
    if vendor == "nvidia" and code == 15:
        message = f"GPU {index} has fallen off the bus"
        hint = "`dmesg | grep -i xid` says why; reset it or reboot"
    elif code == 4:
        message = f"this user may not use GPU {index}"
        hint = "check the permissions of the device files and the container's device list"
    else:
        message = f"GPU {index} does not answer ({text.strip().rstrip('.').lower() or code})"
        hint = f"see what `{_tool(vendor)}` says about it"
    return Problem(kind="device", vendor=vendor, message=message, hint=hint)


def kfd_problem(host: Host) -> Problem | None:
    """Return why HIP would fail although amdsmi answers: it needs ``/dev/kfd``."""
    if host.kfd and not host.kfd_usable:
        return _broken(
            "amd",
            "this user may not open `/dev/kfd`, so the engine could not use the AMD GPUs",
            "join the groups: `sudo usermod -aG render,video $USER`, then log in again",
        )
    return None


def _module_missing(vendor: Vendor, host: Host) -> Problem:
    package = "nvidia-ml-py" if vendor == "nvidia" else "amdsmi"
    seen = host.on_bus(vendor)
    kind: ProblemKind = "broken" if host.shows(vendor) else "absent"
    there = f", so the {seen} {_DISPLAY[vendor]} GPUs on the PCI bus cannot be read" if seen else ""
    hint = f"install it: `pip install {package}`"
    if vendor == "amd":
        hint += ", in the version of your ROCm, or ROCm's own from `/opt/rocm/share/amd_smi`"
    return Problem(kind=kind, vendor=vendor, message=f"the Python package {package} is not installed{there}", hint=hint)


def _nvidia(failure: Failure, host: Host) -> Problem:
    if failure.code == _NVML_LIBRARY_NOT_FOUND:
        return _nvidia_library(host)
    if failure.code == 9:
        if host.in_container and not host.nvidia_nodes:
            return _broken(
                "nvidia", "this container has the NVIDIA library but no GPU device", _IN_A_CONTAINER["nvidia"]
            )
        return _broken(
            "nvidia",
            "the NVIDIA driver is installed but not loaded",
            "load it: `sudo modprobe nvidia`; `dmesg | grep -i nvrm` says why not",
        )
    if failure.code in _NVIDIA_CODES:
        message, hint = _NVIDIA_CODES[failure.code]
        if failure.code == 18 and host.nvidia_module:
            message += f" (the module is {host.nvidia_module})"
        return _broken("nvidia", message, hint)
    return _broken("nvidia", f"NVML failed: {_words(failure)}", "see what `nvidia-smi` says")


def _nvidia_library(host: Host) -> Problem:
    """``libnvidia-ml.so.1`` cannot be loaded: no driver, or a container without it."""
    missing = "`libnvidia-ml.so.1` cannot be loaded"
    if host.nvidia_module or host.nvidia_nodes:
        where = "in this container" if host.in_container else "although the NVIDIA driver is loaded"
        hint = (
            "let the toolkit mount it: `NVIDIA_DRIVER_CAPABILITIES=compute,utility`"
            if host.in_container
            else "install the driver's user-space libraries of the same version, and check `ldconfig -p`"
        )
        return _broken("nvidia", f"{missing} {where}", hint)
    seen = host.on_bus("nvidia")
    if seen:
        hint = _IN_A_CONTAINER["nvidia"] if host.in_container else "install the NVIDIA driver"
        return _broken("nvidia", f"{seen} NVIDIA GPUs are on the PCI bus, but no driver is here ({missing})", hint)
    hint = _IN_A_CONTAINER["nvidia"] if host.in_container else "nothing to do on a machine without NVIDIA GPUs"
    return Problem(kind="absent", vendor="nvidia", message=f"no NVIDIA driver is here ({missing})", hint=hint)


def _amd(failure: Failure, host: Host) -> Problem:
    if failure.call == "import amdsmi" or failure.error_type == "OSError":
        if failure.error_type in ("KeyError", "OSError", "FileNotFoundError"):
            return _amd_library(host)
        return _broken(
            "amd",
            "the Python package amdsmi and the ROCm library are of different versions",
            _mismatch_hint("amd"),
        )
    if failure.code in _AMD_CODES:
        if host.in_container and not host.kfd:
            return _broken("amd", "this container has the ROCm library but no GPU device", _IN_A_CONTAINER["amd"])
        message, hint = _AMD_CODES[failure.code]
        return kfd_problem(host) or _broken("amd", message, hint)
    return kfd_problem(host) or _broken("amd", f"amdsmi failed: {_words(failure)}", "see what `amd-smi list` says")


def _amd_library(host: Host) -> Problem:
    missing = "`libamd_smi.so` cannot be loaded"
    if host.shows("amd"):
        seen = host.on_bus("amd")
        there = (
            f"{seen} AMD GPUs are on the PCI bus, but {missing}" if seen else f"the AMD driver is loaded, but {missing}"
        )
        hint = "install ROCm's `amd-smi-lib`, or set `ROCM_PATH` to where it is"
        return _broken("amd", there, hint)
    hint = _IN_A_CONTAINER["amd"] if host.in_container else "nothing to do on a machine without AMD GPUs"
    return Problem(kind="absent", vendor="amd", message=f"no ROCm is here ({missing})", hint=hint)


def _broken(vendor: Vendor, message: str, hint: str) -> Problem:
    return Problem(kind="broken", vendor=vendor, message=message, hint=hint)


def _mismatch_hint(vendor: Vendor) -> str:
    if vendor == "amd":
        return (
            "wrapper and library must be of one version: `pip install /opt/rocm/share/amd_smi`; "
            "or name the GPUs, as in `--gpus 8xMI300X`"
        )
    return "see what `nvidia-smi` says; or name the GPUs, as in `--gpus 8xH200`"


def _tool(vendor: Vendor) -> str:
    return "nvidia-smi" if vendor == "nvidia" else "amd-smi list"


def _words(failure: Failure) -> str:
    code = f" ({failure.code})" if failure.code is not None else ""
    return f"{(failure.text or failure.error_type or 'no reason given').rstrip('.')}{code}"
