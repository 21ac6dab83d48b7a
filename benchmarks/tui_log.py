"""How many log lines a second the wizard's log takes in, in batches as they come from the file.

    python benchmarks/tui_log.py

Processor time is counted. The promise is half a second for 20,000 lines and 100 ms for the longest step of the loop;
exit code 1 says that one was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from loop_work import PROMISE_MS, LoopWork
from textual.app import App, ComposeResult

from tui.watching import MOST_LOG_BYTES
from tui.widgets.log_view import LogView

PROMISE_S = 0.5

LINE = b"(Worker_TP%d pid=300) INFO 11-20 09:01:42 [gpu_worker.py:480] Available KV cache memory: 107.36 GiB, line %d\n"


class LogApp(App[None]):
    """A log and nothing else."""

    CSS = "LogView { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield LogView(id="log")


async def measure(work: LoopWork, *, lines: int, batch: int) -> float:
    """Return seconds of work until all lines are in and the end is in sight."""
    batches = [
        b"".join(LINE % (number % 8, number) for number in range(start, start + batch))
        for start in range(0, lines, batch)
    ]
    app = LogApp()
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        work.forget()
        for data in batches:
            asyncio.get_running_loop().call_soon(log.feed, data)
            await asyncio.sleep(0)
        while log.scroll_offset.y < log.max_scroll_y or len(log.log_lines.lines) < lines:
            await pilot.pause(0)
        return work.total_ms / 1000


def main() -> int:
    slow = False
    print(f"{'lines':>9}{'a batch':>9}{'s':>8}{'lines/s':>12}{'longest step ms':>17}")
    for lines, batch in ((20_000, 200), (20_000, MOST_LOG_BYTES // len(LINE)), (200_000, 2_000)):
        with LoopWork() as work:
            seconds = asyncio.run(measure(work, lines=lines, batch=batch))
        slow |= work.longest_ms > PROMISE_MS or (lines == 20_000 and seconds > PROMISE_S)
        print(f"{lines:>9,}{batch:>9,}{seconds:>8.2f}{lines / seconds:>12,.0f}{work.longest_ms:>17.1f}")
    return int(slow)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
