"""Applies the cures that a review knows, one round at a time, and looks whether each made it better."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from planner.review.findings import Edit, Finding, Review

_MOST_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A text as it was and as it is after the cures."""

    before: Review
    after: Review
    applied: tuple[Finding, ...]
    """Findings that a change of the text cured, in the order of the changes."""

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return self.before.text != self.after.text

    def diff(self) -> str:
        """The change as a unified diff; empty where there is none."""
        name = self.before.name or "command"
        lines = difflib.unified_diff(
            self.before.text.splitlines(keepends=True), self.after.text.splitlines(keepends=True), f"{name}", f"{name}"
        )
        return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def repair(text: str, judge: Callable[[str], Review]) -> Repair:
    """Apply every known cure to `text`; `judge` reviews a text.

    A cure that takes nothing away, or that brings a finding which was not there, is left out.
    """
    before = judge(text)
    now, applied, refused = before, [], set()
    for _ in range(_MOST_ROUNDS):
        one = next((found for found in _fixable(now) if _key(found) not in refused), None)
        if one is None:
            break
        after = cured(now, one, judge)
        if after is None:
            refused.add(_key(one))
        else:
            now = after
            applied.append(one)
    return Repair(before=before, after=now, applied=tuple(applied))


def fixable(one: Finding) -> bool:
    """Whether a cure of `one` is known that is a change of the text."""
    return bool(one.edits) and _apart(one.edits)


def cured(before: Review, one: Finding, judge: Callable[[str], Review]) -> Review | None:
    """Return what is found once `one` is cured; None where its cure takes nothing away, or brings something as bad."""
    text = apply(before.text, one.edits)
    after = judge(text)
    return after if text != before.text and _better(before, after, one) else None


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return `text` with the edits made; they must not overlap.

    >>> apply("a b c", [Edit(2, 3, "x")])
    'a x c'
    """
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    return text


def _fixable(review: Review) -> list[Finding]:
    """What the parser refuses first: its cure may change what the other findings are about."""
    found = [one for one in review.findings if fixable(one)]
    return sorted(found, key=lambda one: not one.code.startswith("flag-"))


def _apart(edits: tuple[Edit, ...]) -> bool:
    ordered = sorted(edits, key=lambda one: one.start)
    return all(one.end <= other.start for one, other in pairwise(ordered))


def _key(one: Finding) -> tuple[str, str, tuple[Edit, ...]]:
    return one.code, one.message, one.edits


def _better(before: Review, after: Review, cured: Finding) -> bool:
    """Whether the cured finding went, nothing as bad came, and every server is still there."""
    if len(before.servers) != len(after.servers):
        return False
    counts = [
        sum(found.severity == one for found in review.findings)
        for one in ("error", "warn")
        for review in (before, after)
    ]
    errors_before, errors_after, warns_before, warns_after = counts
    gone = _count(before, cured) > _count(after, cured)
    return gone and (errors_after, warns_after) <= (errors_before, warns_before) and errors_after <= errors_before


def _count(review: Review, one: Finding) -> int:
    return sum(found.code == one.code and found.message == one.message for found in review.findings)
