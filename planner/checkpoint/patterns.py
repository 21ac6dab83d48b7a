"""Module patterns of quantisation configs: exact names, parts of names, wildcards, regular expressions.

It never runs an expression that could take long: a configuration is foreign input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

from hw_specs.errors import shown
from planner.errors import UnreadableCheckpoint

PREFIXES = ("model.", "model.language_model.", "language_model.model.", "language_model.", "")
"""What stands before ``layers.0.…`` in the names of the layouts in use."""
_UNBOUNDED_LIMIT = 3
_LENGTH_LIMIT = 300

Matcher = Callable[[str], bool]


def _compiled(expression: str, *, pattern: str) -> Matcher:
    """Return a matcher for `expression`, refusing what backtracks without bound."""
    unescaped = re.sub(r"\\.", "", expression)
    unbounded = len(re.findall(r"[*+]|\{\d*,\d*\}", unescaped))
    if len(expression) > _LENGTH_LIMIT or unbounded > _UNBOUNDED_LIMIT or re.search(r"\)\s*[*+{?]", unescaped):
        raise UnreadableCheckpoint(f"the quantisation pattern `{shown(pattern)}` is too complex to be run safely")
    try:
        compiled = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UnreadableCheckpoint(
            f"the quantisation pattern `{shown(pattern)}` is not a regular expression: {shown(str(error))}"
        ) from None
    return lambda name: compiled.match(name) is not None


def _matcher(pattern: str) -> Matcher:
    if pattern.startswith("re:"):
        return _compiled(pattern[3:], pattern=pattern)
    if any(sign in pattern for sign in "*?["):
        if "*" in pattern and pattern.strip("*") and not any(sign in pattern.strip("*") for sign in "*?["):
            return _wildcard_ends(pattern)
        bare = re.sub(r"\*+", "*", pattern)
        if bare.count("*") > _UNBOUNDED_LIMIT or len(bare) > _LENGTH_LIMIT:
            raise UnreadableCheckpoint(f"the quantisation pattern `{shown(pattern)}` is too complex to be run safely")
        try:
            compiled = re.compile(translate(bare))
        except re.error:
            raise UnreadableCheckpoint(f"the quantisation pattern `{shown(pattern)}` cannot be read") from None
        return lambda name: compiled.match(name) is not None
    return lambda name: f".{pattern}." in f".{name}."


def _wildcard_ends(pattern: str) -> Matcher:
    """``abc*``, ``*abc`` and ``*abc*`` without a regular expression."""
    core, open_start, open_end = pattern.strip("*"), pattern.startswith("*"), pattern.endswith("*")
    if open_start and open_end:
        return lambda name: core in name
    return (lambda name: name.endswith(core)) if open_start else (lambda name: name.startswith(core))


class Patterns:
    """A list of module patterns that answers for a module under any of the usual prefixes."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matchers = [_matcher(pattern) for pattern in dict.fromkeys(patterns) if pattern]

    def match(self, module: str) -> bool:
        """Whether any pattern covers `module`, written from ``layers.`` on or as ``lm_head``."""
        names = [prefix + module for prefix in PREFIXES]
        return any(matcher(name) for matcher in self._matchers for name in names)
