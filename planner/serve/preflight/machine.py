"""Checks of the machine: GPUs, driver, docker, port, key, memory of the host. It never loads a GPU library itself."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from hw_specs.errors import reason_of
from hw_specs.units import GIB, counted, format_gib
from planner.facts.preflight import preflight_facts
from planner.rendering.emitters.image import host_memory_need
from planner.rendering.secrets import API_KEY
from planner.serve import cgroup
from planner.serve.check import Doubtful, Failed, Skipped, Unknown
from planner.serve.free_port import free_port_beside
from planner.serve.preflight.engine import is_cpu_build
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

if TYPE_CHECKING:
    from hw_specs.detect.devices import DetectedGpu
    from hw_specs.spec import GpuSet


NO_GPU = "there is no GPU to look at"
_LOOPBACK_S = 2.0
"""A connection to oneself takes no time; without the interface it is refused or never answered."""


def wanted_gpus(subject: Subject) -> int:
    """GPUs that one server of this command takes."""
    if subject.plan is not None:
        settings = subject.plan.settings
        return settings.layout.gpus_per_replica
    sizes = [option_value(subject.engine_args, f"{kind}-parallel-size") for kind in ("tensor", "pipeline")]
    return math.prod(int(size) for size in sizes if size and size.isdecimal() and len(size) < 10)


def on_cpu(subject: Subject) -> bool:
    """Whether GPUs do not matter: a command without a plan, for a CPU build. A plan always counts on its GPUs."""
    return subject.plan is None and not subject.order.in_container and is_cpu_build(subject)


def gpus_of_start(subject: Subject) -> GpuSet | None:
    """The GPUs that it is started on; None where there are none to count."""
    if subject.plan is not None:
        return subject.plan.gpus
    if subject.order.in_container or on_cpu(subject):
        return None
    found = subject.report.selection
    return found.gpu_set if found.chosen else None


def check_docker(subject: Subject) -> str | None:
    """Whether docker answers, for targets that need it."""
    if not subject.order.in_container:
        return None
    if shutil.which("docker") is None:
        raise Failed("there is no docker program", "install docker, or --target local")
    answer = subject.run(["docker", "version", "--format", "{{.Server.Version}}"])
    if answer is None or answer.returncode:
        said = answer.stderr.strip().splitlines()[-1:] if answer is not None else ["no answer"]
        raise Failed(
            f"docker does not answer: {said[0][:200] if said else 'no reason given'}",
            "`docker info` must work for this user: start the service, join the group docker",
        )
    version = answer.stdout.strip()
    if subject.order.target == "cuda":
        runtimes = subject.run(["docker", "info", "--format", "{{json .Runtimes}} {{json .CDISpecDirs}}"])
        if runtimes is not None and "nvidia" not in runtimes.stdout and not Path("/etc/cdi").is_dir():
            raise Doubtful(
                f"server {version}, but no NVIDIA runtime is registered",
                "install the NVIDIA container toolkit: `nvidia-ctk runtime configure --runtime=docker`",
            )
    return f"server {version}"


def check_gpus(subject: Subject) -> str:
    """Whether the GPUs that the plan counts on are here."""
    if on_cpu(subject):
        return "the installed engine runs on the CPU"
    wanted = wanted_gpus(subject)
    found = subject.report.selection
    here = len(found.chosen)
    if not here:
        hidden = next((gpu.hidden_by for gpu in subject.report.gpus if gpu.hidden_by), None)
        if hidden is not None:
            count = counted(len(subject.report.gpus), "GPU")
            raise Failed(
                f"{wanted} needed, {count} here, all of them hidden by {hidden}", f"unset {hidden.partition('=')[0]}"
            )
        vendor = subject.plan.gpus.spec.vendor if subject.plan is not None else None
        problems = sorted(subject.report.problems, key=lambda one: vendor is not None and one.vendor != vendor)
        reason = problems[0] if problems else None
        raise Failed(
            f"{wanted} needed, none found" + (f": {reason.message}" if reason else ""),
            reason.hint if reason else "`m35-plan detect` shows what was looked at",
        )
    kind = str(found.gpu_set)
    if here < wanted:
        raise Failed(
            f"{wanted} needed, {kind} found",
            "`m35-plan detect` shows what hides the others; or plan for what is here: --gpus auto",
        )
    planned = subject.plan.gpus.spec if subject.plan is not None else None
    if planned is not None and found.gpu_set is not None and found.gpu_set.spec.id != planned.id:
        raise Failed(f"the plan is for {planned.name}, this machine has {kind}", "plan for what is here: --gpus auto")
    return f"{kind}, {wanted} needed"


BEFORE_STOCK = ("context", "communicators")
"""What a rank takes before the engine compares free memory with its budget."""
NOT_FIXED = frozenset({"kv_cache", "free", "slack"})
"""Lines of a ledger that a smaller budget makes smaller."""


def check_gpu_memory(subject: Subject) -> str:
    """Whether enough of each GPU is free for the engine's budget; it refuses to start otherwise."""
    if on_cpu(subject):
        return "the installed engine runs on the CPU"
    chosen = subject.report.selection.chosen
    known = [gpu for gpu in chosen if gpu.free_bytes is not None]
    if not chosen:
        raise Skipped(NO_GPU)
    if not known:
        raise Unknown("no GPU says how much of it is free")
    wanted = wanted_gpus(subject)
    tightest = min(known[:wanted] or known, key=lambda gpu: gpu.free_bytes or 0)
    free = tightest.free_bytes or 0
    if subject.plan is None:
        said = option_value(subject.engine_args, "gpu-memory-utilization") or ""
        total = tightest.engine_total_bytes
        if total and re.fullmatch(r"0?\.\d{1,9}|1(?:\.0)?", said) and free < total * float(said):
            asked = format_gib(math.ceil(total * float(said)))
            share = math.floor(free / total * 100) / 100
            raise Failed(
                f"GPU {tightest.label} has {format_gib(free)} GiB free of {asked}{_holders(tightest)}",
                "free it" + (f", or --gpu-memory-utilization {share:g} where that is enough" if share else ""),
            )
        return f"{format_gib(free)} GiB free on GPU {tightest.label}"
    ledger = subject.plan.ledger
    need = math.ceil(subject.plan.gpus.memory_bytes * subject.plan.settings.gpu_memory_utilization)
    # The engine looks after its ranks have started CUDA and found each other.
    before = sum(term.bytes for term in ledger.outside_budget if term.name in BEFORE_STOCK)
    left = free - before
    if left < need:
        total = tightest.engine_total_bytes or subject.plan.gpus.memory_bytes
        share = math.floor(max(left, 0) / total * 100) / 100
        fixed = sum(line.bytes for line in ledger.lines if line.name not in NOT_FIXED)
        raise Failed(
            f"GPU {tightest.label} has {format_gib(free)} GiB free, {format_gib(left)} when the engine looks, of "
            f"{format_gib(need)}{_holders(tightest)}",
            f"free it, or --gpu-memory-utilization {share:g}"
            if share * total > fixed
            else f"free it: beside the KV cache the plan needs {format_gib(fixed)} GiB",
        )
    return f"{format_gib(free)} GiB free, {format_gib(need + before)} GiB needed"


def _holders(gpu: DetectedGpu) -> str:
    """Who holds memory of a GPU, as the end of a line; empty where nobody is known."""
    named = ", ".join(f"{process.name or 'process'} ({process.pid})" for process in gpu.processes[:3])
    return f"; held by {named}" if named else ""


def check_driver(subject: Subject) -> str:
    """Which driver and runtime there are."""
    if on_cpu(subject):
        return "none needed: the installed engine runs on the CPU"
    drivers = subject.report.drivers
    wanted = subject.plan.gpus.spec.vendor if subject.plan is not None else None
    fitting = [driver for driver in drivers if wanted in (None, driver.vendor)]
    if not fitting and not subject.report.gpus:
        raise Skipped(NO_GPU)  # The check of the GPUs says why.
    if not fitting:
        raise Failed("no GPU driver answers", "`m35-plan detect` says why, vendor by vendor")
    return "; ".join(
        " ".join(part for part in (driver.vendor, driver.driver_version, driver.runtime) if part) for driver in fitting
    )


def check_port(subject: Subject) -> str:
    """Whether the port can be bound."""
    endpoint = subject.order.endpoint
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise Failed(
                    f"{endpoint.host} is not an address of this machine", "--host 127.0.0.1, or one of `ip addr`"
                ) from None
            free = free_port_beside(endpoint.port) if error.errno != errno.EACCES else None
            raise Failed(
                f"{endpoint.host}:{endpoint.port}: {reason_of(error)}",
                f"--port {free} is free" if free else "name another --port, above 1023",
            ) from None
    if not subject.own_network and not _reaches_itself():
        raise Failed(
            "127.0.0.1 cannot be reached from this machine itself, and the engine's processes meet there",
            "`ip link set lo up` (the host's administrator)",
        )
    return f"{endpoint.host}:{endpoint.port} is free"


def _reaches_itself() -> bool:
    """Whether a connection over the loopback interface comes about."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=_LOOPBACK_S),
        ):
            return True
    except OSError:
        return False


def check_api_key(subject: Subject) -> str:
    """Whether an open server has a key."""
    has_key = bool(subject.environment.get(API_KEY, "").strip())
    if subject.order.endpoint.exposed and not has_key:
        raise Failed(
            f"{subject.order.endpoint.host} is open to other machines and {API_KEY} is not set",
            f"`export {API_KEY}=$(openssl rand -hex 24)`, or leave --host out",
        )
    return f"{API_KEY} is set" if has_key else "none needed: only this machine can connect"


def check_shared_memory(subject: Subject) -> str:
    """Whether /dev/shm has room for the workers' queues."""
    need = preflight_facts().shared_memory.need_gib * GIB
    if subject.order.in_container and "--ipc" not in subject.order.argv:
        raise Doubtful("the container gets docker's own 0.06 GiB", "`--ipc host`")
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        raise Unknown("there is no /dev/shm") from None
    if not subject.order.in_container and room.f_flag & os.ST_RDONLY:
        raise Failed(
            "/dev/shm is mounted read-only, and the engine's processes meet there",
            "`mount -o remount,rw /dev/shm` (the host's administrator); in a container `--ipc host`",
        )
    if not subject.order.in_container and not os.access("/dev/shm", os.W_OK):
        raise Failed(
            "this user may not write to /dev/shm, where the engine's processes meet",
            "the host's administrator: `chmod 1777 /dev/shm`",
        )
    free = room.f_bavail * room.f_frsize
    if room.f_files and not room.f_favail:
        raise Failed(
            "/dev/shm holds as many files as it may", "remove what ended programs left there: `ls -l /dev/shm`"
        )
    if free < need:
        raise (Failed if wanted_gpus(subject) > 1 else Doubtful)(
            f"{format_gib(free)} GiB free in /dev/shm, {format_gib(round(need))} GiB needed",
            "`mount -o remount,size=16G /dev/shm`; in a container `--ipc host` or `--shm-size 16g`",
        )
    return f"{format_gib(free)} GiB free in /dev/shm"


def check_host_memory(subject: Subject) -> str:
    """Whether the host has memory for the engine's processes and pinned tables."""
    available = available_memory_bytes()
    if available is None:
        raise Unknown("/proc/meminfo cannot be read")
    need, said = host_memory_need(subject.plan, workers=wanted_gpus(subject))
    if on_cpu(subject):
        # The small models of a rehearsal need a fraction of it; a real model would never run there.
        return f"{format_gib(available)} GiB available"
    if available < need:
        raise Doubtful(
            f"{format_gib(available)} GiB available, about {format_gib(need)} GiB needed for {said}",
            "stop other programs, or lower --max-num-seqs",
        )
    return f"{format_gib(available)} GiB available, about {format_gib(need)} GiB needed"


def available_memory_bytes() -> int | None:
    """Memory that can be had without swapping, within the limits of this container."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
                break
        else:
            return None
    except (OSError, ValueError):
        return None
    left = cgroup.memory_left_bytes()
    return available if left is None else min(available, left)
