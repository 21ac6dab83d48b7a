"""The model against every public measurement, and the facts it rests on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planner import facts
from planner.speed.measured import compare, measurements
from planner.speed.profile import engine_profile, profile_facts, profile_id_for, profile_ids

TABLE = ("T1-01", "T1-02", "T1-03", "T1-04")
BY_ID = {record.id: record for record in measurements()}


@pytest.mark.parametrize("record_id", TABLE)
def test_each_number_of_this_models_table_is_within_ten_per_cent(record_id: str) -> None:
    for comparison in compare(BY_ID[record_id]):
        assert abs(comparison.error) <= 0.10, (comparison.figure, comparison.error)


def test_each_number_is_within_fifteen_per_cent_when_its_size_was_left_out() -> None:
    held_out = facts.load("speed.toml")["held_out"]
    assert {(row["id"], row["figure"]) for row in held_out} == {
        (record_id, figure) for record_id in TABLE for figure in BY_ID[record_id].result
    }
    for row in held_out:
        assert row["measured"] == BY_ID[row["id"]].result[row["figure"]]
        assert abs(row["predicted"] / row["measured"] - 1) <= 0.15, row


def test_the_tuned_2025_container_is_met_within_five_per_cent() -> None:
    """Forty runs from 1 to 128 sequences on two dense models, four numbers fitted."""
    errors = [
        c.error for r in measurements() if r.id.startswith(("T3-09", "T3-1")) and r.role == "fit" for c in compare(r)
    ]
    assert len(errors) == 32
    assert max(map(abs, errors)) <= 0.05


def test_no_measurement_is_hidden() -> None:
    """Each is fitted, tested, or excluded with a reason; what the source left out is named."""
    for record in measurements():
        assert record.source
        assert record.role in ("fit", "test", "excluded")
        if record.role == "excluded":
            assert record.reason
        elif record.raw["kind"] != "offline":  # thousands of sequences each; the documentation script replays them
            assert all(np.isfinite(c.predicted) and c.predicted > 0 for c in compare(record)), record.id
    assert sum(record.role == "excluded" for record in measurements()) <= 15


@pytest.mark.parametrize("profile_id", profile_ids())
def test_every_efficiency_is_a_fact(profile_id: str) -> None:
    known = {record.id.split("/")[0] for record in measurements()}
    for fact in profile_facts(profile_id):
        assert fact.low <= fact.value <= fact.high, fact
        assert fact.basis in ("exact", "derived", "measured", "assumed")
        assert fact.source
        assert bool(fact.fitted_on) == (fact.basis == "derived")
        assert set(fact.fitted_on) <= known


@pytest.mark.parametrize("profile_id", profile_ids())
def test_fast_is_faster_than_slow(profile_id: str) -> None:
    record = next(r for r in measurements() if r.profile == profile_id and r.role == "fit")
    values = [compare(record, engine_profile(profile_id, case))[0].predicted for case in ("slow", "expected", "fast")]
    assert values in (sorted(values), sorted(values, reverse=True))


@pytest.mark.parametrize(
    ("vendor", "version", "expected"),
    [("amd", "0.33.0", "rocm-2026-05"), ("amd", "0.19.1", "rocm-0_10"), ("nvidia", "0.33.0", "cuda")],
)
def test_the_newest_build_not_newer_than_asked_is_used(vendor: str, version: str, expected: str) -> None:
    assert profile_id_for(vendor, version) == expected


def test_the_data_file_is_plain_json_with_unique_ids() -> None:
    records = facts.load("measured_speed.json")["records"]
    assert len({record["id"] for record in records}) == len(records)
    assert json.loads(json.dumps(records)) == records
