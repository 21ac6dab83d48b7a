"""A start as people watch it: a block that redraws itself on a terminal, plain lines in a pipe. It never decides."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from planner.cli.diagnostics import narrate, redraw
from planner.cli.page import page_width, paragraph
from planner.serve.log.events import (
    Event,
    FailureSeen,
    PhaseStarted,
    Progress,
    QuietSeen,
    ServerReady,
    StallSeen,
    TimedOut,
)
from planner.serve.process.progress import (
    PhaseView,
    StartProgress,
    StartView,
    count,
    duration,
    quiet_words,
    seconds_after,
    stall_words,
)

_BAR = 20
_MARKS = {"done": "✓", "now": "●", "next": "○", "skipped": "–"}
_PLAIN_STEPS = 10
"""Progress lines per phase in a pipe."""


def phase_line(view: PhaseView) -> str:
    """Return one line of the block."""
    text = f"{_MARKS[view.state]} {view.title:<14}"
    if view.state == "now":
        fraction = view.fraction
        if fraction is not None:
            full = round(min(1.0, fraction) * _BAR)
            text += f"{'▓' * full}{'░' * (_BAR - full)} {fraction:4.0%}  {count(view)}  "
        text += duration(view.elapsed_s or 0.0)
        if fraction is None and view.expected_s is not None:
            text += f" of about {duration(view.expected_s)}"
    elif view.state == "done" and view.phase != "ready":
        text += f"{duration(view.elapsed_s or 0.0)}"
    elif view.state == "next" and view.expected_s:
        text += f"about {duration(view.expected_s)}"
    return text[: page_width()].rstrip()


def closing_line(view: StartView) -> str:
    """Return the line with the time gone and the time left."""
    text = f"  {duration(view.elapsed_s)} since the launch"
    if view.remaining_s:
        starts = "one earlier start" if view.earlier_starts == 1 else f"{view.earlier_starts} earlier starts"
        text += f", about {duration(view.remaining_s)} left ({starts})"
    return text


class StartDisplay:
    """Shows events as they come; on a terminal with a clock that moves."""

    def __init__(self, progress: StartProgress, *, launch_s: float) -> None:
        self._progress = progress
        self._launch_s = launch_s
        self._late = True
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._step = (-1, "")

    def show(self, events: Iterable[Event], *, at_s: float) -> None:
        """Take in `events` seen `at_s` seconds after the launch and bring the display up to date."""
        for event in events:
            when_s = at_s
            if self._late and event.stamp:
                # What happened before the first look gets the engine's own time.
                when_s = seconds_after(event.stamp, launch_s=self._launch_s, at_most_s=at_s)
            self._progress = self._progress.after([event], at_s=when_s)
            if not self._live and (line := self._plain(event, when_s)) is not None:
                narrate(f"{when_s:8.1f} s  {line}")
        self._late = False
        if self._live:
            self._draw(at_s)

    def _draw(self, at_s: float) -> None:
        view = self._progress.view(at_s=at_s)
        lines = [phase_line(row) for row in view.phases if row.state != "skipped"] + [closing_line(view)]
        if view.stall is not None:
            lines += paragraph(stall_words(view.stall, view), rest="    ").split("\n")
        elif view.quiet_s is not None:
            lines += paragraph(quiet_words(view), rest="    ").split("\n")
        redraw(lines, over=self._drawn)
        self._drawn = len(lines)

    def _plain(self, event: Event, at_s: float) -> str | None:
        if isinstance(event, PhaseStarted):
            title = self._progress.title(event.phase)
            # Of a phase that was over before anybody watched nobody wants to know how long the rest would take.
            left = None if self._late else self._progress.view(at_s=at_s).remaining_s
            return f"{title}{f', about {duration(left)} left' if left else ''}"
        if isinstance(event, Progress):
            step = (event.done * _PLAIN_STEPS // max(1, event.total), event.phase + event.label)
            if step == self._step:
                return None
            self._step = step
            title = self._progress.title(event.phase)
            return f"{title} {event.done}/{event.total} {event.label}".rstrip()
        if isinstance(event, FailureSeen):
            return f"log line {event.line}: {event.text[:200]}"
        if isinstance(event, StallSeen):
            return stall_words(event, self._progress.view(at_s=at_s))
        if isinstance(event, QuietSeen):
            return quiet_words(self._progress.view(at_s=at_s), waited_s=event.waited_s)
        if isinstance(event, TimedOut):
            return f"no progress in {self._progress.title(event.phase)} for {duration(event.waited_s)}"
        if isinstance(event, ServerReady):
            return f"answers at {event.url}"
        return None
