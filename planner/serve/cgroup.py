"""Control groups that this process is in: what they count and what they allow. It reads files and changes nothing.

What a group allows, every group above it allows, too: a limit is the least on the way up. Inside a container the
kernel shows the container's own group as the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hw_specs.detect.host import text_of

ROOT = Path("/sys/fs/cgroup")
_CACHED = ("inactive_file", "active_file")


def readings(name: str, root: Path = ROOT) -> Iterator[str]:
    """Yield the text of the file `name` of this process's group and of those above it, the own one first."""
    yield from (text for folder in _groups(root) if (text := text_of(folder / name)))


def least(name: str, root: Path = ROOT) -> int | None:
    """Return the least number in the files `name`; None where no group sets one."""
    return min((int(text) for text in readings(name, root) if text.isdecimal()), default=None)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many CPUs' time this process's groups get at most; None without a limit.

    Source: the kernel's documentation of cgroup v2, ``cpu.max``: microseconds of time in each period.
    """
    shares = [text.split() for text in readings("cpu.max", root)]
    quotas = [int(one[0]) / int(one[1]) for one in shares if len(one) == 2 and one[0].isdecimal() and int(one[1])]
    return min(quotas, default=None)


def memory_left_bytes(root: Path = ROOT) -> int | None:
    """Return how much memory this process's groups may still take; None without a limit.

    Cached files count as used and are given up where memory is wanted: a checkpoint that was just fetched is one.
    Source: the kernel's documentation of cgroup v2, ``memory.stat``.
    """
    left = [
        int(limit) - int(used) + _cached_bytes(folder)
        for folder in _groups(root)
        if (limit := text_of(folder / "memory.max")).isdecimal()
        and (used := text_of(folder / "memory.current")).isdecimal()
    ]
    return min(left, default=None)


def _cached_bytes(folder: Path) -> int:
    """Pages of files that a group can give up; what lies in /dev/shm is not among them."""
    counts = (line.split() for line in text_of(folder / "memory.stat").splitlines())
    return sum(int(one[1]) for one in counts if len(one) == 2 and one[0] in _CACHED and one[1].isdecimal())


def _groups(root: Path) -> tuple[Path, ...]:
    lines = text_of(Path("/proc/self/cgroup")).splitlines()
    own = next((line.partition("::")[2].strip("/") for line in lines if "::" in line), "")
    # A group above the container's own root is written with `..` and is not to be seen.
    parts = () if ".." in own else Path(own).parts
    return tuple(root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))
