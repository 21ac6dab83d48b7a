"""Write ``docs/explanation/speed.md`` and its plot from the data files; ``--check`` compares instead of writing.

python scripts/speed_report.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

from planner.facts.speed import speed_facts
from planner.speed.measurement import Measurement, measured_speed
from planner.speed.profile import profile
from scripts.speed_replay import Comparison, compare, measurements, taught

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "speed.md"
PLOT = ROOT / "docs" / "explanation" / "speed.svg"
TEXT = ROOT / "scripts" / "speed_report.md"
TABLE = ("T1-01", "T1-02", "T1-03", "T1-04")
OWN = "H200/"
WHOLE = "H200/L88"
LABELS = {
    "output_tokens_per_s": "tok/s", "total_tokens_per_s": "tok/s, in and out", "ttft_ms": "TTFT, ms",
    "ttft_p50_ms": "median TTFT, ms",
    "tpot_ms": "TPOT, ms",
    "itl_ms": "gap, ms", "itl_p50_ms": "median gap, ms",
    "latency_s": "run, s", "ttft_p99_ms": "TTFT p99, ms", "itl_intercept_ms": "decode step, ms",
    "itl_slope_ms_per_token": "ms per context token",
}  # fmt: skip


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(head: list[str], rows: Iterable[list[str]], right: str = "") -> str:
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---:" if c == "r" else "---" for c in right.ljust(len(head), "l")) + "|",
    ]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def this_model(found: dict[str, tuple[Comparison, ...]]) -> str:
    held = {(row.id, row.figure): row.predicted for row in speed_facts().held_out}
    rows = []
    for record_id in TABLE:
        for one in found[record_id]:
            unseen = held[record_id, one.figure] / one.measured - 1
            rows.append(
                [
                    f"TP{one.measurement.tensor_parallel_size}", LABELS[one.figure], number(one.measured),
                    number(one.predicted), f"{one.error:+.1%}", f"{unseen:+.1%}",
                ]
            )  # fmt: skip
    return table(["", "figure", "measured", "fitted", "error", "error when this size was left out"], rows, "llrrrr")


def worst(found: dict[str, tuple[Comparison, ...]]) -> tuple[float, float]:
    held = speed_facts().held_out
    return (
        max(abs(one.error) for record_id in TABLE for one in found[record_id]),
        max(abs(row.predicted / row.measured - 1) for row in held),
    )


def own_runs(found: dict[str, tuple[Comparison, ...]]) -> str:
    unseen: dict[tuple[str, str], dict[str, float]] = {}
    for row in speed_facts().left_out:
        fold = "load" if row.without.endswith("in flight") else "size"
        unseen.setdefault((row.id, row.figure), {})[fold] = row.predicted
    rows = []
    for record in measurements():
        if not record.id.startswith(OWN):
            continue
        for one in found[record.id]:
            left = unseen.get((record.id, one.figure), {})
            used = {"fit": "", "test": " (not fitted)"}[role(one)]
            rows.append(
                [
                    record.id.removeprefix(OWN), LABELS[one.figure] + used, number(one.measured),
                    f"{record.predicted_before[one.figure] / one.measured - 1:+.1%}", f"{one.error:+.1%}",
                    *(f"{left[fold] / one.measured - 1:+.1%}" if fold in left else "–" for fold in ("size", "load")),
                ]
            )  # fmt: skip
    return table(
        ["run", "figure", "measured", "before", "fitted", "its size left out", "its load left out"], rows, "llrrrrr"
    )


def own_summary(found: dict[str, tuple[Comparison, ...]]) -> str:
    rows = speed_facts().left_out
    lines = []
    for label, chosen in (("all 88 layers", True), ("8, 24 and 44 layers", False)):
        for figure in ("output_tokens_per_s", "ttft_ms", "tpot_ms", "itl_p50_ms"):
            mine = [
                c for i, many in found.items() for c in many
                if i.startswith(OWN) and i.startswith(WHOLE) == chosen and c.figure == figure and role(c) == "fit"
            ]  # fmt: skip
            names = {c.measurement.id for c in mine}
            before = [abs(c.measurement.predicted_before[figure] / c.measured - 1) for c in mine]
            folds = [
                [
                    abs(row.predicted / row.measured - 1) for row in rows
                    if row.id in names and row.figure == figure and row.without.endswith("in flight") == load
                ]
                for load in (False, True)
            ]  # fmt: skip
            errors = (before, [abs(c.error) for c in mine], *folds)
            lines.append([label, LABELS[figure], str(len(mine)), *(f"{median(e):.1%} / {max(e):.1%}" for e in errors)])
    return table(
        ["model", "figure", "runs", "before", "fitted", "its size left out", "its load left out"], lines, "llrrrrr"
    )


def setup(record: Measurement) -> str:
    load = record.workload
    assert load is not None
    size = f"TP{record.tensor_parallel_size}" + (
        f" PP{record.pipeline_parallel_size}" if record.pipeline_parallel_size > 1 else ""
    )
    many = f"{load.concurrency} in flight" if load.concurrency else f"{load.total_requests} at once"
    lengths = f"{load.prompt_tokens}/{load.output_tokens}"
    if record.workload is not None and load.request_rate:
        many = f"{load.request_rate:g} a second"
    return f"{record.model} on {record.gpu_count} x {record.gpu}, {size}; {lengths}, {many}"


def role(one: Comparison) -> str:
    """What this figure was used for; a fitted record may hold figures that were only compared."""
    return one.measurement.role if one.figure in taught(one.measurement) else "test"


def source(record: Measurement) -> str:
    url = record.source.split(" ")[0]
    return f"[{record.id}]({url})" if url.startswith("http") else f"{record.id}: {record.source}"


def others(found: dict[str, tuple[Comparison, ...]]) -> str:
    rows = []
    for record in measurements():
        if record.id in TABLE or record.id.startswith(OWN) or record.workload is None:
            continue
        missing = ", ".join(sorted(record.unstated))
        for one in found[record.id]:
            rows.append(
                [
                    source(record), setup(record), role(one), LABELS[one.figure], number(one.measured),
                    number(one.predicted), f"{one.error:+.0%}", missing,
                ]
            )  # fmt: skip
    return table(
        ["source", "run", "used to", "figure", "measured", "model", "error", "not said by the source"], rows, "llllrrrl"
    )


def groups(found: dict[str, tuple[Comparison, ...]]) -> str:
    offline = [f"T3-0{i}" for i in range(1, 9)]
    named = {
        "this model, MI300X": TABLE,
        "siblings, same tester, MI300X": ("T2",),
        "70B and 405B FP8, tuned container of 2025, latency": ("T3-09", "T3-10", "T3-11", "T3-12"),
        "70B and 405B FP8, same container, offline": offline,
        "70B and 405B FP8, engine generation before (V0)": [f"T3-{i}" for i in range(13, 20)],
        "405B on MI325X": ("T4",),
        "8B to 72B BF16 on H100": ("T6", *(f"T7-{i}" for i in range(15, 21))),
        "32B BF16 on RTX PRO 6000 and H200": ("T7-01", "T7-02", "T7-03", "T7-04", "T7-21"),
        "this model, one H200, dummy weights": (WHOLE,),
        "8, 24 and 44 of its layers, one H200": ("H200/L8-", "H200/L24", "H200/L44"),
        "this model on H100": ("T1-10", "T1-11", "H100-TP"),
        "24 layers at 0.33.0, one and two H200": ("H200-0.33/cut24",),
        "8B BF16 at 0.33.0, one H200, 1 to 1,000 at once": ("H200-0.33/dense",),
        "8B BF16 at 0.33.0, one H200 alone, 19 loads": ("H200-0.33-loads",),
        "this model and 24 layers at 0.33.0, two H200, forecast before": ("H200-0.33-tp2/",),
        "FP8 cache, draft, stages, agents and an 8B at TP2, two H200": ("H200-0.33-load/",),
        "The whole model at TP4, drafts, stages and an 8B, four H200": ("H200-0.33-tp4/",),
        "14B and 32B on A100, 100 to 1,000 at once": ("GS-14b-A100", "GS-32b-A100"),
        "14B on an H100 that reads at half its rate, 100 to 1,000 at once": ("GS-14b-H100",),
        "8B on H100 with vLLM 0.9.2, 1,000 at once": ("GSQ",),
        "8B on H100, 8 in flight": ("DG",),
        "8B on H100 with vLLM 0.11, 1 to 8 in flight": ("GSL",),
        "32B on that H100, 100 to 1,000 at once": ("GS-32b-H100",),
        "70B and 405B FP8, containers with 0.9.0.1 and 0.9.1, latency": ("RD90/70b-b", "RD90/405b-b"),
        "70B and 405B FP8, containers with 0.10.1, 0.10.2 and 0.11.1": ("RD101", "RD102", "RD111"),
        "70B and 405B FP8, those with 0.9.0.1 and 0.9.1, offline": (
            "RD91",
            *(f"RD90/{m}b-{i}" for m in (70, 405) for i in ("1", "2", "5")),
        ),
        "7B on A100 over PCIe": ("CN",),
        "7B and 32B on an A100 that reads at two thirds, 1 to 500 at once, 0.10": ("DL",),
        "4B to 72B on H100 with 0.21 and 0.22, chats, 1 to 16 in flight": ("YB",),
        "8B on A100 40 GB, 1 in flight, 0.23": ("JM",),
        "32B on H100 NVL with 0.8.5, 1,000 at once": ("V17788",),
        "32B on H200 and RTX PRO 6000 at the rate they keep up with": ("SY",),
        "70B FP8 on MI300X, 1 in flight": ("RU",),
        "32B FP8 on L40S, 1,000 at once": ("V29217",),
        "70B BF16 on four B200 with 0.9.2, 1 to 10 requests/s": ("V20759", "V20691"),
        "70B AWQ on L40S, RTX PRO 6000, and two stages of RTX 4090 and 5090": ("CR/",),
        "this model, NVFP4, on GB10": ("T1-05", "T1-06", "T1-07", "T1-08"),
    }
    rows = []
    seen: set[str] = set()
    compared = [record for record in measurements() if record.workload is not None]
    for name, ids in named.items():
        mine = [c for record in compared if record.id.startswith(tuple(ids)) for c in found[record.id]]
        seen |= {c.measurement.id for c in mine}
        for kind, wanted in (("speed of decode", False), ("TTFT", True)):
            errors = [abs(c.error) for c in mine if c.figure.startswith("ttft") == wanted]
            if errors:
                roles = sorted({role(c) for c in mine if c.figure.startswith("ttft") == wanted})
                rows.append(
                    [name, "/".join(roles), kind, str(len(errors)), f"{median(errors):.0%}", f"{max(errors):.0%}"]
                )
    missing = {r.id for r in measurements() if r.workload is not None} - seen
    assert not missing, missing
    return table(["group", "used to", "figures", "number", "median error", "largest"], rows, "lllrrr")


def excluded() -> str:
    rows = [
        [source(record), record.reported_model, record.reported, record.reason]
        for record in measurements()
        if record.role == "excluded"
    ]
    return table(["source", "what", "reported", "why it cannot be compared"], rows)


def efficiencies() -> str:
    parts = []
    for profile_id in speed_facts().profile:
        about = speed_facts().profile[profile_id].about
        rows = [
            [
                name, number(fact.value), number(fact.low), number(fact.high), fact.basis,
                f"fitted on {', '.join(fact.fitted_on)}" if fact.fitted_on else fact.source,
            ]
            for name, fact in profile(profile_id).values.items()
        ]  # fmt: skip
        parts.append(
            f"**{profile_id}**: {about}.\n\n"
            + table(["number", "value", "low", "high", "basis", "from"], rows, "lrrrll")
        )
    return "\n\n".join(parts)


def territories() -> str:
    spread = speed_facts().territory
    rows = []
    for name, when in (
        ("measured", "this model, GPU and size, at about the measured load, engine not newer than measured"),
        ("near", "the GPU was measured with this number format, but not this case"),
        ("far", "another GPU, hundreds of requests at once, prompts over 8,192 tokens, or a draft, pipeline, eager, "
                "images, cache, tensor parallelism without fast links"),
    ):  # fmt: skip
        for kind, figure in (("rate", "tokens/s"), ("tpot", "TPOT, ITL"), ("ttft", "TTFT")):
            entry = spread[name][kind]
            rows.append([name, when, figure, f"/ {entry.below:.2f}", f"x {entry.above:.2f}", entry.source])
    return table(["territory", "when", "figure", "low", "high", "from"], rows, "lllrrl")


def strangers() -> list[Measurement]:
    """Public measurements split by source into a half for fitting and a half for judging."""
    return [r for r in measurements() if r.half and not r.basis and r.workload is not None]


def as_asked(record: Measurement) -> Measurement:
    """The record as somebody asks who knows the means of its lengths alone."""
    return replace(record, length_distribution="uniform")


def halves() -> str:
    rows = []
    for half in ("build", "judge"):
        for figure in ("output_tokens_per_s", "total_tokens_per_s", "tpot_ms", "ttft_ms", "ttft_p50_ms"):
            mine = [r for r in strangers() if r.half == half and figure in r.result]
            if not mine:
                continue
            early = [r for r in mine if r.predicted_before]
            before = [abs(r.predicted_before[figure] / r.result[figure] - 1) for r in early]
            ways = [[abs(one.error) for r in mine for one in compare(way(r)) if one.figure == figure]
                    for way in (as_asked, lambda record: record)]  # fmt: skip
            rows.append(
                [half, LABELS[figure], str(len(mine)), *(f"{median(e):.0%} / {max(e):.0%}" for e in (before, *ways))]
            )
    return table(["half", "figure", "runs", "before", "now, means alone", "now, lengths as wide"], rows, "llrrrr")


def loads(found: dict[str, tuple[Comparison, ...]], campaign: str) -> str:
    rows = []
    for used, name in (("fit", "fitted"), ("test", "left out")):
        for figure in ("output_tokens_per_s", "ttft_ms", "ttft_p99_ms", "tpot_ms", "itl_p50_ms"):
            mine = [c for i, many in found.items() if i.startswith(campaign) for c in many if c.figure == figure]
            errors = [abs(c.error) for c in mine if role(c) == used]
            before = [
                abs(c.measurement.predicted_before[figure] / c.measured - 1)
                for c in mine
                if role(c) == used and c.measurement.predicted_before
            ]
            if errors:
                shown = [f"{median(e):.0%} / {max(e):.0%}" if e else "–" for e in (before, errors)]
                rows.append([name, LABELS[figure], str(len(errors)), *shown])
    return table(["half", "figure", "runs", "before", "now"], rows, "llrrr")


def another_model(found: dict[str, tuple[Comparison, ...]]) -> str:
    """Both forecasts of the measured runs that another tool was asked for and no fit here saw."""
    rows = []
    errors: dict[str, list[tuple[float, float]]] = {}
    others = measured_speed().other_forecasts
    for other in others:
        for one in found[other.record]:
            if theirs := other.result.get(one.figure):
                pair = (theirs / one.measured - 1, one.error)
                errors.setdefault(LABELS[one.figure], []).append(pair)
                shown = [
                    number(one.measured),
                    number(theirs),
                    f"{pair[0]:+.0%}",
                    number(one.predicted),
                    f"{pair[1]:+.0%}",
                ]
                rows.append([f"{other.record}: {setup(one.measurement)}", LABELS[one.figure], *shown])
    for figure, pairs in errors.items():
        theirs, ours = (f"{median(map(abs, side)):.0%}" for side in zip(*pairs, strict=True))
        rows.append([f"**median error of {len(pairs)}**", figure, "", "", theirs, "", ours])
    head = ["run", "figure", "measured", "theirs", "error", "ours", "error"]
    return f"{others[0].tool}:\n\n" + table(head, rows, "llrrrrr")


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
    fitted, unseen = worst(found)
    text = TEXT.read_text(encoding="utf-8")
    for name, value in {
        "WORST_FITTED": f"{fitted:.1%}", "WORST_UNSEEN": f"{unseen:.1%}", "THIS_MODEL": this_model(found),
        "HALVES": halves(), "LOADS": loads(found, "H200-0.33-loads/"),
        "TWO_GPUS": loads(found, "H200-0.33-load/"), "OWN_SUMMARY": own_summary(found), "OWN_RUNS": own_runs(found),
        "GROUPS": groups(found), "OTHERS": others(found), "EXCLUDED": excluded(), "EFFICIENCIES": efficiencies(),
        "TERRITORIES": territories(), "ANOTHER_MODEL": another_model(found),
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
