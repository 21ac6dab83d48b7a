"""No green answer to another question: conditions stand in the headline, on stderr and in the exit code."""

from __future__ import annotations

import re

import pytest

from planner.cli import main
from planner.planning.load import LOAD as OF_A_LOAD
from planner.planning.request import SETTINGS

LOAD = ("--concurrency", "64", "--ttft-ms", "100", "--tpot-ms", "5")


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_missed_targets_are_said_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--gpus", "8xH200", *LOAD)
    assert code == 0 and out.startswith("fits, but misses TTFT 100 ms by ") and "warning: misses TTFT" in err
    assert call(capsys, "--gpus", "8xH200", *LOAD, "--strict")[0] == 3
    code, out, err = call(capsys, "--gpus", "8xH200", "--concurrency", "1", "--ttft-ms", "60000", "--strict")
    assert code == 0 and "misses" not in out + err


def test_a_rate_that_is_not_kept_up_with_is_said_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--gpus", "8xH200", "-tp", "8", "--output-tokens", "128", "--request-rate")
    code, out, err = call(capsys, *load, "500")
    assert code == 0 and out.startswith("fits, but misses 500 requests/s (the queue grows)")
    assert "warning: misses 500 requests/s" in err
    assert call(capsys, *load, "500", "--strict")[0] == 3
    code, out, err = call(capsys, *load, "1", "--strict")
    assert code == 0 and "misses" not in out + err
    # Where requests in flight are capped, the callers wait, not the server's queue.
    assert "misses" not in call(capsys, *load, "500", "--concurrency", "8")[1]


def test_no_rate_is_shown_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--gpus", "8xH200", "-tp", "8", "--request-rate", "0.0003", "--output-tokens")
    for page in ((), ("-v",)):
        for tokens in ("1", "40"):
            out = call(capsys, *load, tokens, *page)[1]
            shown = out[out.index("load  ") if not page else out.index("speed  ") :]
            assert not re.search(r"\b0(\.0)? (tok|ms)|\s0(\.0)?\s", shown), shown
            # An answer of one token has no time per further token.
            assert ("TPOT" in shown) == (tokens == "40" or bool(page))


@pytest.mark.parametrize(
    "argv",
    [
        ("-tp", "8", "-pp", "8"), ("--eagle", "--acceptance-length", "9"), ("--turns", "1000"),
        ("--max-model-len", "4096", "--prompt-tokens", "9000"), ("--max-num-seqs", "4", "--concurrency", "9"),
        ("--language-model-only", "--images-per-request", "1"),
    ],
)  # fmt: skip
def test_a_refusal_and_its_hint_speak_of_options(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, _, err = call(capsys, "--gpus", "8xH200", *argv)
    assert code == 2
    assert not [name for name in (*SETTINGS, *OF_A_LOAD) if "_" in name and name in err], err


def test_one_of_a_thing_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "--gpus", "8xH200", "--max-num-batched-tokens", "1")[1]
    assert "1 sequence and 1 token a step" in out
    out = call(capsys, "--gpus", "8xH200", "--concurrency", "10000")[1]
    assert "not 10,000; 10,000 sequences would have" in " ".join(out.split())


def test_idle_gpus_are_named_with_the_layout_that_would_use_them(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "--gpus", "7xH200")
    assert "4 of 7 x H200 (3 idle)" in out and "TP1 PP7 would hold" in " ".join(out.split())


def test_a_cut_context_is_said_with_its_share(capsys: pytest.CaptureFixture[str]) -> None:
    assert ", context cut to " in call(capsys, "--gpus", "1xMI300X")[1].splitlines()[0]
    assert "cut" not in call(capsys, "--gpus", "1xMI300X", "--max-model-len", "65536")[1].splitlines()[0]


def test_warnings_take_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for gpus in ("1xMI300X", "8xH200", "2xH100"):
        for line in call(capsys, "--gpus", gpus)[2].splitlines():
            assert len(line) <= 110
        assert "graph memory is assumed" not in call(capsys, "--gpus", gpus)[2]
