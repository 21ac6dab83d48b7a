"""Two plans side by side: what is said to have changed has, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, plan
from planner.cli import main
from planner.rendering.difference import difference, markdown, rows


def planned(gpus: str, **settings: Any) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))


def test_a_plan_does_not_differ_from_itself() -> None:
    one = planned("8xH200")
    found = difference(one, planned("8xH200"))
    assert found.same and not rows(found) and "Nothing changes" in markdown(found)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (planned("8xH200"), planned("8xMI300X")),
        (planned("8xH200", vllm_version="0.28.0"), planned("8xH200", vllm_version="0.33.0")),
        (planned("1xMI300X"), planned("1xMI300X", language_model_only=True)),
        (planned("8xH200"), planned("1xH100")),
    ],
    ids=["gpus", "release", "setting", "no longer fits"],
)
def test_the_difference_runs_both_ways(before: Plan, after: Plan) -> None:
    there, back = difference(before, after), difference(after, before)
    assert not there.same
    assert there.flags_new == back.flags_gone and there.warnings_gone == back.warnings_new
    gains = {term.name: term.gain_bytes for term in there.terms}
    assert gains == {term.name: -term.gain_bytes for term in back.terms}
    for term in there.terms:
        assert before.ledger.line(term.name).bytes + term.gain_bytes == after.ledger.line(term.name).bytes


@pytest.mark.parametrize("after", ["4xH200", "8xMI300X", "8xH20", "2x8xH200", "3xH100"])
def test_the_figures_that_are_read_add_up(after: str) -> None:
    for row in rows(difference(planned("8xH200"), planned(after))):
        if row.change:
            old, new, change = (float(text.replace(",", "")) for text in (row.before, row.after, row.change))
            assert old + change == pytest.approx(new, abs=1e-9) and change, row


def test_flags_are_told_with_their_values() -> None:
    found = difference(planned("8xH200"), planned("8xH200", max_num_seqs=64))
    assert found.flags_gone == ("--max-num-seqs 1024",) and found.flags_new == ("--max-num-seqs 64",)
    assert ("max_num_seqs", "1024", "64") in found.settings


def test_the_command_compares_gpus_releases_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--gpus", "8xH200", "--json"]) == 0
    file = tmp_path / "plan.json"
    file.write_text(capsys.readouterr().out)
    assert main(["diff", "--gpus", "8xH200", "--vllm-version", "0.28.0", "0.33.0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "plan-diff" and "vLLM 0.33.0" in document["after"]
    assert main(["diff", str(file), "4xH200"]) == 0
    out = capsys.readouterr().out
    assert "tensor-parallel-size" in out and "4 x H200" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "github.com" not in line)
    assert main(["diff", "8xH200", "1xH100", "--exit-code"]) == 3
    capsys.readouterr()
    assert main(["diff", "8xH200", "--gpus", "8xH200"]) == 0
    assert "nothing changes" in capsys.readouterr().out
    assert main(["diff", "8xH200", "8xH20O"]) == 2
    assert main(["diff", str(tmp_path / "none.json"), "8xH200"]) == 2
