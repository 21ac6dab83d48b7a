"""What two servers of one file take from each other: a port of the machine, and its GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from planner.errors import PlannerError
from planner.facts.release import resolve_release
from planner.review.case import Case
from planner.review.findings import Finding, finding
from planner.review.rules.memory import place
from planner.review.text import Source, Text
from planner.settings import DEFAULT_PORT

_PLATFORMS = ("shell", "docker", "compose")
_ELSEWHERE = re.compile(r"\b(ssh|srun|mpirun|pdsh|clush|kubectl|exec)\b")
_APART = re.compile(r";;|^\s*(else|elif|wait|kill|pkill|docker (stop|rm|kill)|function)\b|\(\)\s*\{", re.MULTILINE)
"""What stands between two servers that do not run at the same time, or may not."""


def find(case: Case, before: Sequence[Case], source: Source) -> Iterator[Finding]:
    """Yield what `case` cannot have because of the servers `before` it in the file."""
    beside = [one for one in before if _at_once(one, case, source)]
    yield from _port(case, beside)
    yield from _gpus(case, beside)


def _at_once(first: Case, second: Case, source: Source) -> bool:
    if any(one.server.platform not in _PLATFORMS or one.elsewhere for one in (first, second)):
        return False
    if first.server.platform == "compose":
        return first.server.stays and second.server.stays
    start, end = sorted((first.server.at.start, second.server.at.start))
    lines = [source.text[source.text.rfind("\n", 0, at) + 1 : at] for at in (start, end)]
    if any(_ELSEWHERE.search(line) for line in lines) or _APART.search(source.text, start, end):
        return False
    return first.server.stays or _in_background(first, source)


def _in_background(case: Case, source: Source) -> bool:
    """Whether an ampersand ends its command."""
    last = case.server.arguments.end
    if last is None or not last.offsets:
        return False
    rest = source.text[last.end :].partition("\n")[0]
    return re.search(r"(?<![&>|])&\s*(#.*|(?!&)[\w\s]*=\$!\s*)?$", rest) is not None


def _ports(case: Case) -> list[tuple[str, str, Text]]:
    server = case.server
    if server.platform != "shell" and server.inner_port:
        return [(one.address, one.number, one.at) for one in server.host_ports]
    port = server.number("port") if server.option("port") is not None else DEFAULT_PORT
    if port is None or server.option("uds") is not None or server.arguments.open_ended or server.entry == "llm":
        return []
    return [("", str(port), place(case, "port"))]


def _port(case: Case, beside: Sequence[Case]) -> Iterator[Finding]:
    taken = [one for other in beside for one in _ports(other)]
    for address, port, at in _ports(case):
        if any(port == other and ("" in (address, where) or address == where) for where, other, _ in taken):
            said = f"another server of this file takes port {port} of the same machine"
            yield finding("port-taken", said, at, cure="give each server a port of its own", stops=True)
            return


def _part(case: Case) -> float | None:
    """The part of each of its GPUs that it takes; None where that is not known."""
    text = case.server.text("gpu-memory-utilization")
    try:
        part = float(text) if text is not None else resolve_release(case.judged_version).gpu_memory_utilization
    except (ValueError, PlannerError):
        return None
    return part if 0 < part <= 1 and case.server.option("kv-cache-memory-bytes") is None else None


def _share(case: Case) -> float | None:
    """How many GPUs' worth of memory it takes; None where that is not known."""
    part = _part(case)
    return case.used * part if case.used is not None and part is not None else None


def _gpus(case: Case, beside: Sequence[Case]) -> Iterator[Finding]:
    part = _part(case)
    for device in sorted(case.devices) if part is not None else ():
        others = [other for one in beside if device in one.devices and (other := _part(one)) is not None]
        total = (part or 0) + sum(others)
        if others and total > 1:
            said = (
                f"this server and another of the file share GPU {device}, and ask for {total:.2f} times its memory "
                "together"
            )
            cure = "a smaller --gpu-memory-utilization for each, or a GPU for each"
            yield finding("too-few-gpus", said, place(case, "gpu-memory-utilization"), cure=cure, stops=True)
            return
    machine, own = case.machine, _share(case)
    shares = [share for one in beside if (share := _share(one)) is not None]
    if machine is None or own is None or not shares or machine.nodes > 1 or (case.used or 0) > machine.count:
        return
    total = own + sum(shares)
    if total > machine.count:
        yield finding(
            "too-few-gpus",
            f"this server and the ones before it in the file ask for the memory of {total:.2f} GPUs together, "
            f"and the machine has {machine.count}",
            place(case, "tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"),
            cure="smaller parallel sizes, or a machine for each server",
            stops=True,
        )
