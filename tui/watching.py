"""The long jobs of the launch step, for threads: they post messages and never see a widget."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from textual.message import Message

from hw_specs import M35Error
from planner import Plan
from planner.serve import CheckResult as SmokeResult
from planner.serve import Event, Run, attach, conclude
from planner.serve.log.events import ServerReady
from planner.serve.preflight.start_order import LaunchOrder
from planner.serve.process.launcher import new_run_id
from planner.serve.process.tail import LogTail
from planner.serve.rehearsal.rehearse import Stage
from planner.state import state_dir
from tui import messages
from tui.backend import Backend

Post = Callable[[Message], object]
Cancelled = Callable[[], bool]

READY_FACTOR = 5
"""A server that is up is looked at less often than one that starts."""

MOST_LOG_BYTES = 4 << 20
"""Of one batch; the rest comes with the next."""


def check_machine(backend: Backend, order: LaunchOrder, plan: Plan, *, post: Post, cancelled: Cancelled) -> None:
    """Run the preflight, one message per check."""
    try:
        for result in backend.preflight(order, plan):
            if cancelled():
                return
            post(messages.Checked(result))
    except M35Error as refusal:
        post(messages.Refused(refusal, doing="preflight"))
    post(messages.PreflightDone())


def start_server(
    backend: Backend, order: Callable[[str], LaunchOrder | None], plan: Plan, *, replacing: Run | None, post: Post
) -> None:
    """Start a server under a new run id, after ending the one it replaces."""
    if replacing is not None:
        replacing.stop()
    run_id = new_run_id()
    try:
        wanted = order(run_id)
        if wanted is not None:
            post(messages.Launched(backend.launch(wanted, plan, run_id)))
    except M35Error as refusal:
        post(messages.Refused(refusal, doing="launch"))


def find_run(run_id: str, *, post: Post) -> None:
    """Take up a run that was started earlier."""
    try:
        post(messages.Launched(attach(run_id)))
    except M35Error as refusal:
        post(messages.Refused(refusal, doing="attach"))


def watch_server(backend: Backend, run: Run, *, post: Post, cancelled: Cancelled) -> None:
    """Follow a run to its end: events, log and conclusions."""
    follower = backend.follow(run)
    last: Event | None = None
    with closing(LogTail(run.log_path)) as tail:
        while not cancelled():
            events = follower.poll()
            last = events[-1] if events else last
            log = read_batch(tail)
            if events or log or not follower.ready:
                # While it starts, a message without news moves the clock.
                post(messages.ServerNews(events, log, at_s=max(0.0, backend.now() - run.created_at_s)))
            ready = next((event for event in events if isinstance(event, ServerReady)), None)
            if follower.done or ready is not None:
                post(messages.Concluded(conclude(run, last if follower.done else ready)))
            if follower.done:
                return
            time.sleep(backend.poll_s * (READY_FACTOR if follower.ready else 1))


def rehearse_plan(backend: Backend, plan: Plan, *, post: Post) -> None:
    """Start the engine on a twin, check it, stop it."""
    directory = state_dir() / "rehearsals" / new_run_id()
    begun = backend.now()
    with closing(LogTail(directory / "server.log")) as tail:

        def staged(stage: Stage) -> None:
            post(messages.RehearsalStage(stage))

        def news(events: tuple[Event, ...]) -> None:
            post(messages.ServerNews(events, read_batch(tail), at_s=backend.now() - begun))

        def smoked(result: SmokeResult) -> None:
            post(messages.SmokeDone(result))

        try:
            report = backend.rehearse(plan, directory, staged, news, smoked)
        except M35Error as refusal:
            post(messages.Refused(refusal, doing="rehearse"))
        else:
            news(())
            post(messages.Rehearsed(report))


def stop_server(run: Run, *, post: Post) -> None:
    """End a server and everything it started."""
    post(messages.Stopped(run.stop().how))


def read_batch(tail: LogTail) -> bytes:
    """Return what is new in a log, up to a batch."""
    found = bytearray()
    while len(found) < MOST_LOG_BYTES and (data := tail.read()):
        found += data
    return bytes(found)
