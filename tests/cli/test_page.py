"""The page: as wide as the terminal or ``COLUMNS`` says, folded, and nothing on it is cut."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planner.cli import main

ANSWERS = (
    "plan --gpus 3xH100",
    "plan --gpus 3xH100 -v",
    "plan --gpus 8xL4",
    "plan --gpus 8xL4 -v",
    "plan --gpus 8xH100 --concurrency 16 --prompt-tokens 2000 --output-tokens 500 -v",
    "diagnose examples/logs/kv-cache-too-small.log",
    "review examples/compose.yaml examples/gate.sh",
    "detect examples/busy-host.json",
    "fleet examples/clusters/nodes.json examples/hosts/8xMI300X.json",
    "sweep --gpus 8xH200 --max-model-len 32K,128K",
    "accuracy",
    "gpus H200",
)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(request.config.rootpath)


def page(capsys: pytest.CaptureFixture[str], line: str) -> str:
    main(line.split())
    return capsys.readouterr().out


@pytest.mark.parametrize("line", ANSWERS)
def test_the_same_words_stand_on_every_page_and_none_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    words = {}
    for columns in (60, 80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = page(capsys, line)
        assert "…" not in text
        # What no fold can help: the rows of a table and of the bar, and the words of a command.
        too_wide = [row for row in text.splitlines() if len(row) > max(columns, 80) and "  " not in row.strip()]
        assert not too_wide
        words[columns] = sorted(re.sub(r"[█▓▒░·│!\\]+", " ", text).split())
    assert words[60] == words[80] == words[120] == words[200]


def test_a_pipe_has_80_columns_until_the_variable_says_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    narrow = page(capsys, ANSWERS[1])
    monkeypatch.setenv("COLUMNS", "80")
    assert page(capsys, ANSWERS[1]) == narrow
    monkeypatch.setenv("COLUMNS", "140")
    wide = page(capsys, ANSWERS[1])
    assert len(wide.splitlines()) < len(narrow.splitlines())
    assert max(map(len, wide.splitlines())) > 100


def test_a_host_with_a_long_name_keeps_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "gke-production-europe-west4-a3-megagpu-8g-pool-9f3c2d1e-x7kq"
    nodes = tmp_path / "hosts.json"
    nodes.write_text(json.dumps([{"host": name, "gpus": "8xH200"}, {"host": "b", "gpus": "8xH200"}]))
    assert name in page(capsys, f"fleet {nodes}").splitlines()[1]
