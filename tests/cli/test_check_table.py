"""The end of a list of checks: the worst first and by name; why one was skipped is said once."""

from __future__ import annotations

import pytest

from planner.cli.check_table import named_tally, result_writer
from planner.serve.check import CheckResult

RESULTS = [
    CheckResult(name="vllm", status="pass", seen="0.33.0"),
    CheckResult(name="gpus", status="fail", seen="8 needed, none found"),
    CheckResult(name="driver", status="skip", seen="there is no GPU to look at"),
    CheckResult(name="fabric", status="skip", seen="there is no GPU to look at"),
    CheckResult(name="limits", status="warn", seen="1,024 open files at most"),
]


def test_the_worst_is_named_first() -> None:
    assert named_tally(RESULTS) == "1 failed (gpus), 1 warned (limits), 2 skipped, 1 passed"
    assert named_tally(RESULTS[:1]) == "1 passed"


def test_a_reason_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    show = result_writer()
    for result in RESULTS:
        show(result)
    said = capsys.readouterr().out
    assert said.count("there is no GPU to look at") == 1 and "fabric            for the same reason" in said
