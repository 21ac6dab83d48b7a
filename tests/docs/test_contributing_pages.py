"""The pages that say what a contribution touches: their files exist, and what they count is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from planner.facts.models import described

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
PAGES = ("support-a-new-vllm", "add-a-gpu", "add-a-model", "add-a-failure")


def between(page: str, words: str) -> range:
    """The range of lines that a page gives behind `words`."""
    found = re.search(rf"{words}.{{0,20}}?(\d+) to (\d+)\s+lines", (HOW_TO / f"{page}.md").read_text("utf-8"), re.S)
    assert found is not None, f"{page} no longer counts"
    return range(int(found[1]), int(found[2]) + 1)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:planner|hw_specs|tests|scripts|oracle|docs|benchmarks)/[\w./-]+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists() and "X.json" not in name] == []


def test_a_gpu_is_one_file_of_that_length() -> None:
    cards = [path for path in (ROOT / "hw_specs" / "data").glob("*.toml") if "[facts]" in path.read_text("utf-8")]
    assert len(cards) > 30
    said = between("add-a-gpu", "one file by hand,")
    assert min(map(lines, cards)) in said and max(map(lines, cards)) in said


def test_a_model_is_one_file_of_that_length() -> None:
    folder = ROOT / "planner" / "facts" / "models"
    models = [path for path in folder.glob("*.toml") if described(path.stem)[0].kind == "model"]
    said = between("add-a-model", "one file,")
    assert min(map(lines, models)) in said and max(map(lines, models)) in said


def test_most_causes_are_as_short_as_is_said() -> None:
    said = between("add-a-failure", "no code:")
    heads = []
    for path in (ROOT / "planner" / "facts" / "failures").glob("*.toml"):
        parts = re.split(r"^\[cause\.", path.read_text(encoding="utf-8"), flags=re.M)[1:]
        heads += [len(part.strip().split("\nlines = [")[0].splitlines()) for part in parts]
    assert sum(head in said for head in heads) > 0.9 * len(heads)


def test_a_release_that_changes_nothing_is_two_lines() -> None:
    """Nothing but ``newest`` and ``read`` names the newest release as the newest."""
    facts = tomllib.loads((ROOT / "planner" / "facts" / "vllm.toml").read_text(encoding="utf-8"))
    assert facts["read"][-1] == facts["newest"]
    assert all(rule["values"][0][0] <= facts["oldest"] for rule in facts["rules"].values())
