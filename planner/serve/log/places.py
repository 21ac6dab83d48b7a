"""Which part of the software refused to go on: by the frame in which it raised, or by a text that vLLM raises there.

Both speak weakly: they name the part, never what is wrong in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from planner.facts.log_lines import raised_texts
from planner.serve.log.advice import names_a_rule
from planner.serve.log.causes import causes
from planner.serve.log.frames import Frame
from planner.serve.log.reports import raised_there

_EXCEPTION = re.compile(r"\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*: ")
_ANY_ASSERTION = "AssertionError: words that are not known"
_ANY_TYPE_ERROR = "TypeError: words that are not known"
_NEAR = 12
"""Frames from the innermost outwards in which a part of the software is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raiser:
    """The file of vLLM, or of a library of its, that raises a text, and the cause that it speaks for."""

    path: str
    code: str


def is_defect(exception: str) -> bool:
    """Whether an exception is one that no setting raises on purpose; an assertion about settings by name is not.

    >>> is_defect("AttributeError: 'NoneType' object has no attribute 'dtype'")
    True
    """
    about_settings = names_a_rule(exception)
    anyones = (
        () if not about_settings else (_ANY_ASSERTION, _ANY_TYPE_ERROR) if "--" in exception else (_ANY_ASSERTION,)
    )
    known = [regex for regex in _defects() if not any(map(regex.match, anyones))]
    return any(regex.match(one) for regex in known for one in raised_there(exception))


def cause_of_frames(frames: Sequence[Frame]) -> str:
    """Return the cause that the nearest known of `frames`, innermost first, speaks for; empty without one.

    A part that tells only the kind speaks for what it raises itself, not for what it calls.
    """
    for distance, frame in enumerate(frames[:_NEAR]):
        if frame.function == "<module>" and "transformers_modules/" not in frame.path:
            continue  # a file that is only imported asks nothing of its part; the checkpoint's own is asked for by name
        code = cause_of_path(f"{frame.path}:{frame.function}")
        if code and (distance == 0 or causes()[code].weight != "general"):
            return code
    return ""


def cause_of_path(path: str) -> str:
    """Return the cause that a source file, or ``file:function``, speaks for, by the innermost place in it; empty
    without one.

    >>> cause_of_path("/usr/lib/python3/dist-packages/vllm/config/speculative.py")
    'speculative'
    """
    whole = f"/{path}"
    ends = [(whole.rfind(place) + len(place), code) for place, code in _places() if place in whole]
    return max(ends, default=(0, ""))[1]


def claimed(text: str, path: str) -> str:
    """Return the cause that claims a line of another one, because `path` raised it; empty without one."""
    for code, cause in causes().items():
        if any(word in text for word in cause.claims) and any(place in path for place in cause.places):
            return code
    return ""


def raiser_of(text: str) -> Raiser | None:
    """Return who raises `text`, where all files that do speak for one cause; None for any other text, and for one that
    is not an exception's: in another program's words it is chance."""
    if not any(_EXCEPTION.match(one) for one in raised_there(text)):
        return None
    said = text.lower()
    fitting = [one for one in _texts() if one in said]
    if not fitting:
        return None
    paths = _texts()[max(fitting, key=len)]
    codes = {cause_of_path(path) for path in paths}
    code = codes.pop()
    return Raiser(path=paths[0], code=code) if code and not codes else None


@cache
def _places() -> tuple[tuple[str, str], ...]:
    """Part of a path and its cause."""
    return tuple((place, code) for code, cause in causes().items() for place in cause.places)


@cache
def _texts() -> Mapping[str, tuple[str, ...]]:
    """Text in lower case → the files that raise it."""
    found: dict[str, tuple[str, ...]] = {}
    for path, texts in raised_texts().items():
        for text in texts.lower().split("\n"):
            found[text] = (*found.get(text, ()), path)
    return found


@cache
def _defects() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(one.expression) for one in causes()["engine-defect"].exceptions)
