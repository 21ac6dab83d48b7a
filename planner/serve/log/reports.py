"""What a report of another process, program or check quotes of what was raised there, in the words it was raised in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from planner.facts.log_lines import log_lines

_MOST_DEEP = 3
"""A report of a report of a report."""
_CLASS = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b")
_ESCAPED = re.compile(r"\\+n")
"""A line end, as JSON and Python's `repr` write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPattern:
    """One form of a report."""

    texts: tuple[str, ...]
    regex: re.Pattern[str]
    raises: tuple[str, ...]
    own: bool
    follows: bool

    def search(self, text: str) -> re.Match[str] | None:
        """Return where `text` is such a report; None where it is not."""
        return self.regex.search(text) if any(one in text for one in self.texts) else None


def raised_there(text: str) -> tuple[str, ...]:
    """Return the words in which what `text` tells of was raised: itself where it quotes nobody, nothing where it only
    says that something was raised elsewhere. Where a report drops the class, several may be right.

    >>> raised_there("ValueError: one")
    ('ValueError: one',)
    >>> raised_there("  Value error, one [type=value_error, input_value=2]")[0]
    'ValueError: one'
    >>> raised_there("RuntimeError: Engine core initialization failed. See root cause above.")
    ()
    """
    readings = [text]
    for _ in range(_MOST_DEEP):
        inner = [one for reading in readings for one in _once(reading)]
        if inner == readings:
            break
        readings = inner
    return tuple(dict.fromkeys(readings))


def is_head(text: str) -> bool:
    """Whether `text` stands before what was raised: the same traceback goes on to it."""
    return any(one.follows and one.search(text) is not None for one in _patterns())


def _once(text: str) -> tuple[str, ...]:
    for pattern in _patterns():
        match = pattern.search(text)
        if match is None:
            continue
        said = match.groupdict().get("said")
        if said is None:
            return (text,) if pattern.own else ()
        said = _ESCAPED.split(said, maxsplit=1)[0].replace("\\'", "'").replace('\\"', '"')
        kind = match.groupdict().get("kind")
        quoted = (f"{kind}: {said}",) if kind else _classed(said, pattern.raises)
        return (*quoted, text) if pattern.own and not is_report(text) else quoted
    return (text,)


def is_report(text: str) -> bool:
    """Whether `text` says that something was raised elsewhere and quotes nothing of it."""
    return any("said" not in one.regex.groupindex and one.search(text) is not None for one in _patterns())


def _classed(said: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    if not classes or _CLASS.match(said) is not None:
        return (said,)
    own = next((name for name, words in _own_words() if words.search(said) is not None), None)
    return tuple(f"{name}: {said}" if name else said for name in ((own,) if own is not None else classes))


@cache
def _own_words() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(words)) for name, words in log_lines().classes.items())


@cache
def _patterns() -> tuple[ReportPattern, ...]:
    return tuple(
        ReportPattern(
            texts=one.texts,
            regex=re.compile(one.expression),
            raises=one.raises,
            own=one.own,
            follows=one.follows,
        )
        for one in log_lines().report
    )
