"""Checks of the GPUs' own health: memory errors, slowdowns, what the kernel said of them. They ask and change nothing.

NVIDIA's are asked for with ``nvidia-smi -q``, AMD's stand in sysfs; the kernel's words since it started in its log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from hw_specs.detect.host import PCI_DEVICES, gpus_on_bus, pci_address, text_of
from hw_specs.units import counted
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.log.causes import causes
from planner.serve.preflight.machine import on_cpu
from planner.serve.preflight.nvidia_smi import gpus_of
from planner.serve.preflight.subject import Subject
from planner.serve.process.witness import kernel_lines

_PCI = PCI_DEVICES
_FINE = frozenset({"", "0", "No", "None", "N/A", "Not Active", "Default", "[N/A]"})
_SLOWED = re.compile(r"Clocks (?:Event|Throttle) Reasons/(?:HW Slowdown|SW Thermal Slowdown)\b")
_SPOILT = re.compile(
    r"ECC Errors/Volatile/.*Uncorrectable|Remapped Rows/(?:Pending|Remapping Failure)|Retired Pages/Pending"
    r"|ECC Errors/.*Repair Pending|ECC Errors/Unrepairable|Fabric/Health/(?!Summary|Partition|Bandwidth).*"
)
_AGAIN = "drain it, reset the GPU or reboot; one that comes back with it needs replacement"
_RESET_NVIDIA = f"the host's administrator, `nvidia-smi --gpu-reset`: {_AGAIN}"
_RESET_AMD = f"the host's administrator, `amd-smi reset --gpureset`: {_AGAIN}"
_WATTS = re.compile(r"([\d.]+) W")


def check_gpu_health(subject: Subject) -> str | None:
    """Whether the GPUs report errors of their memory, a slowdown or a reset that is due."""
    if on_cpu(subject):
        return None
    vendor = subject.plan.gpus.spec.vendor if subject.plan is not None else None
    if vendor != "amd":
        every = list(enumerate(gpus_of(subject.nvidia_query or "")))
        # One that is left out on purpose may be as it is.
        used = [one for one in every if pci_address(one[1].get("PCI/Bus Id", "")) not in subject.unused_gpus]
        for number, gpu in used:
            _judge(number, gpu)
        if every:
            _kernel_words(subject.unused_gpus)
            return f"no memory error and no slowdown of {len(used)} GPU{'' if len(used) == 1 else 's'}"
    errors = list(_amd_errors(subject.unused_gpus))
    for number, block, count in errors:
        if count:
            raise Doubtful(
                f"AMD GPU {number}: {count:,} uncorrectable errors in {block} since the driver came up",
                _RESET_AMD,
            )
    _kernel_words(subject.unused_gpus)
    if not errors:
        raise Skipped("neither `nvidia-smi -q` nor the counters of amdgpu (`ras` in sysfs) can be read")
    read = counted(len({number for number, _, _ in errors}), "GPU")
    return f"amdgpu counts no uncorrectable error of {read}"


def _judge(number: int, gpu: Mapping[str, str]) -> None:
    recovery, mode = gpu.get("GPU Recovery Action", ""), gpu.get("Compute Mode", "")
    if recovery not in _FINE:
        raise Failed(
            f"GPU {number}: the driver asks for `{recovery}` before it is used again",
            _RESET_NVIDIA,
        )
    if mode == "Prohibited":
        raise Failed(
            f"GPU {number} is in compute mode `{mode}`: no program may use it",
            "`nvidia-smi -c DEFAULT` (the host's administrator)",
        )
    spoilt = [(name, value) for name, value in gpu.items() if _SPOILT.match(name) and value not in _FINE | {"False"}]
    if spoilt:
        raise Doubtful(
            f"GPU {number}: {spoilt[0][0].replace('/', ', ')} is {spoilt[0][1]}",
            _RESET_NVIDIA,
        )
    slowed = [name.rpartition("/")[2] for name, value in gpu.items() if _SLOWED.match(name) and value not in _FINE]
    if slowed:
        raise Doubtful(
            f"GPU {number} is held back: {', '.join(slowed)}",
            "cooling and power of this host (`nvidia-smi -q -d PERFORMANCE,TEMPERATURE`); it is slower than forecast",
        )
    power = {
        name.rpartition("/")[2]: value for name, value in gpu.items() if re.match(r"(?:GPU )?Power Readings/", name)
    }
    limit = _watts(power.get("Current Power Limit", power.get("Power Limit", "")))
    usual = _watts(power.get("Default Power Limit", ""))
    if limit is not None and usual is not None and limit < usual:
        raise Doubtful(
            f"GPU {number} may draw {limit:g} W of its usual {usual:g} W: it is slower than forecast",
            f"`nvidia-smi -pl {usual:g}` (the host's administrator), if that is not meant",
        )


def _watts(text: str) -> float | None:
    found = _WATTS.fullmatch(text)
    return float(found[1]) if found is not None else None


def _kernel_words(unused: Collection[str]) -> None:
    """Raise for what the kernel said since it started of a broken GPU, unless that is one at an address of `unused`."""
    lines = causes()["gpu-lost"].lines
    left_out = [address.rpartition(".")[0] for address in unused]
    for stamp, text in kernel_lines():
        if any(address in text.lower() for address in left_out):
            continue
        if any(any(has in text for has in one.texts) and re.search(one.expression, text) for one in lines):
            raise Doubtful(
                f"the kernel said at {stamp[:19]}: {text[:120]}",
                f"{causes()['gpu-lost'].cures[0]}; ignore it if that was done since",
            )


def _amd_errors(unused: Collection[str]) -> Iterator[tuple[int, str, int]]:
    """Yield each AMD GPU's number, part and uncorrectable errors, those at the addresses `unused` left out.

    Source: the kernel's documentation, "AMDGPU RAS Support": ``ras/*_err_count`` holds ``ue: N`` and ``ce: N``.
    """
    folders = [path for vendor, path in gpus_on_bus(_PCI) if vendor == "amd"]
    for number, folder in enumerate(folders):
        for counter in sorted(folder.glob("ras/*_err_count")) if folder.name not in unused else ():
            found = re.search(r"^ue:\s*(\d+)", text_of(counter), re.MULTILINE)
            if found is not None:
                yield number, counter.name.removesuffix("_err_count"), int(found[1])
