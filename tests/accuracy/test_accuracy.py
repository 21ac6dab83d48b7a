"""The planner against published start-ups: goals, ratchet, and coefficients that a fit gives again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw_specs.units import GIB
from planner.accuracy import PLOT, Report, evaluate, goals, own_groups, render_page, render_plot
from planner.accuracy.data import startups
from planner.accuracy.evaluate import budgets
from planner.accuracy.fit import fit_outside_torch
from planner.accuracy.own import own_comparisons, own_rows
from planner.accuracy.rows import NEWEST, OWN, SEVERAL, OwnStart, single_readings
from planner.cli import main
from planner.facts import load

ROOT = Path(__file__).parents[2]
RATCHET = Path(__file__).parent / "ratchet.json"
SLACK = 0.0005
"""Rounding of the ratchet's figures."""


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate()


def test_every_goal_is_met(report: Report) -> None:
    assert [what for what, _, _, met in goals(report) if not met] == []


def test_figures_do_not_get_worse(report: Report) -> None:
    ratchet = json.loads(RATCHET.read_text(encoding="utf-8"))
    now = {f"{group.name}: {group.component}": group for group in report.groups}
    assert set(now) == set(ratchet), "the ratchet names every group; add or remove lines by hand"
    for name, allowed in ratchet.items():
        assert now[name].mean_absolute_gib <= allowed["mean_absolute_gib"] + SLACK, name
        assert now[name].safe_percent >= allowed["safe_percent"] - 0.5, name


def test_a_better_figure_moves_the_ratchet(report: Report) -> None:
    ratchet = json.loads(RATCHET.read_text(encoding="utf-8"))
    for group in report.groups:
        allowed = ratchet[f"{group.name}: {group.component}"]
        better = allowed["mean_absolute_gib"] - group.mean_absolute_gib
        assert better <= 0.01, (
            f"{group.name}: {group.component} is {better:.3f} GiB better: tighten tests/accuracy/ratchet.json"
        )


def test_the_page_is_current(report: Report) -> None:
    page = (ROOT / "docs/explanation/accuracy.md").read_text(encoding="utf-8")
    assert page == render_page(report, evaluate(left_out="family")), "run m35-plan accuracy --write docs/explanation"
    plot = (ROOT / "docs/explanation" / PLOT).read_text(encoding="utf-8")
    assert plot == render_plot(report), "run m35-plan accuracy --write docs/explanation"


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_the_shipped_term_outside_torch_is_the_fit(tp: int) -> None:
    term = fit_outside_torch(startups(), tensor_parallel_size=tp)
    assert term is not None
    row = next(
        row
        for row in load("overheads.toml")["outside_torch"]
        if row.get("until") and row.get("min_tp", 1) <= tp <= row["max_tp"]
    )
    # What grows outside torch while a start compiles holds the fused all-reduce's workspace, a line of its own.
    start = next(one for one in startups() if one.settings.layout.split == (tp, 1))
    workspace = budgets(start)[0].terms["fused_all_reduce"].bytes / GIB
    for name in ("expected_gib", "low_gib", "high_gib"):
        assert row[name] == pytest.approx(max(0, getattr(term, name) - workspace), abs=0.005), name


def test_the_fit_never_sees_the_model_it_is_judged_on() -> None:
    everything = startups()
    with_granite = fit_outside_torch(everything, tensor_parallel_size=1)
    without = fit_outside_torch([one for one in everything if one.family != "Granite"], tensor_parallel_size=1)
    assert with_granite is not None and without is not None
    assert with_granite.high_gib - without.high_gib == pytest.approx(0.19, abs=0.02)


def test_carried_over_bounds_are_wider_than_measured_ones() -> None:
    for table in ("captured", "estimated"):
        rows = [row for row in load("graphs.toml")[table] if row["vendor"] == "nvidia"]
        measured = [row["high_gib"] - row["low_gib"] for row in rows if row["basis"] == "measured"]
        carried = [row["high_gib"] - row["low_gib"] for row in rows if row["basis"] == "assumed"]
        assert max(measured) < min(carried), table
    rows = [
        *load("overheads.toml")["outside_torch"],
        *load("graphs.toml")["captured"],
        *load("graphs.toml")["estimated"],
    ]
    assert all(row.get("until") for row in rows if row["basis"] == "measured" and row["vendor"] == "nvidia")


def test_single_readings_agree_to_the_printed_digit(report: Report) -> None:
    assert len(report.readings) == len(single_readings().readings)
    for one in report.readings:
        if one.weights_gib is not None:
            assert one.weights_gib == pytest.approx(one.reading.weights_gib, rel=0.001), one.reading.model
        if one.kv_gib is not None and one.reading.kv_available_gib is not None:
            assert one.kv_gib == pytest.approx(one.reading.kv_available_gib, abs=0.012), one.reading.model


def test_reported_starts_and_failures_are_foretold(report: Report) -> None:
    assert report.starts and all((one.verdict != "does-not-fit") == one.start.started for one in report.starts)


def test_every_row_has_a_public_source() -> None:
    for one in single_readings().readings:
        assert one.source
    for one in startups():
        assert one.source.startswith("github.com/")


def test_the_command_writes_table_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "--write", str(tmp_path / "new")]) == 0
    assert "KV pool" in capsys.readouterr().out
    assert (tmp_path / "new" / "accuracy.md").is_file() and (tmp_path / "new" / PLOT).is_file()
    assert main(["accuracy", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert all(goal["met"] for goal in document["goals"])
    assert {"startup", "component", "measured_gib", "source"} <= set(document["comparisons"][0])


def test_our_own_starts_are_all_inside_the_careful_bounds() -> None:
    """Starts of this architecture on one to four GPUs, two releases; a group of them took no part in any fit."""
    groups = {(group.name, group.component): group for group in own_groups()}
    assert all(group.safe_percent == 100 for group in groups.values() if group.component != "weights")
    counts = {name: group.count for (name, component), group in groups.items() if component == "kv_pool"}
    assert sum(counts.values()) >= 80 and len(counts) == 8
    for name in counts:
        assert abs(groups[name, "weights"].worst_percent) <= 1.7, "a draft's input tensor stands among the buffers"
        assert groups[name, "kv_pool"].mean_absolute_percent <= (1.1 if name.startswith("later") else 0.25)
        assert groups[name, "graphs"].mean_absolute_percent <= 8


OUR_STARTS = [(name, row) for name in (OWN, SEVERAL, *NEWEST) for row in own_rows(name)]


@pytest.mark.parametrize(("source", "start"), OUR_STARTS, ids=[row.name for _, row in OUR_STARTS])
def test_measured_pools_lie_between_their_bounds(source: str, start: OwnStart) -> None:
    if start.model_runner == 1 or start.status != "ready":
        return
    for one in own_comparisons(source, start):
        if one.component != "weights":
            assert one.low_gib - 0.005 <= one.measured_gib <= one.high_gib + 0.005, (one.startup.source, one.component)
