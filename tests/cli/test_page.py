"""The page: as wide as the terminal or ``COLUMNS`` says, folded, and nothing on it is cut."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.cli import main
from planner.cli.page import paragraph

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("gpus", ["8xH200", "2x4xL40S", "1xH200", "1xMI300X"])
@pytest.mark.parametrize("more", ["", " -v"])
def test_a_narrow_page_holds_the_whole_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gpus: str, more: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = page(capsys, f"plan --gpus {gpus}{more}").splitlines()
    assert [row for row in rows if len(row) > 60] == []


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


GPUS = (
    "1xH200", "2xH200", "3xH100", "5xH100", "8xH200", "1xMI300X", "2xMI300X", "3xMI300X", "8xMI300X", "1xB200",
    "2x8xH200", "2x4xH100", "2x3xH100", "3x1xH200", "6xL40S", "8xL40S", "8xL4", "2x8xL4", "2xA100", "8xA100-40GB",
    "1xGH200-144", "4xRTX-PRO-6000", "8xRTX-4090", "12xH20",
)  # fmt: skip
ASKED = (
    "", "--gpu-memory-utilization 0.95", "--max-model-len 32K", "--max-model-len 262144 --concurrency 8",
    "--concurrency 16", "--language-model-only", "--vllm-version 0.26.0",
)  # fmt: skip
LONGER = (
    "--eagle",
    "--kv-cache-dtype fp8 --enforce-eager",
    "-tp 2",
    "--concurrency 16 --prompt-tokens 2000 --ttft-ms 500",
)
"""What lengthens the command, or asks for a forecast."""


@given(st.sampled_from(GPUS), st.sampled_from([*ASKED, *LONGER]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_whole_answer_stands_on_a_terminal_of_24_lines(
    capsys: pytest.CaptureFixture[str], gpus: str, asked: str
) -> None:
    capsys.readouterr()
    code = main(["plan", "--gpus", gpus, *asked.split()])
    out, err = capsys.readouterr()
    assume(code in (0, 3))
    rows = [*out.splitlines(), *err.splitlines()]
    assert max(len(row) for row in rows if "{" not in row) <= 80, "a draft's JSON is one word of the shell"
    assert len(out.splitlines()) <= (26 if asked in LONGER else 24), out + err
    assert "KV cache" in out and ("choice" if code == 0 else "tried") in out
    assert code or ("vllm serve" in out and "holds " in out)


def test_a_host_with_a_long_name_keeps_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "gke-production-europe-west4-a3-megagpu-8g-pool-9f3c2d1e-x7kq"
    nodes = tmp_path / "hosts.json"
    nodes.write_text(json.dumps([{"host": name, "gpus": "8xH200"}, {"host": "b", "gpus": "8xH200"}]))
    assert name in page(capsys, f"fleet {nodes}").splitlines()[1]


@given(
    st.lists(st.text("abc-é", max_size=30)), st.integers(20, 60), st.sampled_from(["", "  ", "why   "]),
    st.sampled_from(["", "    "]),
)  # fmt: skip
def test_text_folds_as_textwrap_folds_it(words: list[str], width: int, first: str, rest: str) -> None:
    text = " ".join(words)
    expected = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    assert paragraph(text, width=width, indent=first, rest=rest).split("\n") == (expected or [""])
