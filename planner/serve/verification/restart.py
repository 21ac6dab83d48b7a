"""A server that was launched here, stopped and started again: it must come up, and say what it said before."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.errors import LaunchFailed
from planner.serve.check import Failed, NamedCheck
from planner.serve.log.events import Event, ServerReady, TimedOut
from planner.serve.process.again import start_again
from planner.serve.process.follower import follow
from planner.serve.process.run import Run
from planner.serve.start_report import plan_of, report_start
from planner.serve.verification.checks.consistency import COLOURS, must_agree
from planner.serve.verification.checks.probe import Probe

NAME = "restart"
ELSEWHERE_HINT = (
    "whoever started it can restart: `docker restart`, `systemctl restart`, `kubectl rollout restart`; then "
    "`m35-plan verify URL`"
)


@dataclass(slots=True, kw_only=True)
class Restart:
    """One restart, as a check that stands before those of what came up."""

    run: Run
    """The run that answers: the launched one, then the one that took its place."""
    limits_s: dict[str, float] = field(default_factory=dict)
    """Longest time without progress by phase, where it is not the usual one."""

    @property
    def check(self) -> NamedCheck[Probe]:
        """The check."""
        return NamedCheck(name=NAME, title="it comes up again", run=self._restart)

    def _restart(self, probe: Probe) -> str:
        before = probe.chat(COLOURS).content
        try:
            self.run = start_again(self.run, plan=plan_of(self.run))
        except LaunchFailed as error:
            raise Failed(str(error), error.hint or "") from error
        last: Event | None = None
        for events in follow(self.run, stall_limits_s=self.limits_s):
            last = events[-1] if events else last
        if not isinstance(last, ServerReady):
            found = report_start(self.run, last)
            if isinstance(last, TimedOut):
                self.run.stop()
            why = f": {found.failure.title}" if found.failure is not None else ""
            raise Failed(f"it did not come up again{why}", f"`m35-plan diagnose {self.run.id}`")
        # A prefix that was cached may change the last bit of an answer; the first one after a start has none.
        must_agree(before, probe.chat(COLOURS).content, seen="before the restart {}, then {}")
        return f"ready again after {last.after_s:.1f} s as run {self.run.id}, with the same words as before"
