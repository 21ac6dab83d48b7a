"""The log patterns, compiled once; it knows how figures are written in GiB and never what they are for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from planner.errors import UnknownVersion
from planner.facts.log_lines import FailureLine, Weight, collective_texts, log_lines
from planner.serve.log.causes import WEIGHTS, causes
from planner.serve.log.events import ENDINGS
from planner.serve.prometheus import MOST

_Tree = dict[str, "_Tree"]
"""Letter → what may follow it."""
_GIB = 2**30
_SUFFIX = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePattern:
    """One kind of line and the phase it proves."""

    name: str
    needle: str
    regex: re.Pattern[str]
    phase: str = ""
    early: str = ""
    """The phase instead, while the KV cache has no size yet."""
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] = (999, 0)

    def printed_by(self, release: tuple[int, int] | None) -> bool:
        """Whether `release` prints it; an unknown release may print everything."""
        return release is None or self.since <= release <= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePattern:
    """One kind of line that names the cause called `code`."""

    code: str
    needles: tuple[str, ...]
    """Texts of which a line that it matches holds one."""
    regex: re.Pattern[str]
    weight: Weight

    @classmethod
    def of(cls, code: str, line: FailureLine, weight: Weight) -> FailurePattern:
        """Return a line of a data file, made ready; `weight` is that of its cause."""
        regex = re.compile(line.expression)
        return cls(code=code, needles=line.texts, regex=regex, weight=line.weight or weight)

    def search(self, text: str) -> re.Match[str] | None:
        """Return where `text` names the cause; None where it does not."""
        return self.regex.search(text) if any(needle in text for needle in self.needles) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalPattern:
    """One kind of line after which the start cannot go on."""

    needle: str
    regex: re.Pattern[str]


class Needles:
    """Texts, and whether a line holds one of them: all of them are looked for in one walk over the line."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(sorted(texts))
        self._any = re.compile(any_of(self.texts))

    def in_line(self, text: str) -> bool:
        """Whether `text` holds one of them."""
        return self._any.search(text) is not None


def any_of(texts: Iterable[str]) -> str:
    """Return an expression that is found where one of `texts` stands: what several begin with is looked at once.

    >>> any_of(["Xid", "XLA", "Xids"])
    'X(?:LA|id)'
    """
    tree: _Tree = {}
    every = sorted(set(texts))
    for text in every:
        if not any(other != text and other in text for other in every):
            branch = tree
            for letter in text:
                branch = branch.setdefault(letter, {})
    return _ways(tree)


def _ways(tree: _Tree) -> str:
    ways = [re.escape(letter) + _ways(branch) for letter, branch in tree.items()]
    return "".join(ways) if len(ways) < 2 else f"(?:{'|'.join(ways)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPatterns:
    """Everything the parser looks for."""

    lines: tuple[LinePattern, ...]
    failures: tuple[FailurePattern, ...]
    """The telling ones first: of one line only the first that matches counts."""
    stalls: tuple[FailurePattern, ...]
    fatal: tuple[FatalPattern, ...]
    working: Needles
    """Texts of which a line that can matter holds at least one, where its writer was calm: phases, figures, waits."""
    failing: Needles
    """The same of any other line: what fails, too."""
    ending_once_ready: Needles
    """The first for a server that runs: how it stops."""
    failing_once_ready: Needles
    """The second for a server that runs: how it stops, and how it fails."""
    told: tuple[str, ...]
    """Texts in which the engine core says that it was asked to stop."""
    survived: tuple[str, ...]
    """Texts of lines that are printed as errors and that the engine goes on from."""
    goes_on: Needles
    """Texts of warnings of NCCL that it goes on from."""
    guesses: re.Pattern[str]
    """Where a line begins to list what may be the reason."""
    frames: Mapping[str, str]
    """Function in a traceback → what the start was doing in it."""

    def needles(self, *, ready: bool, mentioned: bool) -> Needles:
        """Return the texts of which a line that can matter holds one; what is only `mentioned` names no failure."""
        if ready:
            return self.ending_once_ready if mentioned else self.failing_once_ready
        return self.working if mentioned else self.failing

    def survives(self, text: str) -> bool:
        """Whether `text` is printed as an error, or as a warning of NCCL, after which all goes on."""
        return any(one in text for one in self.survived) or ("CCL WARN " in text and self.goes_on.in_line(text))


def minor_release(version: str) -> tuple[int, int] | None:
    """Return ``(0, 33)`` for ``0.33.1``; None for a development build, whose texts may be anyone's.

    >>> minor_release("0.1.dev1+g4d2a68d64")
    """
    from planner.facts.release import parse_version

    try:
        major, minor, _ = parse_version(version)
    except UnknownVersion:
        return None
    return (major, minor) if (major, minor) >= (0, 19) else None


@cache
def log_patterns() -> LogPatterns:
    """Return the compiled tables of ``planner/facts/log_patterns.toml`` and ``planner/facts/failures``."""
    table = log_lines()
    lines = tuple(
        LinePattern(
            name=entry.name,
            needle=entry.needle,
            regex=re.compile(entry.regex),
            phase=entry.phase,
            early=entry.early,
            since=_bound(entry.since, (0, 0)),
            until=_bound(entry.until, (999, 0)),
        )
        for entry in table.line
    )
    known = causes()
    named = [FailurePattern.of(code, one, cause.weight) for code, cause in known.items() for one in cause.lines]
    named += [FailurePattern.of(code, one, "suspicion") for code, cause in known.items() for one in cause.suspicions]
    failures = sorted(named, key=lambda one: WEIGHTS.index(one.weight))
    stalls = tuple(FailurePattern.of(code, one, cause.weight) for code, cause in known.items() for one in cause.stalls)
    fatal = tuple(FatalPattern(needle=entry.needle, regex=re.compile(entry.regex)) for entry in table.fatal)
    failing = {needle for item in failures for needle in item.needles} | {item.needle for item in fatal}
    told = {*table.told.texts}
    working = {item.needle for item in lines} | {needle for item in stalls for needle in item.needles}
    ending = {item.needle for item in lines if item.phase in ENDINGS}
    return LogPatterns(
        lines=lines,
        failures=tuple(failures),
        stalls=stalls,
        fatal=fatal,
        working=Needles(working | told),
        failing=Needles(working | told | failing),
        ending_once_ready=Needles(ending | told),
        failing_once_ready=Needles(ending | told | failing),
        told=table.told.texts,
        survived=table.survived.texts,
        guesses=re.compile(any_of(table.guesses.texts)),
        goes_on=Needles(collective_texts().goes_on),
        frames=table.frames,
    )


def _bound(text: str, default: tuple[int, int]) -> tuple[int, int]:
    if not text:
        return default
    major, minor = text.split(".")
    return int(major), int(minor)


def read_group(name: str, text: str) -> tuple[str, int | float | str, int] | None:
    """Return name, value and tolerance in bytes of the matched group `name`; None when it is not a number after all.

    >>> read_group("weights_gib", "33.98")
    ('weights_bytes', 36485747179, 5368709)
    >>> read_group("kv_cache_tokens", "67,024")
    ('kv_cache_tokens', 67024, 0)
    """
    try:
        if name.endswith("_text"):
            return name.removesuffix("_text"), text.strip(), 0
        if name.endswith("_gib"):
            decimals = len(text.partition(".")[2])
            # vLLM rounds to two places and drops trailing zeros: "88.0" is as exact as "88.01".
            tolerance = round(_GIB / 10 ** max(decimals, 2) / 2)
            return name.removesuffix("_gib") + "_bytes", round(float(text) * _GIB), tolerance
        if name.endswith(("_s", "_fraction", "_ratio")):
            return name, min(float(text), MOST), 0
        return name, int(text.replace(",", "")), 0
    except (ValueError, OverflowError):
        return None


def read_size(text: str) -> int:
    """Return the count that a progress bar abbreviates.

    >>> read_size("9.96G")
    9960000000
    """
    return round(min(float(text.rstrip("kMGT")), MOST) * _SUFFIX.get(text[-1:], 1))
