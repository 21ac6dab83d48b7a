"""Checks of the machine: GPUs, driver, docker, port, key, memory of the host. It never loads a GPU library itself."""

from __future__ import annotations

import math
import os
import shutil
import socket
from pathlib import Path

from hw_specs.units import GIB, format_gib
from planner.facts import load
from planner.serve.preflight.engine import is_cpu_build
from planner.serve.preflight.situation import CheckResult, Situation
from planner.serve.process.launcher import API_KEY, option_value


def _wanted_gpus(situation: Situation) -> int:
    """GPUs that one server of this command takes."""
    if situation.plan is not None:
        settings = situation.plan.settings
        return settings.tensor_parallel_size * settings.pipeline_parallel_size
    sizes = [option_value(situation.engine_argv, f"{kind}-parallel-size") for kind in ("tensor", "pipeline")]
    short = _short_option(situation.engine_argv, "-tp"), _short_option(situation.engine_argv, "-pp")
    return math.prod(int(size) for size in (sizes[0] or short[0], sizes[1] or short[1]) if size and size.isdigit())


def _short_option(argv: tuple[str, ...], flag: str) -> str | None:
    return argv[argv.index(flag) + 1] if flag in argv[:-1] else None


def _on_cpu(situation: Situation) -> bool:
    """Whether GPUs do not matter: a command without a plan, for a CPU build. A plan always counts on its GPUs."""
    return situation.plan is None and not situation.in_container and is_cpu_build(situation)


def check_docker(situation: Situation) -> CheckResult | None:
    """Whether docker answers, for targets that need it."""
    if not situation.in_container:
        return None
    name = "docker"
    if shutil.which("docker") is None:
        return CheckResult(
            name=name, status="fail", seen="there is no docker program", hint="install docker, or --target local"
        )
    answer = situation.run(["docker", "version", "--format", "{{.Server.Version}}"])
    if answer is None or answer.returncode:
        said = answer.stderr.strip().splitlines()[-1:] if answer is not None else ["no answer"]
        return CheckResult(
            name=name, status="fail", seen=f"docker does not answer: {said[0][:200] if said else 'no reason given'}",
            hint="`docker info` must work for this user: start the service, join the group docker",
        )  # fmt: skip
    version = answer.stdout.strip()
    if situation.target == "cuda":
        runtimes = situation.run(["docker", "info", "--format", "{{json .Runtimes}} {{json .CDISpecDirs}}"])
        if runtimes is not None and "nvidia" not in runtimes.stdout and not Path("/etc/cdi").is_dir():
            return CheckResult(
                name=name, status="warn", seen=f"server {version}, but no NVIDIA runtime is registered",
                hint="install the NVIDIA container toolkit: `nvidia-ctk runtime configure --runtime=docker`",
            )  # fmt: skip
    return CheckResult(name=name, status="pass", seen=f"server {version}")


def check_gpus(situation: Situation) -> CheckResult:
    """Whether the GPUs that the plan counts on are here."""
    name = "gpus"
    if _on_cpu(situation):
        return CheckResult(name=name, status="pass", seen="the installed engine runs on the CPU")
    wanted = _wanted_gpus(situation)
    found = situation.report.selection
    here = len(found.chosen)
    if not here:
        problems = situation.report.problems
        reason = problems[0] if problems else None
        return CheckResult(
            name=name, status="fail", seen=f"{wanted} needed, none found" + (f": {reason.message}" if reason else ""),
            hint=reason.hint if reason else "`m35-plan detect` shows what was looked at",
        )  # fmt: skip
    kind = str(found.gpu_set)
    if here < wanted:
        return CheckResult(
            name=name, status="fail", seen=f"{wanted} needed, {kind} found",
            hint="`m35-plan detect` shows what hides the others; or plan for what is here: --gpus auto",
        )  # fmt: skip
    planned = situation.plan.gpus.spec if situation.plan is not None else None
    if planned is not None and found.gpu_set is not None and found.gpu_set.spec.id != planned.id:
        return CheckResult(
            name=name, status="fail", seen=f"the plan is for {planned.name}, this machine has {kind}",
            hint="plan for what is here: --gpus auto",
        )  # fmt: skip
    return CheckResult(name=name, status="pass", seen=f"{kind}, {wanted} needed")


def check_gpu_memory(situation: Situation) -> CheckResult:
    """Whether enough of each GPU is free for the engine's budget; it refuses to start otherwise."""
    name = "gpu_memory"
    if _on_cpu(situation):
        return CheckResult(name=name, status="pass", seen="the installed engine runs on the CPU")
    chosen = situation.report.selection.chosen
    known = [gpu for gpu in chosen if gpu.free_bytes is not None]
    if not known:
        return CheckResult(name=name, status="unknown", seen="no GPU says how much of it is free")
    wanted = _wanted_gpus(situation)
    tightest = min(known[:wanted] or known, key=lambda gpu: gpu.free_bytes or 0)
    free = tightest.free_bytes or 0
    if situation.plan is None:
        return CheckResult(name=name, status="pass", seen=f"{format_gib(free)} GiB free on GPU {tightest.label}")
    need = math.ceil(situation.plan.gpus.memory_bytes * situation.plan.settings.gpu_memory_utilization)
    if free < need:
        holders = ", ".join(f"{p.name or 'process'} ({p.pid})" for p in tightest.processes[:3])
        total = tightest.engine_total_bytes or situation.plan.gpus.memory_bytes
        return CheckResult(
            name=name, status="fail",
            seen=f"GPU {tightest.label} has {format_gib(free)} of {format_gib(need)} GiB free"
            + (f"; held by {holders}" if holders else ""),
            hint=f"free it, or --gpu-memory-utilization {math.floor(free / total * 100) / 100:g}",
        )  # fmt: skip
    return CheckResult(name=name, status="pass", seen=f"{format_gib(free)} GiB free, {format_gib(need)} GiB needed")


def check_driver(situation: Situation) -> CheckResult:
    """Which driver and runtime there are."""
    name = "driver"
    if _on_cpu(situation):
        return CheckResult(name=name, status="pass", seen="none needed: the installed engine runs on the CPU")
    drivers = situation.report.drivers
    wanted = situation.plan.gpus.spec.vendor if situation.plan is not None else None
    fitting = [driver for driver in drivers if wanted in (None, driver.vendor)]
    if not fitting:
        return CheckResult(
            name=name, status="fail", seen="no GPU driver answers", hint="`m35-plan detect` says why, vendor by vendor"
        )
    said = "; ".join(
        " ".join(part for part in (driver.vendor, driver.driver_version, driver.runtime) if part) for driver in fitting
    )
    return CheckResult(name=name, status="pass", seen=said)


def check_port(situation: Situation) -> CheckResult:
    """Whether the port can be bound."""
    from planner.serve.log.remedy import find_free_port

    endpoint = situation.endpoint
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            free = find_free_port(beside=endpoint.port)
            return CheckResult(
                name="port", status="fail",
                seen=f"{endpoint.host}:{endpoint.port}: {(error.strerror or str(error)).lower()}",
                hint=f"--port {free} is free" if free else "name another --port",
            )  # fmt: skip
    return CheckResult(name="port", status="pass", seen=f"{endpoint.host}:{endpoint.port} is free")


def check_api_key(situation: Situation) -> CheckResult:
    """Whether an open server has a key."""
    has_key = bool(situation.environment.get(API_KEY, "").strip())
    if situation.endpoint.exposed and not has_key:
        return CheckResult(
            name="api_key", status="fail",
            seen=f"{situation.endpoint.host} is open to other machines and {API_KEY} is not set",
            hint=f"`export {API_KEY}=$(openssl rand -hex 24)`, or leave --host out",
        )  # fmt: skip
    seen = f"{API_KEY} is set" if has_key else "none needed: only this machine can connect"
    return CheckResult(name="api_key", status="pass", seen=seen)


def check_shared_memory(situation: Situation) -> CheckResult:
    """Whether /dev/shm has room for the workers' queues."""
    name = "shared_memory"
    need = float(load("preflight.toml")["shared_memory"]["need_gib"]) * GIB
    if situation.in_container and "--ipc" not in situation.argv:
        return CheckResult(
            name=name, status="warn", seen="the container gets docker's own 0.06 GiB", hint="`--ipc host`"
        )
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return CheckResult(name=name, status="unknown", seen="there is no /dev/shm")
    free = room.f_bavail * room.f_frsize
    if free < need:
        return CheckResult(
            name=name, status="fail" if _wanted_gpus(situation) > 1 else "warn",
            seen=f"{format_gib(free)} GiB free in /dev/shm, {format_gib(round(need))} GiB wanted",
            hint="`mount -o remount,size=16G /dev/shm`; in a container `--ipc host` or `--shm-size 16g`",
        )  # fmt: skip
    return CheckResult(name=name, status="pass", seen=f"{format_gib(free)} GiB free in /dev/shm")


def check_host_memory(situation: Situation) -> CheckResult:
    """Whether the host has memory for the engine's processes and pinned tables."""
    name = "host_memory"
    available = available_memory_bytes()
    if available is None:
        return CheckResult(name=name, status="unknown", seen="/proc/meminfo cannot be read")
    facts = load("preflight.toml")["host_memory"]
    need = round((_wanted_gpus(situation) + facts["processes_beside_ranks"]) * facts["per_process_gib"] * GIB)
    said = f"{_wanted_gpus(situation)} workers"
    if situation.plan is not None:
        settings = situation.plan.settings
        need += settings.max_num_seqs * settings.max_model_len * 4
        said += f" and {settings.max_num_seqs} x {settings.max_model_len:,} pinned token ids"
    if _on_cpu(situation):
        # The small models of a rehearsal need a fraction of it; a real model would never run there.
        return CheckResult(name=name, status="pass", seen=f"{format_gib(available)} GiB available")
    if available < need:
        return CheckResult(
            name=name, status="warn",
            seen=f"{format_gib(available)} GiB available, about {format_gib(need)} GiB wanted for {said}",
            hint="stop other programs, or lower --max-num-seqs",
        )  # fmt: skip
    return CheckResult(
        name=name, status="pass", seen=f"{format_gib(available)} GiB available, about {format_gib(need)} GiB wanted"
    )


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
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        return min(available, int(limit) - int(used)) if limit.isdigit() else available
    except (OSError, ValueError):
        return available
