"""Checks of the GPUs' own health: memory errors, slowdowns, what the kernel said of them. They ask and change nothing.

NVIDIA's are asked for with ``nvidia-smi -q``, AMD's stand in sysfs and are told by amdsmi; the kernel's words since it
started in its log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from hw_specs.detect.amd_limits import AmdLimits, read_limits
from hw_specs.detect.host import PCI_DEVICES, gpus_on_bus, pci_address, text_of
from hw_specs.units import counted
from planner.facts.energy import energy_facts
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.log.causes import causes
from planner.serve.preflight.machine import NO_GPU, on_cpu
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
_BROKEN = ("gpu-lost", "ecc", "nvlink")
"""Causes whose lines of the kernel's are about the GPU itself, not about a program on it."""
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
        notes = [_judge(number, gpu) for number, gpu in used]
        if every:
            _kernel_words(subject.unused_gpus)
            return f"no memory error and no slowdown of {counted(len(used), 'GPU')}" + _first(notes)
    errors = list(_amd_errors(subject.unused_gpus))
    for number, block, count in errors:
        if count:
            raise Doubtful(
                f"AMD GPU {number}: {count:,} uncorrectable errors in {block} since the driver came up",
                _RESET_AMD,
            )
    amd = vendor == "amd" or any(kind == "amd" for kind, _ in gpus_on_bus(_PCI))
    limits = [one for one in (read_limits() if amd else ()) if pci_address(one.pci_bus_id) not in subject.unused_gpus]
    notes = [_judge_limits(one) for one in limits]
    _kernel_words(subject.unused_gpus)
    if not errors and not limits and not gpus_on_bus(_PCI) and not subject.report.gpus:
        raise Skipped(NO_GPU)
    if not errors and not limits:
        raise Skipped("neither `nvidia-smi -q` nor the counters of amdgpu (`ras` in sysfs) nor amdsmi can be read")
    read = counted(len({number for number, _, _ in errors}), "GPU")
    said = [f"amdgpu counts no uncorrectable error of {read}"] if errors else []
    said += [f"amdsmi tells of no slowdown of {counted(len(limits), 'GPU')}"] if limits else []
    return "; ".join(said) + _first(notes)


def _judge_limits(gpu: AmdLimits) -> str:
    """Judge one AMD GPU's heat and power; return what is worth saying of a good one."""
    if gpu.held_back:
        raise Doubtful(
            f"AMD GPU {gpu.index} is held back: {', '.join(gpu.held_back)}",
            "cooling and power of this host (`amd-smi metric --throttle --temperature`); it is slower than forecast",
        )
    return _power(
        f"AMD GPU {gpu.index}", gpu.power_limit_w, gpu.default_power_limit_w, "`amd-smi set --power-cap {usual:.0f}`"
    )


def _first(notes: Iterable[str]) -> str:
    """What is said once for all GPUs of a host: they are mostly set alike."""
    said = [note for note in notes if note]
    more = f", and {len(said) - 1} more GPUs likewise" if len(said) > 1 else ""
    return f"; {said[0]}{more}" if said else ""


def _power(name: str, limit_w: float | None, usual_w: float | None, command: str) -> str:
    """Return what is to be said of a lowered power limit: a step that only reads draws less than the usual one.

    Raises:
        Doubtful: for a limit below what such a step draws, because every token then takes longer than forecast.
    """
    if limit_w is None or usual_w is None or limit_w >= usual_w:
        return ""
    shares = energy_facts().share
    said = f"{name} may draw {limit_w:g} W of its usual {usual_w:g} W"
    if limit_w < shares["decode"].value * usual_w:
        raise Doubtful(
            f"{said}, below the {shares['decode'].value:.0%} that reading takes: it is slower than forecast",
            f"{command.format(usual=usual_w)} (the host's administrator), if that is not meant",
        )
    return said + (", and prompts may take longer than forecast" if limit_w < shares["prefill"].value * usual_w else "")


def _judge(number: int, gpu: Mapping[str, str]) -> str:
    """Judge what nvidia-smi says of one GPU; return what is worth saying of a good one."""
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
    return _power(f"GPU {number}", limit, _watts(power.get("Default Power Limit", "")), "`nvidia-smi -pl {usual:.0f}`")


def _watts(text: str) -> float | None:
    found = _WATTS.fullmatch(text)
    return float(found[1]) if found is not None else None


def _kernel_words(unused: Collection[str]) -> None:
    """Raise for what the kernel said since it started of a broken GPU, unless that is one at an address of `unused`."""
    left_out = [address.rpartition(".")[0] for address in unused]
    lines = [
        (cause, line) for cause in (causes()[key] for key in _BROKEN) for line in cause.lines if line.weight is None
    ]
    for stamp, text in kernel_lines():
        if any(address in text.lower() for address in left_out):
            continue
        for cause, line in lines:
            if any(has in text for has in line.texts) and re.search(line.expression, text):
                cure = next((one for one in cause.cures if one.startswith("the host's administrator")), cause.cures[0])
                raise Doubtful(
                    f"the kernel said at {stamp[:19]}: {text[:120]}", f"{cure}; ignore it if that was done since"
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
