"""Checks of environment variables that choose GPUs, and of those that torch, NCCL and ROCm read about them.

They look at the environment alone. A container sees only the variables that its command hands in.
"""

from __future__ import annotations

import re
import socket
from difflib import get_close_matches
from pathlib import Path

from hw_specs.units import counted
from planner.facts.preflight import preflight_facts
from planner.facts.release import parse_version
from planner.facts.review import review_facts
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight.machine import on_cpu, wanted_gpus
from planner.serve.preflight.subject import Subject

_ALLOCATORS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_BETWEEN_NODES = ("NCCL_IB_DISABLE",)
"""What GPUs of one node never use."""


def check_allocator(subject: Subject) -> str | None:
    """Whether torch's allocator is left in a mode whose memory the processes can share."""
    environment = subject.given
    for name in _ALLOCATORS:
        if {'"', "'"} & set(environment.get(name, "")):
            raise Failed(
                f"{name} has quotes in its value, which torch takes for a part of it", "the same without quotes"
            )
        text = re.sub(r"\[[^]]*\]|\s", "", environment.get(name, ""))
        options = {key: value for key, _, value in (part.partition(":") for part in text.split(","))} if text else {}
        bad = next((f"{key}:{value}".rstrip(":") for key, value in options.items() if not _is_option(key, value)), None)
        if bad is not None:
            raise Failed(
                f"{name} has `{bad[:60]}`, which torch raises for",
                f"unset {name}, or name:value with commas, True or False with a capital",
            )
        known = preflight_facts().allocator_options.names
        strange = next((key for key in options if key and key not in known), None)
        if strange is not None and not on_cpu(subject):
            said = f"{name} has `{strange[:60]}`, which is not an option of torch's allocator"
            near = get_close_matches(strange, known, n=1, cutoff=0.8)
            if near:
                raise Failed(said, f"`{near[0]}`, if it is meant, or unset {name}")
            raise Doubtful(f"{said} up to torch 2.13", f"unset {name}, unless a newer torch has it")
        if options.get("expandable_segments") == "True":
            if wanted_gpus(subject) > 1 and "--disable-custom-all-reduce" not in subject.engine_args:
                raise Doubtful(
                    f"{name} has expandable_segments:True, which breaks the custom all-reduce at graph capture",
                    f"unset {name}, or add `--disable-custom-all-reduce`",
                )
            return f"{name} has expandable_segments:True; no all-reduce kernel of vLLM's own shares memory here"
    return None


def _is_option(key: str, value: str) -> bool:
    """Whether torch's allocator takes this option; of most it does not look at the value before it is used."""
    if not key:
        return True
    if key == "expandable_segments":
        return value in ("True", "False")
    if key == "backend":
        return value in ("native", "cudaMallocAsync")
    if key == "garbage_collection_threshold":
        return value.replace(".", "", 1).isdecimal() and 0.0 < float(value) < 1.0
    least = preflight_facts().allocator_options.least.get(key)
    return "=" not in key and (least is None or (value.isdecimal() and int(value) >= least))


def check_visible_devices(subject: Subject) -> str | None:
    """Whether the variables that choose GPUs are in a form that the engine reads, and leave enough of them."""
    environment = subject.given
    chosen = {
        name: environment[name]
        for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
        if name in environment
    }
    if not chosen:
        return None
    cuda, hip = chosen.get("CUDA_VISIBLE_DEVICES"), chosen.get("HIP_VISIBLE_DEVICES")
    if cuda is not None and hip is not None and cuda != hip:
        raise Failed(f"CUDA_VISIBLE_DEVICES is `{cuda}`, HIP_VISIBLE_DEVICES is `{hip}`: vLLM refuses that", "set one")
    name, value = next(iter(chosen.items()))
    # What stands behind a last comma is no GPU, and neither CUDA nor the engine looks at it.
    devices = [part.strip() for part in value.strip().removesuffix(",").split(",")]
    if not value.strip() or devices[0] in ("-1", "NoDevFiles", "none", "void"):
        raise Failed(f"{name} is `{value}`: no GPU is visible", f"unset {name}, or name the GPUs: {name}=0,1")
    uuids = [part for part in devices if part.startswith(("MIG-", "GPU-"))]
    if uuids and not _reads_uuids(subject, name):
        release = f"vLLM {subject.plan.vllm_version}" if subject.plan is not None else "this engine"
        raise Failed(f"{name} names `{uuids[0][:40]}`: {release} reads numbers only", f"numbers: {name}=0,1")
    if any(part.startswith("MIG-") for part in uuids):
        raise Doubtful(
            f"{name} names `{uuids[0][:40]}`: vLLM takes the number of the slice for that of a GPU",
            f"in a container that sees one slice: {name}=0",
        )
    if not all(part.isdecimal() or part in uuids for part in devices):
        raise Failed(f"{name} is `{value[:60]}`: not numbers with commas between them", f"{name}=0,1")
    if len(set(devices)) < len(devices):
        raise Failed(f"{name} is `{value[:60]}`: a GPU is named twice", "two ranks on one GPU are refused by NCCL")
    strange = _not_here(subject, name, devices)
    if strange:
        raise Failed(
            f"{name} names {strange[:40]}, which this machine does not have: what stands behind it counts for nothing",
            f"`m35-plan detect` shows numbers and names: {name}=0,1",
        )
    if len(devices) < wanted_gpus(subject):
        left = counted(len(devices), "GPU")
        raise Failed(f"{name} leaves {left}, {wanted_gpus(subject)} are needed", f"name more in {name}")
    return f"{name}={value}"


def _not_here(subject: Subject, name: str, devices: list[str]) -> str:
    """The first device that no GPU of this machine is; empty where all are, or none can be counted."""
    here = [gpu for gpu in subject.report.gpus if gpu.vendor == "nvidia"]
    if not here or not name.startswith("CUDA") or subject.order.in_container or any(gpu.mig_enabled for gpu in here):
        return ""
    for one in devices:
        if one.isdecimal() and len(one) < 10 and int(one) >= len(here):
            return f"GPU {one}"
        if one.startswith("GPU-") and not any(gpu.uuid.lower().startswith(one.lower()) for gpu in here):
            return one
    return ""


def _reads_uuids(subject: Subject, name: str) -> bool:
    """Whether the planned release finds a GPU by the name that the driver gives it; on ROCm the runtime alone does."""
    plan, since = subject.plan, preflight_facts().device_uuids.since
    if name.startswith("ROCR"):
        return True
    if name.startswith("HIP") or (plan is not None and plan.gpus.spec.vendor == "amd"):
        return False
    return plan is None or parse_version(plan.vllm_version) >= parse_version(since)


def check_nccl(subject: Subject) -> str | None:
    """Whether the variables of NCCL, RCCL and Gloo name interfaces of this machine, and nothing is switched off."""
    environment = subject.given
    here = {name for _, name in socket.if_nameindex()}
    for name in _INTERFACES:
        wanted = [part.lstrip("^=").partition(":")[0] for part in environment.get(name, "").split(",") if part]
        if environment.get(name, "").startswith("^") or subject.own_network:
            continue
        if wanted and not any(one.startswith(part) for part in wanted for one in here):
            raise Failed(
                f"{name} is `{environment[name]}`, and this machine has no such interface",
                f"one of {', '.join(sorted(here - {'lo'})) or 'lo'} (`ip addr`), or unset it",
            )
        if wanted == ["lo"] and subject.plan is not None and subject.plan.gpus.nodes > 1:
            raise Failed(f"{name} is lo: other nodes cannot reach it", "the interface between the nodes (`ip addr`)")
    _check_adapters(environment.get("NCCL_IB_HCA", ""), in_container=subject.order.in_container)
    several = subject.plan is not None and subject.plan.gpus.nodes > 1
    if wanted_gpus(subject) > 1:
        off = [
            name
            for name, values in review_facts().slow_transport.off.items()
            if environment.get(name, "").strip() in values and (several or name not in _BETWEEN_NODES)
        ]
        if off:
            raise Doubtful(
                f"{', '.join(off)} is set: the GPUs talk over a slower way", f"unset {off[0]} where it is not needed"
            )
    given = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith(("NCCL_", "RCCL_"))]
    return ", ".join(given)[:200] or None


def _check_adapters(wanted: str, *, in_container: bool) -> None:
    """Whether one of the InfiniBand adapters that NCCL is told to use is here; ``^`` leaves out, ``=`` is exact."""
    here = infiniband()
    names = [part.partition(":")[0] for part in wanted.lstrip("=").split(",") if part]
    if in_container or wanted.startswith("^") or not names:
        return
    exact = wanted.startswith("=")
    if not any(one == name if exact else one.startswith(name) for name in names for one in here):
        raise Doubtful(
            f"NCCL_IB_HCA is `{wanted[:60]}`, and this machine has {', '.join(here) or 'no InfiniBand adapter'}",
            "NCCL falls back to plain sockets: name an adapter of `ls /sys/class/infiniband`, or unset it",
        )


def infiniband() -> list[str]:
    """Return the InfiniBand and RoCE adapters of this machine."""
    try:
        return sorted(path.name for path in Path("/sys/class/infiniband").iterdir())
    except OSError:
        return []


def check_override(subject: Subject) -> str | None:
    """Whether ROCm is told to take the GPU for another one."""
    given = subject.given.get("HSA_OVERRIDE_GFX_VERSION")
    if not given:
        return None
    spec = subject.plan.gpus.spec if subject.plan is not None else None
    name = spec.name if spec is not None and spec.vendor == "amd" else "the GPU"
    raise Doubtful(
        f"HSA_OVERRIDE_GFX_VERSION is {given}: ROCm loads the kernels of another GPU, which fail or compute wrongly",
        f"unset it: vLLM's build for ROCm has kernels for {name}"
        if spec is not None
        else "unset it on a supported GPU",
    )


def check_driver_library(subject: Subject) -> str | None:
    """Whether libcuda is the driver's own, not the stand-in of the toolkit that programs are only linked with."""
    if subject.order.in_container:
        return None
    for folder in subject.environment.get("LD_LIBRARY_PATH", "").split(":"):
        library = Path(folder) / "libcuda.so.1"
        if folder and "stubs" in Path(folder).parts and library.is_file():
            raise Failed(
                f"LD_LIBRARY_PATH has {folder[:100]}, whose libcuda.so.1 is a stand-in without a driver behind it",
                "leave that folder out: it is for the linker alone",
            )
    return None
