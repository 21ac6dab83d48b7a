"""Lines of the kernel that are about another program than the engine: a desktop's crash tells nothing of a server.

The kernel names the program that a line is about, by at most 15 letters. Where it names none, the line counts.
"""

from __future__ import annotations

import re

_NAMED = re.compile(
    # A fault of the program, not of the GPU.
    r"\bXid \([^()]*\): (?:13|31|32|43|45|69), pid='?\d+'?, name=(?P<xid>[^,]+),"
    r"|^(?:traps: )?(?P<trap>\S[^\[\]]{0,30})\[\d+\]:? (?:segfault at|trap |general protection)"
    r"|[Kk]ill(?:ed)? process \d+,? \((?P<killed>[^)]+)\)"
    r"|^(?P<invoked>\S+) invoked oom-killer"
    r"|\boom-kill:constraint=.{0,2000},task=(?P<task>[^,]+),"
    r"|\bvictim process: (?P<victim>[^,]+), pid:"
    r"|\bGPU HANG: .{0,200}, in (?P<hang>\S{1,80}) \[\d+\]"
    r"|\bpage fault \(.{0,200}, for process (?P<fault>\S[^,]{0,80}?) pid \d+"
    r'|\btype=(?:AVC|SECCOMP|1326|1400)\b.{0,500}\bcomm="(?P<comm>[^"]+)"'
    r"|\bINFO: task (?P<blocked>\S{1,80}):\d+ blocked for more than"
)
_ENGINES = re.compile(
    r"(?i)vllm|llm|python|^pt_|^ray|engine|(?<!k)worker|sglang|torch|llama|triton|uvicorn|gunicorn|api.?server|main|"
    r"^(?:cuda|hip|rocm|nccl|nv)|unknown|^\W*$"
)
"""What the processes of an inference server, or of what stands for one in a report, are called."""
_INTEGRATED = re.compile(r"\b(?:i915|xe) 0000:00:02\.0: ")
"""The display of an Intel processor, which runs no engine: it stands at this address on every machine."""
_MAY_NAME = re.compile(r"Xid|\]:? (?:segfault|trap|general)|[Pp]rocess|oom-kill|HANG|0000:00:02\.0|comm=|blocked for")


_GOES_ON = re.compile(
    r"amdgpu.{0,200}(?:in page starting at|L2_PROTECTION_FAULT_STATUS|Faulty UTCL2|MORE_FAULTS|WALKER_ERROR|"
    r"PERMISSION_FAULTS|MAPPING_ERROR|\bRW: 0x)"
)
"""Lines in which the kernel goes on about the fault of a program that it named before."""


class Bystanders:
    """Which of a log's lines are about other programs, one line after the other."""

    def __init__(self) -> None:
        self._last = False

    def include(self, text: str) -> bool:
        """Return whether `text`, the next line, is about another program than the engine."""
        self._last = is_about_another(text) or (self._last and _GOES_ON.search(text) is not None)
        return self._last


def is_about_another(text: str) -> bool:
    """Return whether `text` is the kernel's word about a program that is not the engine's.

    >>> is_about_another("gnome-shell[2210]: segfault at 18 ip 00007f1 sp 00007ffd error 4 in libmutter-14.so.0")
    True
    >>> is_about_another("VLLM::Worker_TP[2210]: segfault at 18 ip 00007f1 sp 00007ffd error 4 in libnccl.so.2")
    False
    """
    if _MAY_NAME.search(text) is None:
        return False
    if _INTEGRATED.search(text) is not None:
        return True
    found = _NAMED.search(text)
    name = next((group for group in found.groups() if group is not None), "") if found is not None else ""
    return bool(name) and _ENGINES.search(name) is None
