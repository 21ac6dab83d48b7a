"""Watching a run until it is ready, has failed or takes too long; it changes nothing but ``events.jsonl``.

Any number of processes may follow one run. The parser is deterministic, so everyone sees the same events; the one
that holds the lock writes them down.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal

from planner.errors import InvalidRequest, UnsafePath
from planner.facts.startup import startup_facts
from planner.rendering.envelope import to_value
from planner.serve.log.events import (
    PHASES,
    Event,
    Healthy,
    PhaseStarted,
    Progress,
    QuietSeen,
    ServerEnded,
    ServerReady,
    StallSeen,
    TimedOut,
)
from planner.serve.log.parser import StartupLog
from planner.serve.process.health import HealthAnswer, ask_health
from planner.serve.process.history import earlier_starts, remember_start
from planner.serve.process.progress import quiet_limit_s
from planner.serve.process.run import Run
from planner.serve.process.sessions import reap_children
from planner.serve.process.tail import LogTail
from planner.state import append_records, open_own, read_records

Until = Literal["ready", "end"]


def stall_limits(changes: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the longest time without progress by phase, with `changes` applied.

    Raises:
        InvalidRequest: for a phase that does not exist or a time that is not positive.
    """
    table = startup_facts().stall_limit_s
    limits = {phase: float(getattr(table, phase)) for phase in PHASES}
    for phase, limit_s in (changes or {}).items():
        if phase not in limits:
            raise InvalidRequest("timeout", f"there is no phase `{phase}`", hint=f"one of {', '.join(PHASES)}")
        if not limit_s > 0:
            raise InvalidRequest("timeout", f"timeout of `{phase}` must be positive, not `{limit_s:g}`")
        limits[phase] = limit_s
    return limits


class Follower:
    """Turns one run into batches of events; poll it as often as you like.

    `stall_limits_s` changes the limits of single phases, `total_limit_s` bounds the whole start. After `done`
    nothing new comes.
    """

    def __init__(
        self,
        run: Run,
        *,
        until: Until = "ready",
        stall_limits_s: Mapping[str, float] | None = None,
        total_limit_s: float | None = None,
    ) -> None:
        self.run = run
        self.done = False
        self.ready = False
        self._until = until
        self._limits = stall_limits(stall_limits_s)
        self._total_limit_s = total_limit_s
        self._tail = LogTail(run.log_path)
        self._log = StartupLog()
        self._begun = time.monotonic()
        self._from_birth = time.time() - run.record.created_at_s < 5
        self._progress_at = self._begun
        self._stalled = False
        self._quiet_in: set[str] = set()
        self._usual_s = earlier_starts(run.record.history_key)[0] if run.record.history_key else {}
        self._phase_began: dict[str, float] = {}
        self._asked_at = float("-inf")
        self._health = HealthAnswer(status=None, text="not asked")
        self._health_since: float | None = None
        self._was_healthy = False
        self._recorder = _Recorder(run)

    @property
    def phase(self) -> str:
        """The phase reached so far; ``configure`` until the log says more."""
        return self._log.phase or PHASES[0]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the launch."""
        return max(0.0, time.time() - self.run.record.created_at_s)

    def poll(self) -> tuple[Event, ...]:
        """Return what happened since the last call; blocks for one health request at most."""
        if self.done:
            return ()
        reap_children()
        # The processes are looked at before the log is read: what they wrote last is then certainly in it.
        status = self.run.status()
        events: list[Event] = []
        while data := self._tail.read():
            events += self._log.feed(data)
            if self._until == "ready" and self._log.phase == "ready":
                break  # what a server has said since it was ready may be gigabytes
        now = time.monotonic()
        self._note_progress(events, now)
        if not status.alive:
            events += self._log.finish()
            events.append(ServerEnded(exit_code=status.exit_code, after_s=self.elapsed_s, was_ready=self.ready))
            self.done = True
        elif not self.ready:
            events += self._look_for_readiness(now)
            if not self.ready:
                events += self._look_at_the_clock(now) or self._look_for_silence(now)
        self._recorder.write(events)
        if self.done:
            self._tail.close()
        return tuple(events)

    def _note_progress(self, events: list[Event], now: float) -> None:
        for event in events:
            if isinstance(event, PhaseStarted):
                self._phase_began.setdefault(event.phase, now)
            if isinstance(event, (PhaseStarted, Progress)):
                self._progress_at = now
            if isinstance(event, (PhaseStarted, Progress, StallSeen)):
                self._stalled = isinstance(event, StallSeen)

    def _look_for_readiness(self, now: float) -> list[Event]:
        settings = startup_facts().health
        said_ready = self._log.phase == "ready"
        near = said_ready or self._log.phase in ("", "capture")
        if now - self._asked_at < (0.25 if said_ready else 1.0 if near else 10.0):
            return []
        self._asked_at = now
        self._health = ask_health(self.run.url, timeout_s=settings.timeout_s)
        events: list[Event] = []
        if not self._health.ok:
            self._health_since = None
            return events
        if self._health_since is None:
            self._health_since = now
        # Whoever answers may be another server on that port: without a word in the log it must be ours.
        patient = near and now - self._health_since >= float(settings.alone_s)
        alone = patient and (self.run.record.target != "local" or self.run.listens())
        if said_ready or alone:
            if not self._was_healthy:
                self._was_healthy = True
                events.append(Healthy(after_s=self.elapsed_s))
            self.ready = True
            said_by = "health and log" if said_ready else "health"
            events.append(ServerReady(url=self.run.url, after_s=self.elapsed_s, said_by=said_by))
            if self._from_birth and said_ready:
                self._recorder.remember(self._durations(now), self.elapsed_s)
            self.done = self._until == "ready"
        return events

    def _look_at_the_clock(self, now: float) -> list[Event]:
        phase = self.phase if self.phase in self._limits else "ready"
        waited_s = now - self._progress_at
        whole_s = now - self._begun
        total = self._total_limit_s is not None and whole_s > self._total_limit_s
        if waited_s <= self._limits[phase] and not total:
            return []
        self.done = True
        # The last answer may be seconds old, and a lot can be read from this one.
        self._health = ask_health(self.run.url, timeout_s=startup_facts().health.timeout_s)
        answer = self._health.text
        if self._health.status is not None and self.run.port_taken():
            answer += f" from another server: port {self.run.record.endpoint.port} is not ours"
        return [
            TimedOut(
                phase=phase,
                waited_s=whole_s if total else waited_s,
                last_seen=self._log.last_text,
                health=answer,
                stamp=self._log.stamp,
            )
        ]

    def _look_for_silence(self, now: float) -> list[Event]:
        """What is told of a phase once: that it moves no more. A line that says what is waited for says more."""
        phase, waited_s = self.phase, now - self._progress_at
        usual_s = self._usual_s.get(phase)
        if phase not in self._limits or phase in self._quiet_in or self._stalled:
            return []
        if waited_s <= quiet_limit_s(phase, usual_s=usual_s):
            return []
        self._quiet_in.add(phase)
        return [
            QuietSeen(
                phase=phase,
                waited_s=waited_s,
                usual_s=usual_s,
                last_seen=self._log.last_text,
                stamp=self._log.stamp,
            )
        ]

    def _durations(self, now: float) -> dict[str, float]:
        began = {PHASES[0]: self._begun, **self._phase_began}
        order = [phase for phase in PHASES if phase in began]
        ends = [began[phase] for phase in order[1:]] + [now]
        return {phase: round(end - began[phase], 3) for phase, end in zip(order, ends, strict=True)}


class _Recorder:
    """Appends events to the run's file if no other follower does; a restarted one goes on where the last one ended."""

    def __init__(self, run: Run) -> None:
        import fcntl

        self._run = run
        self._skip = 0
        self._lock: int | None = None
        with contextlib.suppress(OSError, UnsafePath):
            self._lock = open_own(run.directory / "follow.lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._skip = sum(1 for record in read_records(run.events_path) if record.get("line"))
            return
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, events: list[Event]) -> None:
        if self._lock is None:
            return
        records: list[dict[str, Any]] = []
        for event in events:
            if event.line and self._skip:
                self._skip -= 1
                continue
            records.append({"seen_at_s": round(time.time(), 3), **to_value(event)})
        with contextlib.suppress(OSError, UnsafePath):
            append_records(self._run.events_path, records)

    def remember(self, durations_s: dict[str, float], total_s: float) -> None:
        """Keep how long this start took, for the next one's time left."""
        if self._lock is None or not self._run.record.history_key:
            return
        remember_start(self._run.record.history_key, durations_s, total_s)


def follow(
    run: Run,
    *,
    until: Until = "ready",
    stall_limits_s: Mapping[str, float] | None = None,
    total_limit_s: float | None = None,
    poll_s: float = 0.2,
    tick: bool = False,
) -> Iterator[tuple[Event, ...]]:
    """Yield batches of events until the server is ready, has ended or timed out; sleeps between polls.

    The last event of the last batch is a `ServerReady`, `ServerEnded` or `TimedOut`. With `tick` an empty batch
    comes at every poll without news, so that a display can move its clock.

    Raises:
        InvalidRequest: for limits of unknown phases.
    """
    follower = Follower(run, until=until, stall_limits_s=stall_limits_s, total_limit_s=total_limit_s)
    while not follower.done:
        events = follower.poll()
        if events or tick:
            yield events
        if not follower.done:
            time.sleep(poll_s)


async def follow_async(
    run: Run,
    *,
    until: Until = "ready",
    stall_limits_s: Mapping[str, float] | None = None,
    total_limit_s: float | None = None,
    poll_s: float = 0.2,
    tick: bool = False,
) -> AsyncIterator[tuple[Event, ...]]:
    """The same as `follow` for an event loop: polls run in a thread, cancelling it leaves the server alone."""
    import asyncio

    follower = Follower(run, until=until, stall_limits_s=stall_limits_s, total_limit_s=total_limit_s)
    while not follower.done:
        events = await asyncio.to_thread(follower.poll)
        if events or tick:
            yield events
        if not follower.done:
            await asyncio.sleep(poll_s)
