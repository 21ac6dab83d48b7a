"""The model against every public measurement, and the facts it rests on."""

from __future__ import annotations

import numpy as np
import pytest

from hw_specs import get_gpu
from planner import facts
from planner.facts.speed import speed_facts
from planner.speed.measurement import Measurement
from planner.speed.profile import engine_profile, profile, profile_id_for
from scripts.fit_speed import kind_of
from scripts.speed_replay import Comparison, is_older, measurements
from scripts.speed_replay import compare as compared_now
from scripts.speed_tables import is_inside

pytestmark = pytest.mark.slow

TABLE = ("T1-01", "T1-02", "T1-03", "T1-04")
BY_ID = {record.id: record for record in measurements()}
_COMPARED: dict[str, tuple[Comparison, ...]] = {}


def compare(record: Measurement) -> tuple[Comparison, ...]:
    """As :func:`scripts.speed_replay.compare`, each run played once."""
    if record.id not in _COMPARED:
        _COMPARED[record.id] = compared_now(record)
    return _COMPARED[record.id]


@pytest.mark.parametrize("record_id", TABLE)
def test_each_number_of_this_models_table_is_within_ten_per_cent(record_id: str) -> None:
    for comparison in compare(BY_ID[record_id]):
        assert abs(comparison.error) <= 0.10, (comparison.figure, comparison.error)


def test_each_number_is_near_when_its_size_was_left_out() -> None:
    held_out = speed_facts().held_out
    assert {(row.id, row.figure) for row in held_out} == {
        (record_id, figure) for record_id in TABLE for figure in BY_ID[record_id].result
    }
    for row in held_out:
        assert row.measured == BY_ID[row.id].result[row.figure]
        assert abs(row.predicted / row.measured - 1) <= 0.15, row


def test_the_whole_model_on_one_h200_is_foretold_by_its_cuts() -> None:
    """All 88 layers from runs of 8, 24 and 44, and each load from the others; before any fit it was 9.2 %.

    TTFT and TPOT of 12 in flight hang on whether a request still gets into a step; their sum does not.
    """
    rows = speed_facts().left_out
    own = [record for record in measurements() if record.id.startswith("H200/")]
    taught = {(record.id, figure) for record in own if record.role == "fit" for figure in record.result}
    assert {(row.id, row.figure) for row in rows} == taught
    for row in rows:
        assert row.measured == BY_ID[row.id].result[row.figure]
    whole = [row for row in rows if row.id.startswith("H200/L88")]
    assert {row.without for row in whole} == {"88 layers", "4 in flight", "12 in flight"}
    errors = [(row.figure, abs(row.predicted / row.measured - 1)) for row in whole]
    assert max(error for figure, error in errors if figure in ("output_tokens_per_s", "itl_p50_ms")) <= 0.03
    assert max(error for _, error in errors) <= 0.12
    before = [
        abs(record.predicted_before[figure] / value - 1)
        for record in own
        if record.id.startswith("H200/L88")
        for figure, value in record.result.items()
    ]
    assert max(before) == pytest.approx(0.092, abs=0.001)
    assert max(abs(c.error) for record in own if record.id.startswith("H200/L88") for c in compare(record)) <= 0.105


@pytest.mark.parametrize(
    ("older", "limits", "held"),
    [(False, {"rate": 0.10, "tpot": 0.10, "ttft": 0.20}, 0.9), (True, {"rate": 0.12, "tpot": 0.16, "ttft": 0.48}, 0.8)],
    ids=["planned for", "older"],
)
def test_the_half_kept_for_judging_is_met(older: bool, limits: dict[str, float], held: float) -> None:
    """Public runs of sources that no fit saw: 10 % in rates and TPOT, 20 % in TTFT, and bounds that hold.

    Releases before those planned for miss these goals; the second line is how far, so that it gets no worse.
    """
    judged = [record for record in measurements() if record.half == "judge" and is_older(record) == older]
    assert all(record.role == "test" for record in judged)
    found = [one for record in judged for one in compare(record)]
    for kind, limit in limits.items():
        assert float(np.median([abs(one.error) for one in found if kind_of(one.figure) == kind])) <= limit, kind
    assert sum(map(is_inside, found)) >= held * len(found)


def test_loads_of_every_size_are_met_on_the_half_that_no_fit_saw() -> None:
    """Every second of 19 8B loads: 2 to 32 in flight, bursts of 32 and 1,000, a shared head, long prompts."""
    loads = [record for record in measurements() if record.id.startswith("H200-0.33-loads/")]
    left_out = [record for record in loads if record.role == "test"]
    assert len(left_out) == 9
    limits = {"output_tokens_per_s": 0.05, "ttft_ms": 0.17, "ttft_p99_ms": 0.25, "tpot_ms": 0.12, "itl_p50_ms": 0.024}
    for record in left_out:
        for one in compare(record):
            # Of a burst of 1,000 half of all gaps have a prompt in them, so the middle one is either kind.
            if one.figure != "itl_p50_ms" or record.workload.total_requests < 1000:  # type: ignore[union-attr]
                assert abs(one.error) <= limits[one.figure], (record.id, one.figure, one.error)


@pytest.mark.parametrize(
    "record", [r for r in measurements() if r.id.startswith("H200-0.33-one/")], ids=lambda record: record.id
)
def test_one_h200_is_met_where_it_was_forecast_before(record: Measurement) -> None:
    """A cut, an 8B in BF16, FP8 and with small steps, a 32B: no fit saw them. Eager steps are the host's, as it is.

    The limits were set by what these runs showed: they keep it from getting worse and prove nothing. The bounds do,
    which were written down before the runs.
    """
    rate, step = (0.17, 0.21) if record.enforce_eager else (0.08, 0.09)
    errors = {one.figure: abs(one.error) for one in compare(record)}
    assert record.role == "test"
    assert errors["output_tokens_per_s"] <= rate
    assert errors["itl_p50_ms"] <= step or record.num_requests == 1000, "half of those gaps have a prompt in them"
    assert errors["ttft_ms"] <= 0.37


def test_no_source_is_on_both_halves() -> None:
    halves = {half: {r.source for r in measurements() if r.half == half} for half in ("build", "judge")}
    assert not halves["build"] & halves["judge"]


def test_what_the_front_end_takes_is_the_same_wherever_it_was_not_fitted() -> None:
    """One fit tells it, of a server whose GPU has no part in it; the others repeat that."""
    told = {name: fact.value for name, fact in profile("cuda-bf16-hopper").values.items()}
    for profile_id in speed_facts().profile:
        for name, fact in profile(profile_id).values.items():
            if name in ("frontend_s", "first_token_s", "streaming_s") and fact.basis == "measured":
                assert fact.value == pytest.approx(told[name], rel=0.02), (profile_id, name)


UNSEEN = [record for record in measurements() if record.id.endswith("-uncached")]


def test_runs_that_no_fit_saw_are_met_at_every_load() -> None:
    """Thirteen loads from 2 to 128 in flight; the forecast before them missed 32 in flight by 19 %."""
    assert [record.role for record in UNSEEN] == ["test"] * 13
    for record in UNSEEN:
        errors = {one.figure: abs(one.error) for one in compare(record)}
        assert errors["output_tokens_per_s"] <= 0.05, record.id
        assert errors["itl_p50_ms"] <= 0.045, record.id
    before = {record.id: record.predicted_before["itl_p50_ms"] / record.result["itl_p50_ms"] - 1 for record in UNSEEN}
    assert before["H200/L24-c32-uncached"] == pytest.approx(-0.19, abs=0.005)


def test_the_excess_by_rows_is_what_the_products_say() -> None:
    """Median over the slices of what a product takes above its time at 16 rows and the rounded roofline."""
    gpu, profile = get_gpu("h200-sxm"), engine_profile("cuda-fp8-hopper")
    layer: dict[tuple[int, int], list[float]] = {}
    for row in facts.load("measured/products-h200-0.26-rows.json")["products"]:
        entry = layer.setdefault((row["split"], row["m"]), [0.0, 0.0])
        entry[0] += row["ms"] * 1e-3
        entry[1] += row["n"] * row["k"]
    assert gpu.fp8_flops_per_s is not None

    def roofline(split: int, rows: int) -> tuple[float, float]:
        reading = layer[split, rows][1] / gpu.bandwidth_bytes_per_s / profile.weight_bandwidth
        computing = 2 * layer[split, rows][1] * rows / (gpu.fp8_flops_per_s * 0.6725)
        return reading, (reading**profile.roofline_power + computing**profile.roofline_power) ** (
            1 / profile.roofline_power
        )

    for rows, share in profile.row_excess:
        seen = []
        for split in (1, 2, 4, 8):
            if (split, rows) in layer:
                fixed = layer[split, 16][0] - roofline(split, 16)[1]
                reading, smooth = roofline(split, int(rows))
                seen.append((layer[split, rows][0] - fixed - smooth) / reading)
        assert share == pytest.approx(np.median(seen), abs=0.02), rows


def test_our_runs_are_the_ones_that_were_recorded() -> None:
    """The speed data repeat the start-ups' benchmark figures; nothing is left out but what was not fitted."""
    startups = facts.load("measured/startups-h200-0.26.json")["startups"]
    benches = [(start, bench) for start in startups for bench in start.get("bench", ())]
    own = [record for record in measurements() if record.id.startswith("H200/")]
    told = sorted((bench["output_throughput"], bench["mean_ttft_ms"], bench["median_itl_ms"]) for _, bench in benches)
    kept = sorted((r.result["output_tokens_per_s"], r.result["ttft_ms"], r.result["itl_p50_ms"]) for r in own)
    assert np.array(kept) == pytest.approx(np.array(told), rel=1e-4)


def test_the_shares_of_the_products_are_what_the_products_say() -> None:
    data = facts.load("measured/products-h200-0.26.json")
    gpu = get_gpu("h200-sxm")
    layer: dict[tuple[int, int], list[float]] = {}
    for row in data["products"]:
        if row["name"] != "lm_head_bf16":
            entry = layer.setdefault((row["split"], row["m"]), [0.0, 0.0])
            entry[0] += row["ms"] * 1e-3
            entry[1] += row["n"] * row["k"]
    seconds, weights = np.array([layer[split, 1] for split in (1, 2, 4, 8)]).T
    design = np.stack([weights / gpu.bandwidth_bytes_per_s, np.ones(4)], axis=1) / seconds[:, None]
    (inverse, fixed_s), *_ = np.linalg.lstsq(design, np.ones(4), rcond=None)
    profile = engine_profile("cuda-fp8-hopper")
    assert profile.weight_bandwidth == pytest.approx(1 / inverse, abs=0.001)
    assert gpu.fp8_flops_per_s is not None

    def error(power: float, share: float) -> float:
        rows = np.array([m for split, m in layer if split == 1], dtype=float)
        took = np.array([layer[1, int(m)][0] for m in rows])
        reading = weights[0] / gpu.bandwidth_bytes_per_s * inverse
        computing = 2 * weights[0] * rows / (gpu.fp8_flops_per_s * share)
        return float(np.abs(np.log(((reading**power + computing**power) ** (1 / power) + fixed_s) / took)).max())

    assert error(profile.roofline_power, 0.6725) <= 0.09
    assert error(50.0, 0.66) > 0.15


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
        elif record.kind != "offline":  # thousands of sequences each; the documentation script replays them
            assert all(np.isfinite(c.predicted) and c.predicted > 0 for c in compare(record)), record.id
    excluded = [record for record in measurements() if record.role == "excluded"]
    assert len(excluded) <= 0.04 * len(measurements())


@pytest.mark.parametrize("profile_id", speed_facts().profile)
def test_every_efficiency_is_a_fact(profile_id: str) -> None:
    known = {record.id.split("/")[0] for record in measurements()}
    for name, fact in profile(profile_id).values.items():
        assert fact.low <= fact.value <= fact.high, name
        assert fact.basis in ("exact", "derived", "measured", "assumed")
        assert fact.source
        assert bool(fact.fitted_on) == (fact.basis == "derived")
        assert set(fact.fitted_on) <= known


@pytest.mark.parametrize("profile_id", speed_facts().profile)
def test_fast_is_faster_than_slow(profile_id: str) -> None:
    record = next(r for r in measurements() if r.profile == profile_id and r.role == "fit")
    values = [
        compared_now(record, engine_profile(profile_id, case))[0].predicted for case in ("slow", "expected", "fast")
    ]
    assert values in (sorted(values), sorted(values, reverse=True))


@pytest.mark.parametrize(
    ("vendor", "version", "expected"),
    [("amd", "0.33.0", "rocm-2026-05"), ("amd", "0.19.1", "rocm-2026-05"), ("nvidia", "0.33.0", "cuda")],
)
def test_the_newest_build_not_newer_than_asked_is_used(vendor: str, version: str, expected: str) -> None:
    assert profile_id_for(vendor, version) == expected


@pytest.mark.parametrize(
    ("architecture", "arithmetic", "expected"),
    [
        ("9.0", "fp8", "cuda-fp8-hopper"),
        ("9.0", "bf16", "cuda-bf16-hopper"),
        ("9.0", "fp4", "cuda"),
        ("10.0", "fp8", "cuda"),
        ("8.0", "bf16", "cuda-ampere"),
        ("8.9", "fp8", "cuda-ada"),
    ],
)
def test_numbers_of_one_architecture_serve_it_alone(architecture: str, arithmetic: str, expected: str) -> None:
    assert profile_id_for("nvidia", "0.33.0", architecture=architecture, arithmetic=arithmetic) == expected


def test_no_two_measurements_have_one_id() -> None:
    assert len(BY_ID) == len(measurements())
