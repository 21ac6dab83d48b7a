"""A run whose plan cannot be read is shown without one, and every command that would hold it against that says so."""

from __future__ import annotations

import pytest

from planner.cli import main

from .conftest import Fake
from .runs import watch


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["verify", "--run", "RUN", "--only", "health"], 6),
        (["watch", "RUN", "--count", "1"], 0),
        (["attach", "RUN"], 0),
        (["diagnose", "RUN"], 0),
        (["calibrate", "RUN"], 2),
    ],
)
def test_a_command_says_that_the_plan_cannot_be_used(
    fake: Fake, capsys: pytest.CaptureFixture[str], words: list[str], expected: int
) -> None:
    run = fake.launch()
    watch(run)
    (run.directory / "plan.json").write_text("{")
    capsys.readouterr()
    code = main([run.id if word == "RUN" else word for word in words])
    said = capsys.readouterr().err
    assert f"the plan of run {run.id}" in said and "plan.json" in said, said
    assert code == expected
