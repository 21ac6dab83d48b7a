"""Control groups that this process is in: what they count and what they allow. It reads files and changes nothing.

What a group allows, every group above it allows, too: a limit is the least on the way up. Inside a container the
kernel shows the container's own group as the root. Both versions of the interface are read, because hosts with the
first one, or with some of its controllers beside the second, still run. Source: the kernel's documentation,
admin-guide/cgroup-v2 and admin-guide/cgroup-v1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hw_specs.detect.host import text_of

ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_FIRST_VERSION = {"memory.events": ("memory", "memory.oom_control"), "pids.max": ("pids", "pids.max")}
"""By the second version's file: the controller and the file that say the same, in the same words."""
_CACHED = ("inactive_file", "active_file")
_UNLIMITED = 1 << 62
"""The first version writes the largest number of pages where there is no limit."""


def readings(name: str, root: Path = ROOT) -> Iterator[str]:
    """Yield the text of the file `name` of this process's group and of those above it, the own one first."""
    controller, earlier = _FIRST_VERSION[name]
    paths = [folder / name for folder in _groups(root)] + [folder / earlier for folder in _groups(root, controller)]
    yield from (text for path in paths if (text := text_of(path)))


def least(name: str, root: Path = ROOT) -> int | None:
    """Return the least number in the files `name`; None where no group sets one."""
    return min((int(text) for text in readings(name, root) if text.isdecimal()), default=None)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many CPUs' time this process's groups get at most; None without a limit.

    Source: ``cpu.max``, and ``cpu.cfs_quota_us`` with its period: microseconds of time in each period.
    """
    shares = [text_of(folder / "cpu.max").split() for folder in _groups(root)]
    shares += [
        [text_of(folder / f"cpu.cfs_{what}_us") for what in ("quota", "period")] for folder in _groups(root, "cpu")
    ]
    quotas = [
        int(one[0]) / int(one[1])
        for one in shares
        if len(one) == 2 and all(part.isdecimal() for part in one) and int(one[1])
    ]
    return min(quotas, default=None)


def memory_left_bytes(root: Path = ROOT) -> int | None:
    """Return how much memory this process's groups may still take; None without a limit.

    Cached files count as used and are given up where memory is wanted: a checkpoint that was just fetched is one.
    Source: ``memory.stat``; in the first version the figures of the groups below are told apart by ``total_``.
    """
    left = [
        int(limit) - int(used) + _cached_bytes(folder, prefix)
        for prefix, folders, allowed, taken in (
            ("", _groups(root), "memory.max", "memory.current"),
            ("total_", _groups(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
        )
        for folder in folders
        if (limit := text_of(folder / allowed)).isdecimal()
        and (used := text_of(folder / taken)).isdecimal()
        and int(limit) < _UNLIMITED
    ]
    return min(left, default=None)


def _cached_bytes(folder: Path, prefix: str) -> int:
    """Pages of files that a group can give up; what lies in /dev/shm is not among them."""
    counts = (line.split() for line in text_of(folder / "memory.stat").splitlines())
    names = [prefix + name for name in _CACHED]
    return sum(int(one[1]) for one in counts if len(one) == 2 and one[0] in names and one[1].isdecimal())


def _groups(root: Path, controller: str = "") -> tuple[Path, ...]:
    """The folders of this process's group and of those above it; with `controller` those of the first version."""
    for line in text_of(_OWN).splitlines():
        _, _, named = line.partition(":")
        names, _, own = named.partition(":")
        if controller in names.split(","):
            break
    else:
        own = ""
    own = own.strip("/")
    # A group above the container's own root is written with `..` and is not to be seen.
    parts = () if ".." in own else Path(own).parts
    return tuple(root.joinpath(controller, *parts[:depth]) for depth in range(len(parts), -1, -1))
