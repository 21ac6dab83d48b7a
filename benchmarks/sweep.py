"""How many memory configurations a sweep judges per second on one core; goal: one million.

    python benchmarks/sweep.py

The grid is what a capacity study would ask: every GPU kind, every layout, lengths, KV types, drafts, utilizations
and concurrencies. All of the time is counted, the scalar part of each cell included.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from hw_specs import parse_gpus
from planner.checkpoint import load_preset
from planner.facts.release import resolve_release
from planner.sweep.grid import Grid
from planner.sweep.memory import sweep_memory

GOAL = 1_000_000
ROUNDS = 3


def grid() -> Grid:
    return Grid(
        gpus=tuple(parse_gpus(name) for name in ("8xH200", "8xB200", "8xMI300X", "4xB200", "8xH100")),
        max_model_lens=tuple(range(16384, 262145, 16384)),
        concurrencies=tuple(range(1, 65)),
        kv_cache_dtypes=("auto", "fp8"),
        num_speculative_tokens=(0, 3),
        gpu_memory_utilizations=tuple(float(value) for value in np.linspace(0.8, 0.95, 31)),
    )


def main() -> int:
    model, release = load_preset(), resolve_release(None)
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        cells = configurations = fits = 0
        for block in sweep_memory(grid(), model=model, release=release):
            cells += 1
            configurations += block.size
            fits += int((block.verdict == 2).sum())
        seconds = time.perf_counter() - start
        best = max(best, configurations / seconds)
        print(f"{configurations:,} configurations in {cells:,} cells, {fits:,} fit: {seconds:.2f} s")
    print(f"best: {best:,.0f} configurations per second (goal {GOAL:,})")
    return 0 if best >= GOAL else 1


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
