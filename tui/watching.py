"""The long jobs of the last two steps, for threads: they post news and never see a widget."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from hw_specs import M35Error
from planner import Plan, SpeedForecast, Workload
from planner.serve import CheckResult, Event, Expectations, Run, StartOrder
from planner.serve.log.events import ServerReady
from planner.serve.process.engine_argv import option_value
from planner.serve.process.progress import StartProgress
from planner.serve.process.start_order import new_run_id
from planner.serve.process.tail import LogTail
from planner.serve.rehearsal.rehearse import Stage
from planner.serve.start_report import plan_of
from planner.serve.verification.chat import Turn
from planner.state import state_dir
from tui import news
from tui.backend import Backend
from tui.wizard import Answers

Post = Callable[[news.News], None]
Cancelled = Callable[[], bool]

READY_FACTOR = 5
"""A server that is up is looked at less often than one that starts."""

LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::")
"""Where a server listens that runs on this machine's GPUs."""
MOST_LOG_BYTES = 1 << 18
"""Of one batch, so that no key has to wait for a long log; the rest follows at once."""


def check_machine(backend: Backend, order: StartOrder, plan: Plan, *, post: Post, cancelled: Cancelled) -> None:
    """Run the preflight, one message per check."""
    try:
        for result in backend.preflight(order, plan, lambda title: post(news.CheckStarted(title, at_s=backend.now()))):
            if cancelled():
                return
            post(news.Checked(result))
    except M35Error as refusal:
        post(news.Refused(refusal, doing="preflight"))
    post(news.PreflightDone())


def start_server(
    backend: Backend, order: Callable[[], StartOrder | None], plan: Plan, *, replacing: Run | None, post: Post
) -> None:
    """Start a server, after ending the one it replaces."""
    if replacing is not None:
        backend.stop(replacing)
    try:
        wanted = order()
        if wanted is not None:
            post(launched(backend, backend.launch(wanted, plan)))
    except M35Error as refusal:
        post(news.Refused(refusal, doing="launch"))


def find_run(backend: Backend, run_id: str, *, post: Post) -> None:
    """Take up a run that was started earlier."""
    try:
        run = backend.attach(run_id)
        post(launched(backend, run))
    except M35Error as refusal:
        post(news.Refused(refusal, doing="attach"))
    else:
        post(news.DamageFound(backend.damage_of(run)))


def watch_server(backend: Backend, run: Run, *, post: Post, cancelled: Cancelled) -> None:
    """Follow a run to its end: events, log and start reports."""
    follower = backend.follow(run)
    last: Event | None = None
    with closing(LogTail(run.log_path)) as tail:
        while not cancelled():
            events = follower.poll()
            last = events[-1] if events else last
            at_s = max(0.0, backend.now() - run.record.created_at_s)
            log = tail.read(MOST_LOG_BYTES)
            if events or log or not follower.ready:
                # While it starts, a message without news moves the clock.
                post(news.ServerNews(events, log, at_s=at_s))
            while log and (log := tail.read(MOST_LOG_BYTES)):
                post(news.ServerNews((), log, at_s=at_s))
            ready = next((event for event in events if isinstance(event, ServerReady)), None)
            if follower.done or ready is not None:
                post(news.StartReported(backend.report_start(run, last if follower.done else ready)))
            if follower.done:
                return
            time.sleep(backend.poll_s * (READY_FACTOR if follower.ready else 1))


def rehearse_plan(backend: Backend, plan: Plan, *, post: Post) -> None:
    """Start the engine on a twin, check it, stop it."""
    directory = state_dir() / "rehearsals" / new_run_id()
    begun = backend.now()
    post(news.RehearsalBegun())
    with closing(LogTail(directory / "server.log")) as tail:

        def staged(stage: Stage) -> None:
            post(news.RehearsalStage(stage))

        def heard(events: tuple[Event, ...]) -> None:
            at_s = backend.now() - begun
            post(news.ServerNews(events, tail.read(MOST_LOG_BYTES), at_s=at_s))
            while log := tail.read(MOST_LOG_BYTES):
                post(news.ServerNews((), log, at_s=at_s))

        def smoked(result: CheckResult) -> None:
            post(news.SmokeDone(result))

        try:
            report = backend.rehearse(plan, directory, staged, heard, smoked)
        except M35Error as refusal:
            post(news.Refused(refusal, doing="rehearse"))
        else:
            heard(())
            post(news.Rehearsed(report))


def launched(backend: Backend, run: Run) -> news.Launched:
    """Return a run with what earlier starts like it let expect."""
    expected_s, starts = backend.expected(run)
    return news.Launched(run, StartProgress(expected_s=expected_s, earlier_starts=starts))


def answers_of(run: Run) -> Answers:
    """Return what is known of a run that was started earlier, as if it had been answered here."""
    plan = plan_of(run)
    return Answers(request=plan.request if plan else None, run_id=run.id, port=run.record.endpoint.port)


def know_run(backend: Backend, run_id: str, *, post: Post) -> None:
    """Find a run with its plan, what is expected of its server and how its start ended."""
    try:
        run = backend.attach(run_id)
    except M35Error as refusal:
        post(news.Refused(refusal, doing="attach"))
        return
    plan = backend.plan_of(run)
    served = option_value(run.record.argv, "served-model-name")
    expected = Expectations.from_plan(plan) if plan else None
    if expected is not None and served:
        expected = dataclasses.replace(expected, model=served)
    model = served or (plan.model.name if plan else "")
    post(news.RunKnown(run, plan, expected, model, backend.report_start(run, None)))
    post(news.DamageFound(backend.damage_of(run)))


def verify_server(backend: Backend, url: str, expected: Expectations | None, *, post: Post) -> None:
    """Check a running server, one message per check."""
    try:
        report = backend.verify(
            url, expected, lambda name: post(news.SmokeStarted(name)), lambda result: post(news.SmokeDone(result))
        )
    except M35Error as refusal:
        post(news.Refused(refusal, doing="verify"))
    else:
        post(news.Verified(report))


def look_at_server(backend: Backend, run: Run, *, post: Post) -> None:
    """Read ``/metrics`` and the GPUs once."""
    try:
        page: str | M35Error = backend.metrics(run.url)
    except M35Error as refusal:
        page = refusal
    here = run.record.endpoint.host in LOOPBACK
    gpus = backend.activity() if here else ()
    post(news.MetricsRead(page, at_s=backend.now(), alive=run.status().alive, gpus=gpus))


def forecast_for(backend: Backend, plan: Plan, load: Workload, *, post: Post) -> None:
    """Forecast what a server would show under the load that is there."""
    try:
        found: SpeedForecast | M35Error = backend.speed(plan, load)
    except M35Error as refusal:
        found = refusal
    post(news.Forecasted(plan, load, found))


def chat_with_server(backend: Backend, url: str, model: str, turns: Sequence[Turn], *, post: Post) -> None:
    """Send a conversation and pass its answer on as it comes."""
    try:
        for piece in backend.chat(url, model, turns):
            post(news.Said(piece.text or piece.reasoning))
    except M35Error as refusal:
        post(news.Said(f"[{refusal}]"))
    post(news.Said("", over=True))


def stop_server(backend: Backend, run: Run, *, post: Post) -> None:
    """End a server and everything it started."""
    post(news.Stopped(backend.stop(run)))
