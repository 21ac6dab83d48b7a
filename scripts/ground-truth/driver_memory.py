"""Writes what the driver says is in use on every GPU, each time it changes, until it is killed.

    python driver_memory.py RESULT.txt [--every 0.05]

A line is ``time.monotonic()``, the clock of the scheduler's steps, and the used bytes of every GPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pynvml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two looks")
    args = parser.parse_args()
    pynvml.nvmlInit()
    gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    before: list[int] = []
    with args.result.open("a", encoding="utf-8", buffering=1) as file:
        while True:
            used = [int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in gpus]
            if used != before:
                file.write(f"{time.monotonic():.3f} {' '.join(map(str, used))}\n")
                before = used
            time.sleep(args.every)


if __name__ == "__main__":
    main()
