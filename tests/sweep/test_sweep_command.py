"""``m35-plan sweep`` and ``bench`` as people call them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from planner.cli import main
from planner.sweep.plot import file_plot, lines_of, terminal_plot

pytestmark = pytest.mark.slow


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_the_csv_and_the_json_hold_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    grid = ("sweep", "--gpus", "8xH200,4xB200", "--max-model-len", "32K,128K", "--concurrency", "1,4")
    _, table, _ = run(capsys, *grid)
    _, text, _ = run(capsys, *grid, "--csv")
    _, document, _ = run(capsys, *grid, "--json")
    rows = list(csv.DictReader(io.StringIO(text)))
    parsed = json.loads(document)["rows"]
    assert len(rows) == len(parsed) == len(table.splitlines()) - 2 == (4 + 3) * 4
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in parsed]
    assert all(row["gpus"] in ("8xH200", "4xB200") for row in rows)


def test_a_load_adds_speed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "sweep", "--gpus", "8xMI300X", "--tensor-parallel-size", "4,8", "--max-model-len", "32K",
        "--concurrency", "2,8", "--prompt-tokens", "512", "--output-tokens", "64", "--json",
    )  # fmt: skip
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["concurrency"] for row in rows] == [2, 8, 2, 8]
    assert all(row["output_tokens_per_s"] > 0 for row in rows)
    assert rows[1]["output_tokens_per_s"] > rows[0]["output_tokens_per_s"]


def test_a_rate_is_held_back_by_nothing_that_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--gpus", "8xH200", "-tp", "8", "--max-model-len", "32K", "--request-rate", "40")
    _, out, _ = run(capsys, "sweep", *load, "--json")
    (row,) = json.loads(out)["rows"]
    _, planned, _ = run(capsys, "plan", *load, "--max-num-batched-tokens", str(row["max_num_batched_tokens"]), "--json")
    assert row["concurrency"] is None
    assert row["ttft_ms"] == pytest.approx(json.loads(planned)["speed"]["forecast"]["ttft_ms"]["expected"], rel=1e-3)
    _, table, _ = run(capsys, "sweep", *load)
    assert len(table.splitlines()) == 2
    code, _, err = run(capsys, "sweep", *load, "--plot", "terminal", "-x", "concurrency")
    assert code == 2 and "no column `concurrency`" in err


def test_a_load_longer_than_the_context_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "sweep", "--gpus", "8xH200", "-tp", "8", "--max-model-len", "32K,128K", "--prompt-tokens", "100,000"
    )
    assert code == 0
    assert "no forecast for 1 of the rows that fit: one request of 101,024 tokens" in err
    assert out.splitlines()[1].split()[-3:] == ["-"] * 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("sweep",), "--gpus must be given"),
        (("sweep", "--gpus", "8xH200", "--concurrency", "1,a"), "`a`"),
        (("sweep", "--gpus", "8xH200", "--concurrency", "0"), "--concurrency must be at least 1"),
        (("sweep", "--gpus", "8xFOO"), "FOO"),
        (("sweep", "--gpus", "8xH200", "--counts", "0"), "--counts"),
        (("sweep", "--gpus", "8xH200", "--plot", "x.gif"), "x.gif"),
        (("sweep", "--gpus", "8xH200", "--plot", "terminal", "-x", "colour"), "colour"),
        (("sweep", "--gpus", "8xH200", "--prompt-tokens", "1000,4000"), "a comma only parts thousands"),
        (("--gpus", "8xH200", "--max-model-len", "1,2"), "a comma only parts thousands"),
        (("bench", "--result", "/nowhere"), "cannot read"),
        (("bench", "--keep"), "--keep"),
        (("--gpus", "8xH200", "--ttft-ms", "-1"), "--ttft-ms"),
        (("--gpus", "8xH200", "--objective", "latency", "--price-per-gpu-hour", "0"), "--price-per-gpu-hour"),
        (("--gpus", "8xH200", "--max-model-len", "1024", "--prompt-tokens", "2000"), "longer than"),
    ],
)
def test_mistakes_are_told_in_words(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str) -> None:
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert said in err
    assert "hint:" in err or "must" in err or "cannot read" in err
    assert "Traceback" not in err + out


def test_plots(tmp_path: Path) -> None:
    pytest.importorskip("plotext")
    pytest.importorskip("matplotlib")
    rows = [
        {
            "gpus": "8xH200", "gpu_count": 8, "tensor_parallel_size": tp, "max_model_len": length, "concurrency": 1,
            "gpu_memory_utilization": 0.9, "max_num_seqs": 128, "max_num_batched_tokens": 8192,
            "num_speculative_tokens": 0,
            "spec_method": "",
            "kv_cache_dtype": "auto", "total_kv_cache_tokens": 8 // tp * (tp * 1000 + length), "verdict": "fits",
            "replicas": 8 // tp,
        }
        for tp in (4, 8)
        for length in (1024, 2048, 4096)
    ]  # fmt: skip
    lines = lines_of(rows)
    assert (lines.x, lines.y) == ("max_model_len", "total_kv_cache_tokens")
    assert [label for label, _, _ in lines.lines] == ["TP4 x 2", "TP8"]
    text = terminal_plot(lines, title="what", width=60)
    assert "TP8" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 60
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        path = tmp_path / f"plot{ending}"
        file_plot(lines, path, title="what")
        assert path.read_bytes().startswith(magic)


def test_a_load_in_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "--gpus", "8xH200", "--prompt-tokens", "1000", "--output-tokens", "100", "--concurrency", "8",
        "--tpot-ms", "50", "--objective", "latency", "--price-per-gpu-hour", "2", "--json",
    )  # fmt: skip
    document = json.loads(out)
    speed = document["speed"]
    assert code == 0
    assert speed["meets_targets"] is True
    for name in ("output_tokens_per_s", "ttft_ms", "tpot_ms", "itl_ms", "latency_ms"):
        assert speed["forecast"][name].keys() == {"expected", "low", "high", "basis"}
    assert speed["cost"]["per_million_output_tokens"]["expected"] > 0
    chosen = [row for row in speed["layouts"] if row["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["layout"]["tensor_parallel_size"] == document["settings"]["tensor_parallel_size"]
    assert any(row["on_front"] for row in speed["layouts"])
    assert not any(row["chosen"] and row["num_speculative_tokens"] for row in speed["layouts"])


def test_no_load_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--gpus", "8xH200", "--json")
    assert "speed" not in json.loads(out)


def test_the_forecast_as_text_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "--gpus", "2xMI300X", "--concurrency", "4", "--objective", "balanced", "--tpot-ms", "1", "-v"
    )
    assert "ways compared meets every target" in " ".join(out.split())
    assert max(len(line) for line in out.splitlines()) <= 80


def test_values_that_are_in_no_row_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sweep", "--gpus", "3xH200,2xH200", "-tp", "3,2", "--max-model-len", "32K,300000"]
    code, out, err = run(capsys, *asked)
    assert code == 0
    assert "TP3 on 3xH200: 8 KV heads cannot be shared by 3 GPUs" in err
    assert "TP3 on 2xH200, which has 2 GPUs in a node" in err
    assert "300,000 tokens, beyond the model's 262,144" in err
    assert "all rows" in out
