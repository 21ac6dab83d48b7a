"""Answers byte for byte: tables, JSON and commands, of one release, so that a new one rewrites none of them.

``UPDATE_GOLDEN=1 pytest tests/golden`` rewrites them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from planner.cli import main
from planner.facts import release
from planner.facts.vllm import VllmFacts, vllm_facts

HERE = Path(__file__).parent
RELEASE = ["--vllm-version", "0.33.0"]
CASES = {
    "1xMI300X": ["--gpus", "1xMI300X"],
    "1xMI300X-text-only": ["--gpus", "1xMI300X", "--language-model-only"],
    "8xH200": ["--gpus", "8xH200"],
    "8xH200-eagle": ["--gpus", "8xH200", "--eagle"],
    "4xB200": ["--gpus", "4xB200"],
    "1xB200": ["--gpus", "1xB200"],
    "2xMI300X": ["--gpus", "2xMI300X"],
    "8xMI300X": ["--gpus", "8xMI300X"],
    "2xH100": ["--gpus", "2xH100"],
    "1xH100": ["--gpus", "1xH100"],
    "2x8xH200": ["--gpus", "2x8xH200"],
    "8xH200-kv-by-hand": ["--gpus", "8xH200", "--kv-cache-memory-bytes", "40G", "--max-model-len", "262144"],
}
DOCUMENTS = ("8xH200", "1xMI300X", "1xH100", "2x8xH200", "8xH200-eagle")
"""One for each shape that a document has: a plain one, a cut context, none that fits, nodes, a draft."""
WHOLE = (*(case for case in CASES if case not in DOCUMENTS), "8xH200", "1xMI300X", "1xH100")
"""The ledger line by line, where no document holds it in bytes, and beside three that do."""
EXPLAINED = {"1xMI300X-text-only"}
EMITTED = ("1xMI300X-text-only", "8xH200-eagle", "2x8xH200", "8xH200-kv-by-hand")
"""The others differ in a flag."""
PROSE = {"source", "formula", "bounds"}
"""Keys of a ledger line that only one case holds, so that a mended citation changes one file."""


def same(name: str, text: str) -> None:
    path = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} changed; if that is meant, rewrite the golden files"


def said(case: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    main([*CASES[case], *RELEASE, *more])
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("case", CASES)
def test_tables(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    same(f"{case}.txt", said(case, capsys))


@pytest.mark.parametrize("case", DOCUMENTS)
def test_documents(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(case, capsys, "--json")
    if case != "8xH200":
        document = json.loads(text)
        for line in document["ledger"]:
            for key in PROSE & set(line):
                del line[key]
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    same(f"{case}.json", text)


@pytest.mark.parametrize("case", EMITTED)
@pytest.mark.parametrize("kind", ["docker", "shell"])
def test_emitted(case: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    same(f"{case}.{kind}.sh", said(case, capsys, "--emit", kind))


def test_a_new_release_rewrites_no_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = vllm_facts()
    newer = VllmFacts(**(vars(facts) | {"newest": "0.99.0", "read": (*facts.read, "0.99.0")}))
    monkeypatch.setattr(release, "vllm_facts", lambda: newer)
    release.resolve_release.cache_clear()
    assert release.resolve_release().version == "0.99.0"
    assert said("1xMI300X", capsys) == (HERE / "1xMI300X.txt").read_text(encoding="utf-8")
    assert said("8xH200-eagle", capsys, "--emit", "shell") == (HERE / "8xH200-eagle.shell.sh").read_text("utf-8")
    monkeypatch.undo()
    release.resolve_release.cache_clear()


@pytest.mark.parametrize("case", WHOLE)
def test_whole(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    same(f"{case}.whole.txt", said(case, capsys, "-v"))


@pytest.mark.parametrize("case", CASES)
def test_the_answer_stands_on_one_screen(case: str) -> None:
    assert len((HERE / f"{case}.txt").read_text(encoding="utf-8").splitlines()) <= 24


@pytest.mark.parametrize("case", EXPLAINED)
def test_explained(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    same(f"{case}.explain.txt", said(case, capsys, "--explain"))


def test_no_table_is_wider_than_80_columns() -> None:
    for path in HERE.glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            one_word = "--speculative-config" in line or "github.com/" in line or len(line.split()) == 1
            assert len(line) <= 80 or one_word, f"{path.name}: {line}"


def test_nobody_prints_decimal_gigabytes() -> None:
    for path in HERE.glob("*.txt"):
        assert not re.search(r"\bGB\b", path.read_text(encoding="utf-8")), path.name
