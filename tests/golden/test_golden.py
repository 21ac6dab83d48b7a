"""Answers byte for byte: tables, JSON and commands. ``UPDATE_GOLDEN=1 pytest tests/golden`` rewrites them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from planner.cli import main

HERE = Path(__file__).parent
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
WHOLE = ("8xH200", "1xMI300X", "1xH100")
EXPLAINED = {"1xMI300X-text-only"}


def same(name: str, text: str) -> None:
    path = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} changed; if that is meant, rewrite the golden files"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["txt", "json", "docker.sh", "shell.sh"])
def test_bytes(case: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    more = {"txt": [], "json": ["--json"], "docker.sh": ["--emit", "docker"], "shell.sh": ["--emit", "shell"]}[kind]
    main([*CASES[case], *more])
    same(f"{case}.{kind}", capsys.readouterr().out)


@pytest.mark.parametrize("case", WHOLE)
def test_whole(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*CASES[case], "-v"])
    same(f"{case}.whole.txt", capsys.readouterr().out)


@pytest.mark.parametrize("case", CASES)
def test_the_answer_stands_on_one_screen(case: str) -> None:
    assert len((HERE / f"{case}.txt").read_text(encoding="utf-8").splitlines()) <= 24


@pytest.mark.parametrize("case", EXPLAINED)
def test_explained(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*CASES[case], "--explain"])
    same(f"{case}.explain.txt", capsys.readouterr().out)


def test_no_table_is_wider_than_80_columns() -> None:
    for path in HERE.glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            one_word = "--speculative-config" in line or "github.com/" in line or len(line.split()) == 1
            assert len(line) <= 80 or one_word, f"{path.name}: {line}"


def test_nobody_prints_decimal_gigabytes() -> None:
    for path in HERE.glob("*.txt"):
        assert not re.search(r"\bGB\b", path.read_text(encoding="utf-8")), path.name
