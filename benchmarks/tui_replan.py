"""How long the wizard takes from a key to the drawn plan, and how long of that the planner takes.

    python benchmarks/tui_replan.py

Processor time is counted, so that other programs of the machine change nothing. The promise is 50 ms for the median
key and 100 ms for the worst one, with every step of the loop that it takes; exit code 1 says that one was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from itertools import product

from loop_work import PROMISE_MS as LOOP_MS
from loop_work import LoopWork

from hw_specs import parse_gpus
from planner import PlanRequest
from tui.app import M35App
from tui.backend import Backend
from tui.screens.workload import WorkloadScreen
from tui.widgets.fields import Line
from tui.wizard import Answers, Step

PROMISE_MS = 50.0
MACHINES = ("1xMI300X", "8xH200", "2xH100", "2x8xB200", "1xH100")
SIZES = ((80, 24), (120, 40), (200, 60))
"""Columns and rows; a larger terminal shows more that must be computed."""
KEYS = "131072" * 5
REST_MS = 5.0
"""Less work than that in half a second is none."""


async def rested(work: LoopWork) -> None:
    """Wait until the first drawing is over: nobody types before there is something to type in."""
    before = -REST_MS
    while work.total_ms - before >= REST_MS:
        before = work.total_ms
        await asyncio.sleep(0.5)


async def measure(gpus: str, size: tuple[int, int], work: LoopWork) -> tuple[list[float], list[float]]:
    """Return milliseconds of work per key, whole and in the planner alone."""
    from planner import plan

    planning: list[float] = []

    def timed(request: PlanRequest) -> object:
        started = time.thread_time()
        answer = plan(request)
        planning.append(1000 * (time.thread_time() - started))
        return answer

    backend = Backend(plan=timed, running=list, detect_every_s=None)  # type: ignore[arg-type]
    app = M35App(backend=backend, answers=Answers(request=PlanRequest(gpus=parse_gpus(gpus))), step=Step.WORKLOAD)
    whole: list[float] = []
    async with app.run_test(size=size) as pilot:
        while not isinstance(app.screen, WorkloadScreen):
            await pilot.pause()
        line = app.screen.query_one("#max_model_len", Line)
        await rested(work)
        planning.clear()
        # Of many wizards in one process this one is the only one that a person has; it freezes what is loaded.
        gc.collect()
        gc.freeze()
        work.forget()
        for index in range(len(KEYS)):
            started = work.total_ms
            line.value = KEYS[: index % 6 + 1]
            done = asyncio.Event()
            # The message of the change is handled before this callback, the screen is drawn with it.
            app.screen.call_after_refresh(done.set)
            await done.wait()
            whole.append(work.total_ms - started)
    return whole, planning


def main() -> int:
    slow = False
    head = f"{'machine':<12}{'size':>8}{'key to picture, ms':>20}{'worst':>8}{'longest step':>14}{'planner, ms':>13}"
    print(head)
    for gpus, size in product(MACHINES, SIZES):
        with LoopWork() as work:
            whole, planning = asyncio.run(measure(gpus, size, work))
        median = statistics.median(whole)
        slow |= median > PROMISE_MS or max(whole) > LOOP_MS
        print(
            f"{gpus:<12}{size[0]:>5}x{size[1]}{median:>20.1f}{max(whole):>8.1f}{work.longest_ms:>14.1f}{statistics.median(planning):>13.1f}"
        )
    return int(slow)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
