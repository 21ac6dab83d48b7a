"""Records of ours: a damaged one never takes down the others, and what is left out is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.calibrate import HEAD
from planner.state import append_records, read_records

pytestmark = pytest.mark.slow

PLAIN = st.dictionaries(st.text(), st.text() | st.integers(-(10**15), 10**15) | st.none(), max_size=4)
DAMAGE = st.one_of(
    st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\n", b"")),
    st.just(b"[" * 200_000),
    st.just(b"\xef\xbb\xbf{"),
    st.just(b'{"n": ' + b"9" * 310 + b"}"),
    st.just(b'{"n": 1e999}'),
    st.just("{\u2028}".encode()),
    st.just(b"[1, 2]"),
)


@given(st.lists(st.one_of(PLAIN, DAMAGE), max_size=8))
def test_good_records_survive_damaged_ones(tmp_path_factory: pytest.TempPathFactory, lines: list[Any]) -> None:
    path = tmp_path_factory.mktemp("state") / "a.jsonl"
    path.touch(0o600)
    wanted, bad = [], 0
    with path.open("wb") as file:
        for line in lines:
            data = line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode("utf-8", "replace")
            file.write(data + b"\n")
            if isinstance(line, dict):
                wanted.append(json.loads(data))
            else:
                bad += bool(data.strip(b"\0 \t\r")) and not _is_record(data)
                wanted += [json.loads(data)] if _is_record(data) else []
    dropped: list[str] = []
    assert read_records(path, dropped=dropped) == wanted
    assert len(dropped) == bad


def _is_record(data: bytes) -> bool:
    try:
        return data[:1] == b"{" and isinstance(json.loads(data), dict) and b"999" not in data
    except (ValueError, RecursionError):
        return False


@given(st.lists(PLAIN.map(lambda one: json.loads(json.dumps(one))), min_size=1, max_size=5))
@example([{"AUTHORIZATION": -1, "Cookie": 1.5e300, "api-key": [-7]}])
def test_what_is_written_is_read_whatever_ends_a_line(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.getbasetemp())
    records = [{"text": "a\u2028b\u0085c\x0bd\r\ne", **record} for record in records]
    path = tmp_path_factory.mktemp("store") / "a.jsonl"
    try:
        append_records(path, records)
    except UnicodeEncodeError:
        return
    dropped: list[str] = []
    assert read_records(path, dropped=dropped) == records
    assert dropped == []


@pytest.mark.parametrize("kind", ["garbage", "mark", "levels", "folder", "pipe", "link", "digits", "others"])
@pytest.mark.parametrize("name", ["calibration.jsonl", "benchmarks.jsonl"])
def test_a_plan_is_made_and_says_what_was_left_out(name: str, kind: str, tmp_path: Path) -> None:
    state = tmp_path / "m35-plan"
    state.mkdir(0o700)
    path = state / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        text = {
            "garbage": "garbage\n", "mark": "\ufeffgarbage\n", "levels": "[" * 200_000, "others": "{}\n",
            "digits": json.dumps({"kind": HEAD[0], "schema_version": HEAD[1], "n": "N"}).replace('"N"', "9" * 310),
        }[kind]  # fmt: skip
        path.write_text(text)
        path.chmod(0o666 if kind == "others" else 0o600)
    load = ["--prompt-tokens", "1000"] if name == "benchmarks.jsonl" else []
    done = subprocess.run(
        [sys.executable, "-m", "planner", "--gpus", "8xH200", *load], capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a kept measurement is left out" in done.stderr
    assert str(path) in done.stderr.replace("\n", "")
