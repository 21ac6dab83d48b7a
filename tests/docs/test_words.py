"""What people read is in plain English of the field; CONTRIBUTING says how we write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = {
    r"(?<!here )(?<!Here )\b(?:is|are|was|were|be) no (?!longer\b|more\b|other\b)[a-z]": "is not JSON",
    r"\bh(?:o|e)ld(?:s|ing)?\b(?: \w+)? against\b": "compare with",
    r"\bdealt out\b|\bdeals? out\b": "distributed",
    r"\bleft over\b": "unused",
    r"\bthrown back\b": "preempted",
    r"\bnobody (?:asked|measured|saw|knows|published|tried|read)\b": "not requested, not measured, not known",
    r"\bfore(?:tell|told)\b": "predict",
    r"\bfor certain\b": "surely",
    r"\bmend(?:ed|s)?\b": "fix",
    r"\bdo(?:es)? not tells?\b": "does not report",
    r"\b(?:asked|wanted) length\b": "requested length",
    r"\bplanned was\b|\boffered was\b": "expected",
    r"\bturned out otherwise\b": "was wrong",
    r"\b99 of 100\b": "p99",
    r"\bwhole answer\b": "end-to-end",
    r"\bbehind `{1,2}--": "after `--`",
    r"(?<!by )\ball the same\b": "anyway",
    r"\bfor ever\b": "forever",
    r"\bshared? out\b": "split",
    r"\bshall\b": "must",
}
"""Expression → what to write instead."""


def pages() -> list[Path]:
    found = [
        path for folder in ("planner", "hw_specs", "tui", "docs", "examples") for path in (ROOT / folder).rglob("*")
    ]
    kept = [path for path in found if path.suffix in {".py", ".toml", ".md"} and "decisions" not in path.parts]
    return [*kept, ROOT / "README.md", ROOT / "SECURITY.md"]


@pytest.mark.parametrize("wrong", WORDS)
def test_no_page_has_the_words_that_we_gave_up(wrong: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()!r}"
        for path in pages()
        for text in [path.read_text(encoding="utf-8")]
        for match in re.finditer(wrong, text)
    ]
    assert not found, f"write {WORDS[wrong]!r} instead: {found}"
