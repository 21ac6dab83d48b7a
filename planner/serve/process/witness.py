"""What is known of a start beside its log: the kernel's words, a control group's counter, what is on the GPUs.

Each is looked at where it can be read; what cannot be read says nothing. Nothing is changed.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from hw_specs.detect.activity import ActivityReader, GpuActivity
from planner.errors import UnsafePath
from planner.serve import cgroup
from planner.serve.helper import ask_program
from planner.serve.log.held import HeldMemory
from planner.state import read_json

WITNESS = "witness.json"
"""File of a run directory with the counters as they were at its launch."""

_OURS = re.compile(r"Killed process \d+ \((?:VLLM|vllm|python|pt_main|ray|EngineCore)")
_GPU = re.compile(
    r"NVRM: Xid|NVRM: .*fallen off|amdgpu .*(?:ring|reset|fault|GPU hang|Uncorrectable)|NVRM: API mismatch"
)
_MOST_LINES = 40
_TIMEOUT_S = 3.0


def oom_kills(root: Path = cgroup.ROOT) -> int | None:
    """Return how often the kernel ended a process of this control group for want of memory; None: it is not told."""
    for text in cgroup.readings("memory.events", root):
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
    lines = [text for _, text in kernel_lines(since_s) if _OURS.search(text) or _GPU.search(text)][:_MOST_LINES]
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


def kernel_lines(since_s: float = 0.0) -> list[tuple[str, str]]:
    """Return the stamp and the words of each line of the kernel's log since `since_s`; none where it is not shown."""
    answer = ask_program(["dmesg", "--time-format", "iso"], timeout_s=_TIMEOUT_S)
    if answer is None:
        return []
    stamped = (line.partition(" ")[::2] for line in answer.stdout.splitlines())
    return [(stamp, text) for stamp, text in stamped if _not_before(stamp, since_s)]


def _not_before(stamp: str, since_s: float) -> bool:
    try:
        said_s = datetime.fromisoformat(stamp.replace(",", ".")).timestamp()
    except ValueError:
        return False
    # Stamps of the kernel's ring buffer may be a second off.
    return said_s >= since_s - 1.0
