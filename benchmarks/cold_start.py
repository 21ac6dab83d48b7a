"""How long the main command takes from nothing, and one plan inside a process. It reports; it never fails.

python benchmarks/cold_start.py [RUNS]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from hw_specs import parse_gpus
from planner import PlanRequest, plan

COMMANDS = {
    "m35-plan --gpus 1xMI300X": ["--gpus", "1xMI300X"],
    "m35-plan --gpus 8xH200": ["--gpus", "8xH200"],
    "m35-plan --gpus 8xH200 --json": ["--gpus", "8xH200", "--json"],
    "m35-plan --help": ["--help"],
}


def report(name: str, seconds: list[float], unit_s: float, unit: str) -> None:
    """Print minimum, median and maximum."""
    low, middle, high = min(seconds) / unit_s, statistics.median(seconds) / unit_s, max(seconds) / unit_s
    print(f"{name:<36}{low:9.2f}{middle:9.2f}{high:9.2f}  {unit}")


def cold(argv: list[str], runs: int) -> list[float]:
    """Wall seconds of `runs` processes, after one that fills the file cache."""
    seconds = []
    for index in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "planner", *argv], capture_output=True, check=False)
        if index:
            seconds.append(time.perf_counter() - start)
    return seconds


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


def main(runs: int) -> None:
    """Run everything."""
    print(f"{'':<36}{'min':>9}{'median':>9}{'max':>9}")
    for name, argv in COMMANDS.items():
        report(name, cold(argv, runs), 1e-3, "ms")
    for gpus in ("8xH200", "1xMI300X", "2x8xB200"):
        report(f"plan() in process, {gpus}", warm(gpus, runs * 20), 1e-3, "ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=10, help="processes of each command")
    main(parser.parse_args().runs)
