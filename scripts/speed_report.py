"""Write ``docs/explanation/speed.md`` and its plot from the data files; ``--check`` compares instead of writing.

python scripts/speed_report.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts import speed_tables as tables
from scripts.speed_replay import Comparison, compare, measurements
from scripts.speed_tables import OWN, TABLE, role

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "speed.md"
PLOT = ROOT / "docs" / "explanation" / "speed.svg"
TEXT = ROOT / "scripts" / "speed_report.md"


def draw(found: dict[str, tuple[Comparison, ...]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "m35-plan"
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    kinds = (
        ("this model on MI300X", "o", lambda c: c.measurement.id in TABLE),
        (
            "this model, all layers or some, on H200",
            "^",
            lambda c: role(c) == "fit" and c.measurement.id.startswith(OWN),
        ),
        (
            "fitted elsewhere",
            "s",
            lambda c: role(c) == "fit" and c.measurement.id not in TABLE and not c.measurement.id.startswith(OWN),
        ),
        ("not seen by the fit", "x", lambda c: role(c) == "test"),
    )
    comparisons = [c for many in found.values() for c in many if not c.figure.startswith("itl_s")]
    for label, marker, chosen in kinds:
        mine = [c for c in comparisons if chosen(c)]
        axes.plot(
            [c.measured for c in mine],
            [c.predicted / c.measured for c in mine],
            marker,
            markersize=4,
            label=label,
            linestyle="none",
        )
    for level, style in ((1.0, "-"), (1.1, ":"), (1 / 1.1, ":")):
        axes.axhline(level, color="grey", linewidth=0.8, linestyle=style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([0.5, 0.7, 0.9, 1.0, 1.1, 1.4, 2.0], labels=["0.5", "0.7", "0.9", "1", "1.1", "1.4", "2"])
    axes.minorticks_off()
    axes.set_xlabel("measured (tok/s, ms or s)")
    axes.set_ylabel("model / measured")
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def page(found: dict[str, tuple[Comparison, ...]]) -> str:
    fitted, unseen = tables.worst(found)
    text = TEXT.read_text(encoding="utf-8")
    for name, value in {
        "WORST_FITTED": f"{fitted:.1%}", "WORST_UNSEEN": f"{unseen:.1%}",
        "THIS_MODEL": tables.this_model(found), "HALVES": tables.halves(found),
        "LOADS": tables.loads(found, "H200-0.33-loads/"), "TWO_GPUS": tables.loads(found, "H200-0.33-load/"),
        "OWN_SUMMARY": tables.own_summary(found), "OWN_RUNS": tables.own_runs(found),
        "GROUPS": tables.groups(found), "OTHERS": tables.others(found), "EXCLUDED": tables.excluded(),
        "EFFICIENCIES": tables.efficiencies(), "TERRITORIES": tables.territories(),
        "ANOTHER_MODEL": tables.another_model(found),
    }.items():  # fmt: skip
        assert "{{" + name + "}}" in text, name
        text = text.replace("{{" + name + "}}", value)
    return text


def main(*, check: bool) -> int:
    found = {record.id: compare(record) for record in measurements() if record.workload is not None}
    text = page(found)
    if check:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.name} is not current: run python scripts/speed_report.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    draw(found, PLOT)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is stale, and write nothing")
    sys.exit(main(check=parser.parse_args().check))
