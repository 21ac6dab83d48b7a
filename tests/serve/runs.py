"""Runs in tests: waiting for them, and reading their events."""

from __future__ import annotations

import time
from typing import Any

from planner.serve import Run, follow
from planner.serve.log.events import Event
from planner.serve.process.endpoint import Endpoint
from planner.serve.process.record import RunRecord

from .conftest import Fake


def wait_for(condition: object, limit_s: float = 15.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def watch(run: Run, **options: object) -> list[Event]:
    return [event for batch in follow(run, poll_s=0.03, **options) for event in batch]  # type: ignore[arg-type]


def ready(fake: Fake, **options: Any) -> Run:
    run = fake.launch(**options)
    for _ in follow(run, poll_s=0.03):
        pass
    return run


def record(**entries: Any) -> RunRecord:
    made = {
        "id": "2026-1", "created_at_s": 1.0, "target": "local", "endpoint": Endpoint(host="127.0.0.1", port=1),
        "argv": ("x",), "launcher_pid": 1, "launcher_start_ticks": 1,
    }  # fmt: skip
    return RunRecord(**(made | entries))
