"""The page of errors is what the data files say, and the fit is what its script finds."""

from __future__ import annotations

import runpy
import sys
import tomllib
from pathlib import Path

import pytest

from planner.speed.profile import engine_profile
from scripts.speed_replay import measurements

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["speed_report.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "speed_report.py"), run_name="__main__")
    assert ended.value.code == 0, "run python scripts/speed_report.py"


def test_leaving_a_size_out_gives_the_stored_prediction() -> None:
    """One of the fits behind the held-out table, done again: TP8 never seen."""
    script = runpy.run_path(str(ROOT / "scripts" / "fit_speed.py"))
    setup = tomllib.loads((ROOT / "scripts" / "fit_speed.toml").read_text())["profile"]["rocm-2026-05"]
    seen = [r for r in measurements() if r.profile == "rocm-2026-05" and r.role == "fit" and r.id != "T1-04"]
    fitted = script["fit"](seen, engine_profile("rocm-2026-05"), setup["fitted"], rounds=4)
    (left_out,) = [record for record in measurements() if record.id == "T1-04"]
    stored = {
        row["figure"]: row["predicted"]
        for row in tomllib.loads((ROOT / "planner" / "facts" / "speed.toml").read_text())["held_out"]
        if row["id"] == "T1-04"
    }
    for figure, value in script["figures"](left_out, fitted).items():
        assert value == pytest.approx(stored[figure], rel=0.01)
        assert abs(value / left_out.result[figure] - 1) <= 0.15
