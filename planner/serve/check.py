"""One named check, how it ended, and a list to choose checks from; preflight and verification are made of these.

A check is a function of what it looks at. It says what it saw, or raises :class:`Failed`, :class:`Doubtful`,
:class:`Skipped` or :class:`Unknown`; :meth:`NamedCheck.result` turns either into a :class:`CheckResult`. Nothing here
looks at anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from planner.errors import InvalidRequest

Status = Literal["pass", "warn", "fail", "skip", "unknown"]
STATUSES: tuple[Status, ...] = get_args(Status)

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check, done."""

    name: str
    """Stable key, such as ``reasoning-high``."""
    status: Status
    """``skip`` where it does not apply, ``unknown`` where it cannot be known here."""
    seen: str
    """One line: what was found, or why nothing was."""
    hint: str = ""
    """What to do, where something is to be done."""
    duration_s: float = 0.0


class _Ending(Exception):
    """An end of a check other than a pass: what was seen, and what to do first."""

    status: Status

    def __init__(self, seen: str, hint: str = "") -> None:
        super().__init__(seen)
        self.hint = hint


class Failed(_Ending):
    """The check does not hold."""

    status = "fail"


class Doubtful(_Ending):
    """It may hold, and something should be done about it."""

    status = "warn"


class Skipped(_Ending):
    """The check does not apply."""

    status = "skip"


class Unknown(_Ending):
    """What is asked cannot be known from here."""

    status = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheck(Generic[Subject]):
    """A check, its stable name and what it proves."""

    name: str
    title: str
    run: Callable[[Subject], str | None]
    """Returns what was seen, or None where it does not apply and nothing should be said."""

    def result(self, subject: Subject) -> CheckResult | None:
        """Make the check and return how it ended."""
        began = time.monotonic()
        status: Status = "pass"
        hint = ""
        try:
            seen = self.run(subject)
        except _Ending as ending:
            status, seen, hint = ending.status, str(ending), ending.hint
        except OSError as error:
            status, seen = "unknown", f"could not look: {error.strerror or error}"
        if seen is None:
            return None
        took_s = round(time.monotonic() - began, 3)
        return CheckResult(name=self.name, status=status, seen=seen, hint=hint, duration_s=took_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckList(Generic[Subject]):
    """Checks in the order in which they run."""

    checks: tuple[NamedCheck[Subject], ...]
    always: frozenset[str] = frozenset()
    """Run also when others are asked for: those need what these learn."""
    slow: frozenset[str] = frozenset()
    """Run only when asked for."""

    def __iter__(self) -> Iterator[NamedCheck[Subject]]:
        return iter(self.checks)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name."""
        return tuple(check.name for check in self.checks)

    def select(
        self, *, only: Collection[str] = (), skip: Collection[str] = (), slow: bool = False
    ) -> tuple[NamedCheck[Subject], ...]:
        """Return the checks that a run will make, in order; with `slow` the slow ones, too.

        Raises:
            InvalidRequest: for a name that no check has.
        """
        from difflib import get_close_matches

        for name in (*only, *skip):
            if name not in self.names:
                near = get_close_matches(name, self.names, n=3)
                raise InvalidRequest(
                    "only",
                    f"there is no check `{name}`",
                    hint=f"did you mean `{'`, `'.join(near)}`?" if near else f"the checks are {', '.join(self.names)}",
                )
        return tuple(
            check
            for check in self.checks
            if (check.name in self.always or not only or check.name in only)
            and check.name not in skip
            and (check.name not in self.slow or slow or check.name in only)
        )


def count(results: Sequence[CheckResult]) -> dict[Status, int]:
    """Return how many checks ended how, every status named."""
    return {status: sum(result.status == status for result in results) for status in STATUSES}
