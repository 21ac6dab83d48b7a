"""The facts files hold what their README says: columns, types, sizes, and sums that close."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oracle import changes, facts_file
from oracle.inside_names import PHASES

FILES = sorted(facts_file.FOLDER.glob("[0-9]*.json"))
TABLES = tuple(facts_file.COLUMNS)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_there_are_facts_of_the_newest_release_that_the_planner_knows() -> None:
    from planner.facts.release import newest_version

    assert newest_version() in [path.stem for path in FILES]


def test_columns_are_the_documented_ones(facts: dict[str, Any]) -> None:
    readme = (facts_file.FOLDER / "README.md").read_text(encoding="utf-8")
    for name in TABLES:
        assert tuple(facts[name]["columns"]) == facts_file.COLUMNS[name]
        assert f"`{name}`" in readme
        assert all(f"`{column}`" in readme for column in facts[name]["columns"]), name
    for name in TABLES:
        width = len(facts[name]["columns"])
        assert all(len(row) == width for row in facts[name]["rows"]), name


def test_head_says_where_it_comes_from(facts: dict[str, Any]) -> None:
    assert facts["schema_version"] == facts_file.SCHEMA_VERSION
    assert len(facts["provenance"]["wheel_sha256"]) == 64
    assert facts["provenance"]["wheel"].startswith(f"vllm-{facts['vllm_version']}-")
    assert facts["provenance"]["model_runner"] in ("v1", "v2")
    assert {"torch", "transformers", "flashinfer-python"} <= set(facts["provenance"]["packages"])


def test_file_is_small_enough_for_the_wheel(facts: dict[str, Any]) -> None:
    path = facts_file.FOLDER / f"{facts['vllm_version']}.json"
    assert path.stat().st_size <= facts_file.LARGEST_BYTES
    assert "/tmp" not in path.read_text(encoding="utf-8")


def test_bytes_are_ints_and_peaks_are_whole_allocations(facts: dict[str, Any]) -> None:
    for row in changes.rows(facts, "profile_peaks"):
        executed = [row[p] for p in PHASES if p != "forward" or row["mode"] == "eager"]
        assert all(isinstance(size, int) and size >= 0 and size % 512 == 0 for size in executed), row
        assert not (row["language_model_only"] and row["encoder"]), row


def test_weights_add_up(facts: dict[str, Any]) -> None:
    parts = facts_file.RECORDED_COMPONENTS
    for row in changes.rows(facts, "weights"):
        assert row["total"] == sum(row[p] for p in parts)


def test_writing_is_lossless_and_refuses_what_is_too_large(facts: dict[str, Any], tmp_path: Path) -> None:
    path = facts_file.write(facts, tmp_path)
    assert json.loads(path.read_text(encoding="utf-8")) == facts
    facts["texts"] = {"too_long": "x" * facts_file.LARGEST_BYTES}
    with pytest.raises(ValueError, match="too many for a facts file"):
        facts_file.write(facts, tmp_path)


def test_residuals_are_small_against_the_peaks() -> None:
    """The oracle misses at most one GEMM workspace and some rounding: 13 start-ups on H100, none below it."""
    residuals = json.loads((facts_file.FOLDER / "residuals.json").read_text(encoding="utf-8"))
    rows = changes.rows(residuals, "rows")
    assert residuals["summary"]["points"] == len(rows) >= 10
    for row in rows:
        assert row["residual_peak_bytes"] == row["measured_peak_bytes"] - row["oracle_peak_bytes"]
        assert 0 < row["residual_peak_bytes"] < 48 << 20, row
        assert abs(row["residual_weights_bytes"]) < 0.005 * row["measured_weights_bytes"], row
