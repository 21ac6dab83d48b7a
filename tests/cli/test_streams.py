"""Any stdout and any stderr: code pages, colour variables, streams that are no terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cli.charset import PLAIN, encodable

pytestmark = pytest.mark.slow

PAGES = ("ascii", "latin-1", "cp1252", "cp437", "koi8-r", "utf-8")
COMMANDS = (
    ("--gpus", "1xMI300X"),
    ("--gpus", "1xH100"),
    ("--gpus", "8xH200", "--explain"),
    ("--gpus", "8xH200", "--json"),
    ("--gpus", "8xH200", "--emit", "kubernetes"),
    ("gpus",),
    ("accuracy",),
    ("plan", "--help"),
    ("--gpus", "H2000"),
)


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *argv],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_every_code_page_gets_a_whole_answer(argv: tuple[str, ...]) -> None:
    usual = run(*argv, PYTHONIOENCODING="utf-8")
    for page in PAGES:
        done = usual if page == "utf-8" else run(*argv, PYTHONIOENCODING=page)
        assert done.returncode == usual.returncode, page
        assert b"Traceback" not in done.stderr and b"\\u" not in done.stderr, page
        text = done.stdout.decode(page)
        assert len(text.splitlines()) == len(usual.stdout.decode().splitlines()), page
        assert "?" not in text or "?" in usual.stdout.decode(), page


def test_json_says_the_same_in_every_code_page() -> None:
    texts = {page: run("--gpus", "8xH200", "--json", PYTHONIOENCODING=page).stdout.decode(page) for page in PAGES}
    assert all(json.loads(text) == json.loads(texts["utf-8"]) for text in texts.values())


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_obeys_its_variables(variables: dict[str, str], coloured: bool) -> None:
    plain = dict.fromkeys(("NO_COLOR", "FORCE_COLOR"), "")
    done = run("--gpus", "1xH100", "--vllm-version", "0.33.0", **{**plain, **variables})  # it warns on stderr
    assert (b"\x1b[" in done.stdout) == coloured and (b"\x1b[" in done.stderr) == coloured


@given(st.text(), st.sampled_from(PAGES))
def test_whatever_is_written_can_be_encoded(text: str, page: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    encodable(text, page).encode(page)


def test_plain_marks_are_plain() -> None:
    assert all(plain.isascii() for plain in PLAIN.values())
