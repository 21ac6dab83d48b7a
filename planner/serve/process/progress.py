"""How far a start is and how long it will still take, from events and earlier starts; it never reads a clock.

Times come from the caller. Without an earlier start under the same key there is no estimate, and none is made up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Literal

from planner.facts.startup import startup_facts
from planner.serve.log.causes import causes
from planner.serve.log.events import ENDINGS, PHASES, Event, Figure, PhaseStarted, Progress, StallSeen

PhaseState = Literal["done", "now", "next", "skipped"]

TITLES: dict[str, str] = {
    "configure": "configuration",
    "download": "download",
    "load": "weights",
    "profile": "profile",
    "kv": "KV cache",
    "compile": "compilation",
    "capture": "graphs",
    "ready": "ready",
}
"""What people read for each phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseView:
    """One line of a progress display."""

    phase: str
    title: str
    state: PhaseState
    elapsed_s: float | None
    """Time spent in it; None before it begins."""
    expected_s: float | None
    """Median of earlier starts; None without one."""
    done: int | None = None
    total: int | None = None
    label: str = ""

    @property
    def fraction(self) -> float | None:
        """Share that is done, where something is counted."""
        return self.done / self.total if self.done is not None and self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartView:
    """Everything a display needs."""

    phases: tuple[PhaseView, ...]
    elapsed_s: float
    remaining_s: float | None
    """None when no earlier start tells."""
    earlier_starts: int
    """How many the estimate rests on."""
    stall: StallSeen | None = None
    """What the start says again and again while nothing moves."""
    quiet_s: float | None = None
    """How long nothing moved, where that is longer than a start of this kind is quiet; a stall says more."""


def expected_durations(history: Sequence[Mapping[str, Any]], key: str) -> tuple[dict[str, float], int]:
    """Return the median seconds per phase over the newest starts with `key`, and how many there are."""
    newest = [record for record in history if key and record.get("key") == key][-startup_facts().history.starts :]
    times: dict[str, list[float]] = {}
    for record in newest:
        phases_s = record.get("phases_s")
        if isinstance(phases_s, dict):
            for phase, seconds in phases_s.items():
                if phase in PHASES and isinstance(seconds, (int, float)) and seconds >= 0:
                    times.setdefault(phase, []).append(float(seconds))
    return {phase: median(seconds) for phase, seconds in times.items()}, len(newest)


def seconds_after(stamp: str, *, launch_s: float, at_most_s: float) -> float:
    """Return how long after the launch the engine printed `stamp`, for events that are read late.

    `launch_s` is the Unix time of the launch. A stamp that cannot be, because the engine's clock is in another zone
    or its text is garbled, gives `at_most_s`.

    >>> seconds_after("garbled", launch_s=0.0, at_most_s=9.0)
    9.0
    """
    year = time.localtime(launch_s).tm_year
    for candidate in (year, year + 1):
        try:
            printed_s = time.mktime(time.strptime(f"{candidate}-{stamp}", "%Y-%m-%d %H:%M:%S"))
        except (ValueError, OverflowError):
            continue
        # Stamps are whole seconds: one may seem to lie just before the launch.
        if -1.0 <= printed_s - launch_s <= at_most_s:
            return max(0.0, printed_s - launch_s)
    return at_most_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProgress:
    """What the events of one start have told so far."""

    expected_s: Mapping[str, float] = field(default_factory=dict)
    """Phase → median seconds of earlier starts."""
    earlier_starts: int = 0
    began_s: Mapping[str, float] = field(default_factory=lambda: {PHASES[0]: 0.0})
    """Phase → seconds after the launch at which it began."""
    bars: Mapping[str, Progress] = field(default_factory=dict)
    """Phase → what was counted last in it."""
    over_s: float | None = None
    """When the start was over, ready or not."""
    figures: Mapping[str, int | float | str] = field(default_factory=dict)
    """The newest value of every figure."""
    stall: StallSeen | None = None
    """The newest wait, until something moves."""
    moved_s: float = 0.0
    """When a phase began last, or a bar moved."""

    def after(self, events: Iterable[Event], *, at_s: float) -> StartProgress:
        """Return the state once `events`, seen `at_s` seconds after the launch, are taken in."""
        began_s, bars, figures, over_s = dict(self.began_s), dict(self.bars), dict(self.figures), self.over_s
        current, stall, moved_s = PHASES.index(self.phase), self.stall, self.moved_s
        for event in events:
            if isinstance(event, (StallSeen, PhaseStarted, Progress)):
                stall = event if isinstance(event, StallSeen) else None
                moved_s = moved_s if isinstance(event, StallSeen) else at_s
            if isinstance(event, PhaseStarted):
                if event.phase in ENDINGS or event.phase == PHASES[-1]:
                    over_s = at_s if over_s is None else over_s
                if event.phase in PHASES and PHASES.index(event.phase) > current:
                    began_s[event.phase] = at_s
                    current = PHASES.index(event.phase)
            elif isinstance(event, Progress):
                bars[event.phase] = event
            elif isinstance(event, Figure):
                figures[event.name] = event.value
        return replace(
            self, began_s=began_s, bars=bars, figures=figures, over_s=over_s, stall=stall,
            moved_s=moved_s,
        )  # fmt: skip

    @property
    def phase(self) -> str:
        """The phase that the start is in."""
        return [phase for phase in PHASES if phase in self.began_s][-1]

    def title(self, phase: str) -> str:
        """What people read for `phase`; without graphs the step in which they are captured only warms up."""
        eager = self.figures.get("enforce_eager") == "True" or self.figures.get("device") == "cpu"
        return "warm-up" if phase == "capture" and eager else TITLES.get(phase, phase)

    def view(self, *, at_s: float) -> StartView:
        """Return the state `at_s` seconds after the launch."""
        current = PHASES.index(self.phase)
        over = self.phase == PHASES[-1]
        rows = []
        for index, phase in enumerate(PHASES):
            began = self.began_s.get(phase)
            state: PhaseState
            if index == current:
                state = "done" if over else "now"
            elif index < current:
                state = "skipped" if began is None else "done"
            else:
                state = "next"
            bar = self.bars.get(phase)
            rows.append(
                PhaseView(
                    phase=phase,
                    title=self.title(phase),
                    state=state,
                    elapsed_s=None if began is None else self._end_of(index, at_s) - began,
                    expected_s=self.expected_s.get(phase),
                    done=bar.done if bar else None,
                    total=bar.total if bar else None,
                    label=bar.label if bar else "",
                )
            )
        return StartView(
            phases=tuple(rows),
            elapsed_s=at_s if self.over_s is None else self.over_s,
            remaining_s=0.0 if over else self._remaining(rows[current]),
            earlier_starts=self.earlier_starts,
            stall=self.stall,
            quiet_s=None if over or self.stall is not None else self._quiet(at_s),
        )

    def _quiet(self, at_s: float) -> float | None:
        waited_s = at_s - self.moved_s
        long_s = quiet_limit_s(self.phase, usual_s=self.expected_s.get(self.phase))
        return waited_s if self.over_s is None and waited_s > long_s else None

    def _end_of(self, index: int, at_s: float) -> float:
        later = [self.began_s[phase] for phase in PHASES[index + 1 :] if phase in self.began_s]
        return min(later) if later else at_s if self.over_s is None else self.over_s

    def _remaining(self, now: PhaseView) -> float | None:
        if not self.expected_s:
            return None
        here = self.expected_s.get(now.phase, 0.0)
        spent = now.elapsed_s or 0.0
        left = max(0.0, here - spent)
        if now.fraction:
            # What is counted tells more about this start than any earlier one.
            left = spent / now.fraction - spent
        after = PHASES[PHASES.index(now.phase) + 1 :]
        return left + sum(self.expected_s.get(phase, 0.0) for phase in after)


def quiet_limit_s(phase: str, *, usual_s: float | None) -> float:
    """Return how long a phase may say nothing new before that is told."""
    facts = startup_facts()
    limit_s = float(facts.quiet.share_of_limit * getattr(facts.stall_limit_s, phase))
    return min(limit_s, max(facts.quiet.least_s, facts.quiet.times_usual * usual_s)) if usual_s else limit_s


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> duration(4.06), duration(95), duration(4000)
    ('4.1 s', '1 min 35 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def stall_words(stall: StallSeen, view: StartView) -> str:
    """Return what a start waits for, how long already, how long the phase usually takes, and what it may be.

    Where the line stands before any that tells a phase, it is the one that the start is in.
    """
    phase = next((row for row in view.phases if row.phase == stall.phase), None) or next(
        row for row in view.phases if row.state in ("now", "done") and row.elapsed_s is not None
    )
    waited = f" for {duration(stall.waited_s)}" if stall.waited_s else ""
    return (
        f"waits{waited} in {phase.title} ({_usual(phase)}); if it goes on, {stall.code}: {causes()[stall.code].title}"
    )


def quiet_words(view: StartView, *, waited_s: float | None = None) -> str:
    """Return how long a start says nothing new, in which phase, and how long that usually takes; empty where it moves.

    What it waits for no line tells, so that only where to look is said. `waited_s` is what was told of it, else the
    view's own.
    """
    phase = next((row for row in view.phases if row.state == "now"), None)
    quiet_s = view.quiet_s if waited_s is None else waited_s
    if quiet_s is None or phase is None:
        return ""
    return (
        f"nothing new for {duration(quiet_s)} in {phase.title} ({_usual(phase)}): it may hang; the last lines of "
        "its log tell what it is at, `py-spy dump --pid` where"
    )


def _usual(phase: PhaseView) -> str:
    if phase.expected_s:
        return f"it usually takes {duration(phase.expected_s)} here"
    return "no earlier start tells how long it takes"


def count(view: PhaseView) -> str:
    """Return what is counted in a phase, ``13/21`` or a size; empty when nothing is."""
    if view.done is None or not view.total:
        return ""
    if view.total >= 2**20:
        return f"{view.done / 2**30:.2f} of {view.total / 2**30:.2f} GiB"
    return f"{view.done}/{view.total}"
