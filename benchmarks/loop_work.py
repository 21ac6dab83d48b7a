"""How long the event loop works at a stretch, which is how long a key may have to wait on an idle machine.

Processor time of the thread is counted, so that other programs of the machine change nothing.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

PROMISE_MS = 100.0


class LoopWork:
    """Times every step of the loops that run inside."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.total_ms = 0.0
        self._run = asyncio.Handle._run

    def forget(self) -> None:
        """Begin anew; what comes before, such as imports and the first drawing, is no key's wait."""
        self.longest_ms = self.total_ms = 0.0

    def __enter__(self) -> LoopWork:
        def timed(handle: asyncio.Handle) -> None:
            before = time.thread_time()
            self._run(handle)
            spent_ms = 1000 * (time.thread_time() - before)
            self.total_ms += spent_ms
            self.longest_ms = max(self.longest_ms, spent_ms)

        asyncio.Handle._run = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]
