"""The problems in words: their answers are whole numbers that follow from the text, and a weak server is told."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cli.commands.verify import MOST_PROBLEMS
from planner.facts import load
from planner.serve.verification.smoke import Expectations
from planner.serve.verification.verifier import selected_checks, verify
from planner.serve.verification.word_problems import least_solved, published, word_problems

from .fakes.openai_server import fake_server


def test_every_answer_follows_from_its_text_without_a_remainder() -> None:
    exact = set()
    for template in load("word_problems.toml")["problems"]["templates"]:
        for row in template["values"]:
            names = dict(zip("abcd", map(Fraction, row), strict=False))
            value = eval(template["solution"].replace("//", "/"), {}, names)
            assert value.denominator == 1 and value > 0, (template["text"], row)
            exact.add((template["text"].format(**dict(zip("abcd", row, strict=False))), int(value)))
    assert {(problem.text, problem.answer) for problem in word_problems()} == exact
    assert len(exact) == MOST_PROBLEMS


@pytest.mark.parametrize(
    ("fault", "count", "status"),
    [
        ("", 10, "pass"),
        ("slips", 20, "pass"),
        ("poor-at-sums", 50, "fail"),
        ("twin", 10, "skip"),
        ("hashes", 5, "fail"),
    ],
)
def test_a_server_is_judged_by_what_it_solves(fault: str, count: int, status: str) -> None:
    with fake_server(fault) as server:
        report = verify(server.url, Expectations(), checks=selected_checks(only=["model"], gsm8k=count), timeout_s=20.0)
    (result,) = [one for one in report.checks if one.name == "gsm8k"]
    assert result.status == status, result.seen
    if fault == "poor-at-sums":
        assert "40 of 50" in result.seen and published()[1] in result.seen


@given(st.integers(1, MOST_PROBLEMS), st.floats(0.5, 0.99))
def test_the_least_share_grows_with_the_published_one(count: int, share: float) -> None:
    assert 0 <= least_solved(count, share) <= count
    assert least_solved(count, share) <= least_solved(count, share + (1 - share) / 2)
