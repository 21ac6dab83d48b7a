"""The shortest texts that an expression matches: one for each of its branches."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from re import _constants as sre
from re import _parser
from typing import Any

_MOST = 64


def shortest(expression: str) -> list[str]:
    """Return short texts that `expression` matches, among them one for each branch and each small set of letters."""
    texts = dict.fromkeys(_walk(list(_parser.parse(expression)), 0))
    return [text for text in texts if re.search(expression, text)]


def _walk(items: list[Any], at: int) -> Iterator[str]:
    if at == len(items):
        yield ""
        return
    rests = list(_walk(items, at + 1))[:_MOST]
    for index, head in enumerate(_one(*items[at])):
        for rest in rests if index == 0 else rests[:1]:
            yield head + rest


def _one(kind: Any, value: Any) -> list[str]:
    if kind is sre.LITERAL:
        return [chr(value)]
    if kind is sre.NOT_LITERAL:
        return ["x" if value != ord("x") else "y"]
    if kind is sre.ANY:
        return ["x"]
    if kind is sre.IN:
        return _set(value)
    if kind is sre.BRANCH:
        return [text for branch in value[1] for text in list(_walk(list(branch), 0))[:_MOST]]
    if kind is sre.SUBPATTERN:
        return list(_walk(list(value[3]), 0))[:_MOST]
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, inner = value
        texts = list(_walk(list(inner), 0))[:_MOST]
        if least:
            return [text * least for text in texts]
        return ["", *texts] if most == 1 else ["", " "]
    return [""]  # places and looks around: what the text is searched with decides


def _set(members: Any) -> list[str]:
    letters = [chr(value) for kind, value in members if kind is sre.LITERAL]
    if letters and members[0][0] is not sre.NEGATE:
        return letters
    return [next(one for one in "x0 -." + string.printable if re.match(_class(members), one))]


def _class(members: Any) -> str:
    names = {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_WORD: r"\w",
             sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_NOT_WORD: r"\W"}  # fmt: skip
    parts = []
    for kind, value in members:
        if kind is sre.NEGATE:
            parts.append("^")
        elif kind is sre.LITERAL:
            parts.append(re.escape(chr(value)))
        elif kind is sre.RANGE:
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        elif kind is sre.CATEGORY:
            parts.append(names[value])
    return f"[{''.join(parts)}]"
