"""What is known of a start beside its log: the kernel's words, a control group's counter, what is on the GPUs.

Each is looked at where it can be read; what cannot be read says nothing. Nothing is changed.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from hw_specs.detect.activity import ActivityReader, GpuActivity
from planner.errors import UnsafePath
from planner.serve.log.held import HeldMemory
from planner.state import read_json

WITNESS = "witness.json"
"""File of a run directory with the counters as they were at its launch."""

_CGROUP = Path("/sys/fs/cgroup")
_OURS = re.compile(r"Killed process \d+ \((?:VLLM|vllm|python|pt_main|ray|EngineCore)")
_GPU = re.compile(
    r"NVRM: Xid|NVRM: .*fallen off|amdgpu .*(?:ring|reset|fault|GPU hang|Uncorrectable)|NVRM: API mismatch"
)
_MOST_LINES = 40
_TIMEOUT_S = 3.0


def oom_kills(root: Path = _CGROUP) -> int | None:
    """Return how often the kernel ended a process of this control group for want of memory; None: it is not told."""
    try:
        own = next(line for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines() if "::" in line)
    except (OSError, StopIteration, UnicodeDecodeError):
        own = "0::/"
    for folder in (root / own.partition("::")[2].lstrip("/"), root):
        try:
            text = (folder / "memory.events").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            continue
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        if found is not None:
            return int(found[1])
    return None


def counters() -> str:
    """Return the counters as they are now, as the text of the file that a launch leaves."""
    used = {str(gpu.index): gpu.used_bytes for gpu in _activity() if gpu.used_bytes is not None}
    return json.dumps({"oom_kills": oom_kills(), "gpu_used_bytes": used}) + "\n"


def gpu_memory(directory: Path) -> tuple[HeldMemory, ...]:
    """Return what is in use on each GPU of this machine now, and was at the launch of the run in `directory`."""
    before = _before(directory).get("gpu_used_bytes")
    then = before if isinstance(before, dict) else {}
    return tuple(
        HeldMemory(
            index=gpu.index,
            used_bytes=gpu.used_bytes,
            total_bytes=gpu.total_bytes,
            before_bytes=count if isinstance(count := then.get(str(gpu.index)), int) else None,
        )
        for gpu in _activity()
        if gpu.used_bytes is not None and gpu.total_bytes is not None
    )


def kernel_words(directory: Path, *, since_s: float) -> bytes:
    """Return what the kernel said of GPUs and of ended engines since `since_s` (Unix time), as lines of a log."""
    lines = [line for line in _dmesg(since_s) if _OURS.search(line) or _GPU.search(line)][:_MOST_LINES]
    before = _before(directory).get("oom_kills")
    now = oom_kills()
    if isinstance(before, int) and now is not None and now > before:
        lines.append(f"Detected {now - before} oom_kill event(s) in this control group since the launch")
    return "".join(f"{line}\n" for line in lines).encode()


def _activity() -> tuple[GpuActivity, ...]:
    """What the GPUs do; nothing where a driver does not answer in time, which must not hold a launch up."""
    with ActivityReader() as reader:
        return reader.read()


def _before(directory: Path) -> dict[str, Any]:
    """What the launch left; empty where it cannot be trusted."""
    try:
        return read_json(directory / WITNESS) or {}
    except UnsafePath:
        return {}


def _dmesg(since_s: float) -> list[str]:
    try:
        answer = subprocess.run(
            ["dmesg", "--time-format", "iso"], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [text for line in answer.stdout.splitlines() if (text := _since(line, since_s)) is not None]


def _since(line: str, since_s: float) -> str | None:
    """The words of a line that is not older than `since_s`."""
    stamp, _, text = line.partition(" ")
    try:
        said_s = datetime.fromisoformat(stamp.replace(",", ".")).timestamp()
    except ValueError:
        return None
    # Stamps of the kernel's ring buffer may be a second off.
    return text if said_s >= since_s - 1.0 else None
