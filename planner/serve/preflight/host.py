"""Checks of the host's own limits: user, ulimits, quota, clock. They change nothing."""

from __future__ import annotations

import os
import pwd
import resource
import time
from pathlib import Path

from hw_specs.detect.host import text_of
from hw_specs.units import GIB, format_gib
from planner.facts.preflight import preflight_facts
from planner.serve import cgroup
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.preflight.checkpoint import hub_folder, still_to_fetch_bytes
from planner.serve.preflight.gpu_variables import infiniband
from planner.serve.preflight.subject import Subject

_MOUNTS = Path("/proc/mounts")


def check_user(subject: Subject) -> str | None:
    """Whether the user has a name and a home that can be written: compilers keep their caches there."""
    if subject.order.in_container:
        return None
    environment = subject.environment
    named = any(environment.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        if not named:
            raise Failed(
                f"user {os.getuid()} has no name, and torch stops at import without one",
                "set USER to any name, and HOME to a folder that can be written",
            ) from None
        name = f"user {os.getuid()}"
    home = Path(environment.get("HOME") or "/")
    if not os.access(home, os.W_OK):
        raise Doubtful(
            f"{name} may not write to {home}, where caches go",
            "HOME=/tmp, or VLLM_CACHE_ROOT, TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR and HF_HOME in a writable folder",
        )
    return f"{name}, {home}"


def check_limits(subject: Subject) -> str | None:
    """Whether open files, processes, addresses and locked memory suffice."""
    if subject.order.in_container:
        return None
    facts = preflight_facts().limits
    files = _limit(resource.RLIMIT_NOFILE, hard=True)
    processes = _least(_limit(resource.RLIMIT_NPROC), cgroup.least("pids.max"))
    locked, written = _limit(resource.RLIMIT_MEMLOCK), _limit(resource.RLIMIT_FSIZE)
    # What stops every start is said before what only may.
    for limit, letter, name in ((resource.RLIMIT_AS, "v", "AS"), (resource.RLIMIT_DATA, "d", "DATA")):
        most = _limit(limit)
        if most is not None:
            raise Failed(
                f"{most / GIB:,.0f} GiB of {'addresses' if letter == 'v' else 'data'} at most: CUDA and ROCm reserve "
                "more than all memory of host and GPUs",
                f"`ulimit -{letter} unlimited`, Limit{name}=infinity in systemd",
            )
    seconds = _limit(resource.RLIMIT_CPU)
    if seconds is not None:
        raise Failed(
            f"{seconds:,} s of processor time at most: the kernel ends the server after them",
            "`ulimit -t unlimited`, LimitCPU=infinity in systemd",
        )
    low: dict[str, str] = {}
    if files is not None and files < facts.least_open_files:
        said = f"{files:,} open files at most, {facts.least_open_files:,} recommended"
        low[said] = "`ulimit -n 65536`, LimitNOFILE=65536 in systemd"
    if processes is not None and processes < facts.least_processes:
        said = f"{processes:,} processes and threads at most, {facts.least_processes:,} recommended"
        low[said] = (
            "`ulimit -u unlimited`, TasksMax=infinity in systemd, podPidsLimit in Kubernetes (its administrator)"
        )
    if written is not None and written < facts.least_file_gib * GIB:
        said = f"files of {format_gib(written)} GiB at most: shards of the checkpoint and the log grow larger"
        low[said] = "`ulimit -f unlimited`, LimitFSIZE=infinity in systemd"
    adapters = infiniband()
    if locked is not None and adapters and subject.plan is not None and subject.plan.gpus.nodes > 1:
        said = f"{locked // 1024:,} KiB of locked memory at most; NCCL registers buffers with {adapters[0]}"
        low[said] = "`ulimit -l unlimited`, LimitMEMLOCK=infinity in systemd, `--ulimit memlock=-1` in docker"
    if low:
        raise Doubtful("; ".join(low), "; ".join(low.values()))
    return f"open files {_said(files)}, processes {_said(processes)}, locked memory {_said(locked)} bytes"


def _limit(kind: int, *, hard: bool = False) -> int | None:
    """The limit of one kind; None where there is none. The engine itself raises its open files to the hard one."""
    found = resource.getrlimit(kind)[hard]
    return None if found == resource.RLIM_INFINITY else found


def check_quota(subject: Subject) -> str | None:
    """Whether this account's disk quota has room, where there is one and it can be asked.

    Source: quota(1): a star behind the blocks or files of what is used up, blocks of 1,024 bytes, 0 for no limit.
    """
    if subject.order.in_container:
        return None
    answer = subject.run(["quota", "-w", "-p"])
    if answer is None:
        raise Skipped("there is no quota program; a quota on a network disk shows only when it is used up")
    rows = [line.split() for line in answer.stdout.splitlines()]
    over = [row for row in rows if any(cell.endswith("*") and cell[:-1].isdecimal() for cell in row)]
    if over:
        raise Failed(f"the quota on {over[0][0]} is used up", "put HF_HOME and VLLM_CACHE_ROOT on another file system")
    place = hub_folder(subject)
    row = next((row for row in rows if len(row) >= 4 and row[0] in _mount_of(place)), None)
    if row is None or not all(cell.isdecimal() for cell in row[1:4]):
        return "no quota is used up"
    limits = [int(cell) for cell in row[2:4] if int(cell)]
    left = 1024 * (min(limits) - int(row[1])) if limits else None
    need = still_to_fetch_bytes(subject) or 0
    if left is not None and left < need:
        raise Failed(
            f"the quota on {row[0]} leaves {format_gib(left)} GiB for {place}, {format_gib(need)} GiB to download",
            "put HF_HOME on another file system, or ask for a larger quota",
        )
    return "no quota is used up" + (f", {format_gib(left)} GiB left for {place}" if left is not None else "")


def _mount_of(place: Path) -> tuple[str, ...]:
    """The device and the folder of the file system that `place` is on, as the kernel names them."""
    mounts = [line.split()[:2] for line in text_of(_MOUNTS).splitlines() if line.count(" ") > 1]
    above = [(device, folder) for device, folder in mounts if place.resolve().is_relative_to(folder)]
    return max(above, key=lambda mount: len(mount[1]), default=())


def check_clock(subject: Subject) -> str:
    """Whether this machine's clock can be right: certificates of the hub are refused where it is not.

    It is held to this program's files, which are not of tomorrow; systemd tells whether a time server keeps it.
    """
    ours = Path(__file__).stat().st_mtime
    if time.time() < ours - 86_400:
        raise Failed(
            f"the clock says {time.strftime('%Y-%m-%d')}, before this program was made",
            "`timedatectl set-ntp true` (the host's administrator): a wrong date makes every certificate invalid",
        )
    kept = subject.run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"])
    kept_words = {"yes": ", kept by a time server", "no": ", kept by no time server"}
    return time.strftime("%Y-%m-%d %H:%M:%S %Z") + kept_words.get(kept.stdout.strip() if kept is not None else "", "")


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _said(limit: int | None) -> str:
    return "unlimited" if limit is None else f"{limit:,}"
