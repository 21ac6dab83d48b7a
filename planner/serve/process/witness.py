"""What the kernel knows of a start beside its log: its own words, and how often a control group ran out of memory.

Each is looked at where it can be read; what cannot be read says nothing. Nothing is changed.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path

from planner.errors import UnsafePath
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
    return json.dumps({"oom_kills": oom_kills()}) + "\n"


def kernel_words(directory: Path, *, since_s: float) -> bytes:
    """Return what the kernel said of GPUs and of ended engines since `since_s` (Unix time), as lines of a log."""
    lines = [line for line in _dmesg(since_s) if _OURS.search(line) or _GPU.search(line)][:_MOST_LINES]
    before = _before(directory)
    now = oom_kills()
    if before is not None and now is not None and now > before:
        lines.append(f"Detected {now - before} oom_kill event(s) in this control group since the launch")
    return "".join(f"{line}\n" for line in lines).encode()


def _before(directory: Path) -> int | None:
    try:
        value = (read_json(directory / WITNESS) or {}).get("oom_kills")
    except UnsafePath:
        return None
    return value if isinstance(value, int) else None


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
