"""Checks of environment variables that stop a start or let it hang. They look at the environment alone.

A container sees none of this process's variables, only those that its command hands in.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

from planner.facts.preflight import preflight_facts
from planner.facts.release import parse_version
from planner.facts.review import review_facts, variables
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_ALLOCATORS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_PORTS = ("VLLM_PORT", "MASTER_PORT", "VLLM_DP_MASTER_PORT")
_INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_QUIET = ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_ports(subject: Subject) -> str | None:
    """Whether variables that must hold a port do."""
    environment = _environment(subject)
    bad = {name: environment[name] for name in _PORTS if not _is_port(environment.get(name, "0"))}
    if "VLLM_PORT" in bad and "://" in bad["VLLM_PORT"]:
        raise Failed(
            f"VLLM_PORT is `{bad['VLLM_PORT'][:60]}`: Kubernetes fills it for a Service called vllm",
            "name the Service otherwise, or `enableServiceLinks: false` in the pod's spec",
        )
    if bad:
        name, value = next(iter(bad.items()))
        raise Failed(f"{name} is `{value[:60]}`, not a port", f"unset {name}, or a number from 1 to 65535")
    given = [f"{name}={environment[name]}" for name in _PORTS if environment.get(name)]
    if "VLLM_PORT" in environment and environment["VLLM_PORT"] == str(subject.order.endpoint.port):
        raise Failed(
            f"VLLM_PORT is {environment['VLLM_PORT']}, the port that the server listens at",
            "VLLM_PORT is for the processes among themselves: unset it, or name another",
        )
    return ", ".join(given) or None


def check_allocator(subject: Subject) -> str | None:
    """Whether torch's allocator is left in a mode whose memory the processes can share."""
    environment = _environment(subject)
    for name in _ALLOCATORS:
        options = dict(part.strip().partition(":")[::2] for part in environment.get(name, "").split(",") if part)
        if options.get("expandable_segments", "").lower() == "true":
            if _ranks(subject) > 1 and "--disable-custom-all-reduce" not in subject.engine_args:
                raise Doubtful(
                    f"{name} has expandable_segments:True, which breaks the custom all-reduce at graph capture",
                    f"unset {name}, or add `--disable-custom-all-reduce`",
                )
            return f"{name} has expandable_segments:True; no all-reduce kernel of vLLM's own shares memory here"
    return None


def check_visible_devices(subject: Subject) -> str | None:
    """Whether the variables that choose GPUs are in a form that the engine reads, and leave enough of them."""
    environment = _environment(subject)
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
    devices = [part.strip() for part in value.split(",")]
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
        raise Failed(f"{name} is `{value[:60]}`", f"numbers with commas: {name}=0,1")
    if len(set(devices)) < len(devices):
        raise Failed(f"{name} is `{value[:60]}`: a GPU is named twice", "two ranks on one GPU are refused by NCCL")
    if len(devices) < _ranks(subject):
        raise Failed(f"{name} leaves {len(devices)} GPUs, {_ranks(subject)} are needed", f"name more in {name}")
    return f"{name}={value}"


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
    environment = _environment(subject)
    here = {name for _, name in socket.if_nameindex()}
    for name in _INTERFACES:
        wanted = [part.lstrip("^=").partition(":")[0] for part in environment.get(name, "").split(",") if part]
        if environment.get(name, "").startswith("^"):
            continue
        if wanted and not any(one.startswith(part) for part in wanted for one in here):
            raise Failed(
                f"{name} is `{environment[name]}`, and this machine has no such interface",
                f"one of {', '.join(sorted(here - {'lo'})) or 'lo'} (`ip addr`), or unset it",
            )
        if wanted == ["lo"] and subject.plan is not None and subject.plan.gpus.nodes > 1:
            raise Failed(f"{name} is lo: other nodes cannot reach it", "the interface between the nodes (`ip addr`)")
    library = environment.get("VLLM_NCCL_SO_PATH")
    if library and not subject.order.in_container and not Path(library).is_file():
        raise Failed(
            f"VLLM_NCCL_SO_PATH is `{library[:80]}`, and there is no such file", "unset it: torch brings its own"
        )
    _check_adapters(environment.get("NCCL_IB_HCA", ""), in_container=subject.order.in_container)
    if _ranks(subject) > 1:
        off = [
            name
            for name, values in review_facts().slow_transport.off.items()
            if environment.get(name, "").strip() in values
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
    given = _environment(subject).get("HSA_OVERRIDE_GFX_VERSION")
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


def check_logging(subject: Subject) -> str | None:
    """Whether the engine's log says what a start is at."""
    environment = _environment(subject)
    level, configured = environment.get("VLLM_LOGGING_LEVEL", ""), environment.get("VLLM_CONFIGURE_LOGGING", "")
    if level.upper() not in _QUIET and configured != "0":
        return f"VLLM_LOGGING_LEVEL={level}" if level else None
    silent = f"VLLM_LOGGING_LEVEL is {level}" if level.upper() in _QUIET else "VLLM_CONFIGURE_LOGGING is 0"
    raise Doubtful(
        f"{silent}: the log has none of the lines that tell the phases of a start, its memory and why it failed",
        f"unset {silent.split()[0]} until it is up",
    )


def check_proxy(subject: Subject) -> str | None:
    """Whether a proxy catches what is meant for this machine itself."""
    environment = {name.lower(): value for name, value in _environment(subject).items()}
    proxies = [name for name in ("http_proxy", "all_proxy") if environment.get(name)]
    if not proxies:
        return None
    spared = [part.strip() for part in environment.get("no_proxy", "").split(",")]
    caught = [host for host in _LOOPBACK[:2] if host not in spared and "*" not in spared]
    if caught:
        raise Doubtful(
            f"{proxies[0]} is set and no_proxy lacks {' and '.join(caught)}: clients reach the proxy, not the server",
            f"export no_proxy={','.join([*(part for part in spared if part), *caught])}",
        )
    return f"{proxies[0]} spares this machine"


def _environment(subject: Subject) -> dict[str, str]:
    return dict(subject.order.env) if subject.order.in_container else subject.environment


def _ranks(subject: Subject) -> int:
    from planner.serve.preflight.machine import wanted_gpus

    return wanted_gpus(subject)


def _is_port(text: str) -> bool:
    return not text or (text.isdecimal() and len(text) < 6 and int(text) < 65536)


def check_gone(subject: Subject) -> str | None:
    """Whether a variable is set that the release no longer reads."""
    if subject.plan is None:
        return None
    release = subject.plan.vllm_version
    named = sorted(name for name in _environment(subject) if variables().gone_since(name, release))
    if named:
        raise Doubtful(
            f"vLLM {release} no longer reads {', '.join(named)}",
            "`--attention-backend` took its place" if "VLLM_ATTENTION_BACKEND" in named else f"unset {named[0]}",
        )
    return None


def check_unknown(subject: Subject) -> str | None:
    """Whether a name that begins like the engine's own is one that some release reads."""
    unknown = sorted(name for name in _environment(subject) if variables().unknown(name))
    near = [(name, right) for name in unknown if (right := variables().nearest(name)) is not None]
    if near:
        name, right = near[0]
        raise Doubtful(
            f"no release of vLLM has a variable {name}; the nearest one is {right}", f"{right}, if it is meant"
        )
    return f"vLLM reads nothing from {', '.join(unknown)}"[:200] if unknown else None


def check_numbers(subject: Subject) -> str | None:
    """Whether variables that the engine converts to numbers hold some."""
    environment, release = _environment(subject), subject.plan.vllm_version if subject.plan is not None else None
    for name, value in sorted(environment.items()):
        wanted = variables().not_a_number(name, value) if name not in _PORTS else None
        if wanted is not None and variables().gone_since(name, release) is None:
            raise Failed(
                f"{name} is `{value[:60]}`, not {wanted}: the engine raises where it reads it",
                f"a number (1 for on, 0 for off), or unset {name}",
            )
    return None


def check_host_ip(subject: Subject) -> str | None:
    """Whether the address that the engine's processes find each other at is this machine's."""
    given = _environment(subject).get("VLLM_HOST_IP", "")
    if not given:
        return None
    several = subject.plan is not None and subject.plan.gpus.nodes > 1
    several = several or int(option_value(subject.engine_args, "nnodes") or 1) > 1
    hint = "unset it, or an address of this machine (`ip addr`)"
    if not _own_address(given):
        said = f"VLLM_HOST_IP is `{given[:60]}`, and this machine has no such address"
        raise Failed(said, hint) if several else Doubtful(f"{said}: ranks of several nodes would not meet", hint)
    if several and ip_address(given).is_loopback:
        raise Failed(f"VLLM_HOST_IP is {given}: other nodes cannot reach it", hint)
    return f"VLLM_HOST_IP={given}"


def _own_address(text: str) -> bool:
    """Whether `text` is an address that a socket of this machine can have; ``0.0.0.0`` is none to call."""
    try:
        address = ip_address(text)
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))
    except (ValueError, OSError):
        return False
    return not address.is_unspecified


def check_hub(subject: Subject) -> str | None:
    """Whether the weights come from where the plan's came from."""
    environment = _environment(subject)
    endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/")
    if environment.get("VLLM_USE_MODELSCOPE", "").strip().lower() == "true":
        raise Doubtful(
            "VLLM_USE_MODELSCOPE is on: names of models are looked up at ModelScope, not at the hub, and the hub's "
            "cache is not used",
            "unset it, or give the model as a folder",
        )
    if endpoint and "://" not in endpoint:
        raise Failed(f"HF_ENDPOINT is `{endpoint[:60]}`, not a URL", "unset it, or a URL with https:// before it")
    if endpoint and endpoint != review_facts().hub_token.endpoint:
        raise Doubtful(
            f"HF_ENDPOINT is {endpoint[:80]}: weights come from there, and a token of the hub goes there",
            "unset it where that mirror is not meant",
        )
    return None


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
