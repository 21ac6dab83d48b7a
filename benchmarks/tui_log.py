"""How many log lines a second the wizard's log takes in, in batches as they come from the file.

python benchmarks/tui_log.py
"""

from __future__ import annotations

import asyncio
import time

from textual.app import App, ComposeResult

from tui.widgets.log_view import LogView

LINE = b"(Worker_TP%d pid=300) INFO 11-20 09:01:42 [gpu_worker.py:480] Available KV cache memory: 107.36 GiB, line %d\n"


class LogApp(App[None]):
    """A log and nothing else."""

    CSS = "LogView { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield LogView(id="log")


async def measure(*, lines: int, batch: int) -> float:
    """Return seconds until all lines are in and the end is in sight."""
    batches = [
        b"".join(LINE % (number % 8, number) for number in range(start, start + batch))
        for start in range(0, lines, batch)
    ]
    app = LogApp()
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        started = time.perf_counter()
        for data in batches:
            log.feed(data)
            await asyncio.sleep(0)
        while log.scroll_offset.y < log.max_scroll_y or len(log.log_lines.lines) < lines:
            await pilot.pause(0)
        return time.perf_counter() - started


def main() -> None:
    print(f"{'lines':>9}{'a batch':>9}{'s':>8}{'lines/s':>12}")
    for lines, batch in ((20_000, 1), (20_000, 200), (200_000, 2_000)):
        seconds = asyncio.run(measure(lines=lines, batch=batch))
        print(f"{lines:>9,}{batch:>9,}{seconds:>8.2f}{lines / seconds:>12,.0f}")


if __name__ == "__main__":
    main()
