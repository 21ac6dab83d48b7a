"""No word of a log, a name, a server or a file steers the terminal it is shown on, in any command."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.cli import main
from planner.cli.charset import coloured, escaped, harmless
from planner.serve.process.endpoint import Endpoint
from planner.serve.process.record import RunRecord
from planner.serve.process.runs import place_run

EVIL = "\x1b]0;title\x07\x9b31m\x00\u202eexe\u2066\u200b\x7f"
HARMFUL = {"\u200b", "\ufeff", *map(chr, range(0x2066, 0x206A))}


def steers(text: str) -> list[str]:
    """The characters of `text` that a terminal obeys or that reorder what is read."""
    return [one for one in text if one not in "\n\t" and (_kind(one) in BIDI or one in HARMFUL)]


def _kind(one: str) -> str:
    return "control" if unicodedata.category(one) == "Cc" else unicodedata.bidirectional(one)


BIDI = {"control", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text())
def test_no_text_steers(text: str) -> None:
    assert steers(harmless(text)) == []
    document = {"said": text.encode("utf-8", "replace").decode()}
    shown = escaped(json.dumps(document, ensure_ascii=False))
    assert steers(shown) == [] and json.loads(shown) == document


def test_every_character_that_steers_is_found() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert {one for one in everything if harmless(one) != one} == {
        one for one, shown in zip(everything, harmless(everything), strict=True) if one != shown
    }


@given(st.text(st.sampled_from("\x1b[0;31m<>:abc")), st.sampled_from(["1", "31;1"]))
def test_only_our_own_colours_become_control_characters(text: str, code: str) -> None:
    shown = harmless(text + coloured("x", code) + text)
    assert shown.count("\x1b") == 2 and f"\x1b[{code}mx\x1b[0m" in shown


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def commands(folder: Path, evil: str) -> list[list[str]]:
    """Every command that says something of other people's, fed with `evil`."""
    log = folder / "evil.log"
    log.write_text(f'Traceback (most recent call last):\n  File "x", line 1\nOops: {evil}\nOSError: {evil}\n', "utf-8")
    snapshot = folder / "evil.json"
    snapshot.write_text(json.dumps({"hostname": evil, "gpus": [{"name": evil}]}))
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({"architectures": [evil], "model_type": evil}))
    return [
        ["diagnose", str(log)], ["diagnose", str(log), "--json"], ["diagnose", evil], ["calibrate", str(log)],
        ["--gpus", evil], ["--gpus", f"@{snapshot}"], ["--gpus", "8xH200", "--model", str(model)],
        ["--gpus", "8xH200", "--model", evil], ["--gpus", "8xH200", "--kv-cache-dtype", evil], ["runs"],
        ["runs", "--json"], ["stop", evil], ["attach", evil], ["verify", evil], ["verify", "--plan", str(log)],
        ["verify", "--only", evil], ["bench", "--result", str(log)], ["check", "--only", evil, "--gpus", "8xH200"],
        ["check", "--only", "vllm", "--", evil, "serve", evil], ["launch", "--dry-run", "--", "vllm", "serve", evil],
        ["launch", "--dry-run", "--json", "--", "vllm", "serve", evil], ["launch", "--timeout", evil, "--", "x"],
        ["gpus", evil], ["fleet", str(snapshot)], [evil], ["plan", f"--{evil}"],
    ]  # fmt: skip


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    main(argv)
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_no_command_passes_other_people_s_control_characters_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunRecord(
        id="2026-1", created_at_s=1.0, target="local", endpoint=Endpoint(host="127.0.0.1", port=1),
        argv=("vllm", "serve", f"model{EVIL}"), launcher_pid=1, launcher_start_ticks=1,
    )  # fmt: skip
    place_run(record, {}, directory=None)
    for argv in commands(tmp_path, EVIL):
        assert steers(said(argv, capsys)) == [], argv


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(evil=st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12))
def test_no_word_at_random_does(tmp_path: Path, capsys: pytest.CaptureFixture[str], evil: str) -> None:
    for argv in commands(tmp_path, evil):
        assert steers(said(argv, capsys)) == [], argv


def test_colours_survive_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = said(["--gpus", "1xH100"], capsys)
    assert re.search(r"\x1b\[1m", text) and re.search(r"\x1b\[31;1merror|\x1b\[33;1mwarning|\x1b\[1m", text)
    assert steers(re.sub(r"\x1b\[[0-9;]*m", "", text)) == []
