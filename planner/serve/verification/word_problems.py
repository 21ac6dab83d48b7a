"""Arithmetic in words, with answers, and the share a sound server solves. It sends no request."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import comb
from string import ascii_lowercase

from planner.facts.record import Record, read

ASK = "Solve step by step, briefly. End with a line `Answer: NUMBER`."
CHANCE = 0.01
"""How seldom a server as good as the published figure may be called worse."""
_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
}  # fmt: skip


class _Published(Record):
    share: float
    basis: str
    source: str


class _Template(Record):
    text: str
    solution: str
    values: tuple[tuple[int, ...], ...]


class _Written(Record):
    source: str
    templates: tuple[_Template, ...]


class _Problems(Record):
    published: _Published
    problems: _Written


@dataclass(frozen=True, slots=True, kw_only=True)
class WordProblem:
    """A question and the one number that answers it."""

    text: str
    answer: int

    def solved_by(self, words: str) -> bool:
        """Whether the last number of `words` is the answer, as the public test's flexible match counts.

        >>> WordProblem(text="", answer=1200).solved_by("12 * 100 = 1,200. Answer: 1,200.")
        True
        """
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", words)
        return bool(numbers) and float(numbers[-1].replace(",", "")) == self.answer


@cache
def word_problems() -> tuple[WordProblem, ...]:
    """Return every problem; neighbours are of different kinds, so any first N are a mixture."""
    templates = read("word_problems.toml", _Problems).problems.templates
    rows = max(len(template.values) for template in templates)
    return tuple(
        _problem(template, template.values[row])
        for row in range(rows)
        for template in templates
        if row < len(template.values)
    )


def published() -> tuple[float, str]:
    """Return the share that the model solves of the public test, and who says so."""
    known = read("word_problems.toml", _Problems).published
    return known.share, known.source


def least_solved(count: int, share: float) -> int:
    """Return the fewest of `count` that a server which solves `share` of them falls below in one of a hundred runs.

    >>> least_solved(50, 0.92), least_solved(100, 0.92)
    (41, 85)
    """
    below = 0.0
    for solved in range(count + 1):
        below += comb(count, solved) * share**solved * (1 - share) ** (count - solved)
        if below > CHANCE:
            return solved
    return count


def _problem(template: _Template, values: tuple[int, ...]) -> WordProblem:
    names = dict(zip(ascii_lowercase, values, strict=False))
    body = ast.parse(template.solution, mode="eval").body
    return WordProblem(text=template.text.format(**names), answer=_value(body, names))


def _value(node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Name):
        return names[node.id]
    assert isinstance(node, ast.Constant) and isinstance(node.value, int), ast.dump(node)
    return node.value
