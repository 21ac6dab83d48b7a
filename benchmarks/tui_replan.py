"""How long the wizard takes from a key to the drawn plan, and how long of that the planner takes.

    python benchmarks/tui_replan.py

The promise is 50 ms; exit code 1 says that the median of some machine was slower.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from hw_specs import parse_gpus
from planner import PlanRequest
from tui.app import M35App
from tui.backend import Backend
from tui.screens.workload import WorkloadScreen
from tui.widgets.fields import Line
from tui.wizard import Answers, Step

PROMISE_MS = 50.0
MACHINES = ("1xMI300X", "8xH200", "2xH100", "2x8xB200")
KEYS = "131072" * 5


async def measure(gpus: str) -> tuple[list[float], list[float]]:
    """Return milliseconds per key, whole and in the planner alone."""
    from planner import plan

    planning: list[float] = []

    def timed(request: PlanRequest) -> object:
        started = time.perf_counter()
        answer = plan(request)
        planning.append(1000 * (time.perf_counter() - started))
        return answer

    backend = Backend(plan=timed, running=list, detect_every_s=None)  # type: ignore[arg-type]
    app = M35App(backend=backend, answers=Answers(request=PlanRequest(gpus=parse_gpus(gpus))), step=Step.WORKLOAD)
    whole: list[float] = []
    async with app.run_test(size=(120, 40)) as pilot:
        while not isinstance(app.screen, WorkloadScreen):
            await pilot.pause()
        line = app.screen.query_one("#max_model_len", Line)
        planning.clear()
        for index in range(len(KEYS)):
            started = time.perf_counter()
            line.value = KEYS[: index % 6 + 1]
            done = asyncio.Event()
            # The message of the change is handled before this callback, the screen is drawn with it.
            app.screen.call_after_refresh(done.set)
            await done.wait()
            whole.append(1000 * (time.perf_counter() - started))
    return whole, planning


def main() -> int:
    slow = False
    print(f"{'machine':<12}{'key to picture, ms':>20}{'worst':>8}{'planner, ms':>14}")
    for gpus in MACHINES:
        whole, planning = asyncio.run(measure(gpus))
        median = statistics.median(whole)
        slow |= median > PROMISE_MS
        print(f"{gpus:<12}{median:>20.1f}{max(whole):>8.1f}{statistics.median(planning):>14.1f}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
