"""Artefacts out of public repositories, rewritten small; what each should find was written down before."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from planner.review.fix import repair

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("review_score", ROOT / "scripts" / "review_score.py")
assert SPEC is not None
assert SPEC.loader is not None
review_score = importlib.util.module_from_spec(SPEC)
__import__("sys").modules["review_score"] = review_score
SPEC.loader.exec_module(review_score)
CASES = sorted(path.parent for path in review_score.CASES.glob("*/expected.json"))


@pytest.mark.parametrize("folder", CASES, ids=lambda one: one.name)
def test_it_finds_what_is_there_and_nothing_else(folder: Path) -> None:
    one = review_score.score(folder)
    assert not one.missed
    assert not one.alarms
    assert not one.severities
    assert one.verdict_right, one.verdict


@pytest.mark.parametrize("folder", CASES, ids=lambda one: one.name)
def test_its_repair_keeps_every_line_that_no_finding_is_about(folder: Path) -> None:
    _, before = review_score.judged(folder)
    from hw_specs import parse_gpus
    from planner.review import review

    expected, _ = review_score.judged(folder)
    options = dict(zip(expected["options"][::2], expected["options"][1::2], strict=True))
    gpus = parse_gpus(options["--gpus"]) if "--gpus" in options else None
    version = options.get("--vllm-version")
    done = repair(before.text, lambda text: review(text, name=before.name, gpus=gpus, vllm_version=version))
    named = {line for found in done.before.findings for line in range(found.line - 1, found.end_line + 1)}
    kept = done.after.text.splitlines()
    for number, line in enumerate(before.text.splitlines(), start=1):
        if number not in named and number - 1 not in named:
            assert line in kept, f"line {number} changed"


def test_there_are_thirty() -> None:
    assert len(CASES) >= 30
    assert len({(path / "expected.json").read_text() for path in CASES}) == len(CASES)
