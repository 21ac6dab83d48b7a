"""How long the main command takes from nothing, and one plan inside a process. It reports; it never fails.

python benchmarks/cold_start.py [RUNS] [--beside COMMAND]

Whole processes of the installed command are timed in processor seconds, which a busy machine changes least. They run in
turn, so that all meet the same load; another tool's command beside them gets a ratio.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hw_specs import parse_gpus
from planner import PlanRequest, plan

MAIN = "m35-plan --gpus 8xH200"
COMMANDS = (MAIN, "m35-plan --gpus 1xMI300X", "m35-plan --gpus 8xH200 --json", "m35-plan --help")
UNCACHED = "PYTHONDONTWRITEBYTECODE"
"""With it in the environment every start would compile what another one had compiled before."""


def report(name: str, seconds: list[float], unit_s: float, unit: str) -> None:
    """Print minimum, median and maximum."""
    low, middle, high = min(seconds) / unit_s, statistics.median(seconds) / unit_s, max(seconds) / unit_s
    print(f"{name:<36}{low:9.2f}{middle:9.2f}{high:9.2f}  {unit}")


def cold(commands: Mapping[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Processor seconds of `runs` processes of each command, in turn, after one that fills the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for index in range(runs + 1):
        for name, argv in commands.items():
            spent = _spent(argv)
            if index:
                seconds[name].append(spent)
    return seconds


def _spent(argv: list[str]) -> float:
    """Seconds of the processor, user and system, that one process took."""
    environment = {name: value for name, value in os.environ.items() if name != UNCACHED}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nowhere, stream) for stream in (1, 2)]
    process = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
    os.close(nowhere)
    usage = os.wait4(process, 0)[2]
    return usage.ru_utime + usage.ru_stime


def _argv(command: str) -> list[str]:
    """The words of a command; ours is the one that is installed beside this interpreter."""
    name, *words = shlex.split(command)
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return [beside or shutil.which(name) or name, *words]


def warm(gpus: str, runs: int) -> list[float]:
    """Seconds of one plan in this process."""
    request = PlanRequest(gpus=parse_gpus(gpus))
    plan(request)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        plan(request)
        seconds.append(time.perf_counter() - start)
    return seconds


def main(runs: int, other: str | None) -> None:
    """Run everything."""
    print(f"{'':<36}{'min':>9}{'median':>9}{'max':>9}")
    found = cold({command: _argv(command) for command in (*COMMANDS, *([other] if other else []))}, runs)
    for command, seconds in found.items():
        report(command, seconds, 1e-3, "ms of the processor")
    if other:
        report(
            "times the other's", [ours / theirs for ours, theirs in zip(found[MAIN], found[other], strict=True)], 1, "x"
        )
    for gpus in ("8xH200", "1xMI300X", "2x8xB200"):
        report(f"plan() in process, {gpus}", warm(gpus, runs * 20), 1e-3, "ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=10, help="processes of each command")
    parser.add_argument("--beside", metavar="COMMAND", help="another tool's command to run in turn with ours")
    given = parser.parse_args()
    main(given.runs, given.beside)
