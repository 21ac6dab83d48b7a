"""The tables of ``docs/explanation/speed.md``: errors by record, by group and by half; it writes no file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

from planner.facts.speed import speed_facts
from planner.speed.measurement import Measurement, measured_speed
from planner.speed.profile import profile
from scripts.fit_speed import KINDS, SETUP, is_near, kind_of
from scripts.speed_replay import Comparison, compare, is_older, measurements, taught

GROUPS = Path(__file__).with_name("speed_groups.toml")
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
    named = tomllib.loads(GROUPS.read_text(encoding="utf-8"))
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


def as_asked(record: Measurement, found: dict[str, tuple[Comparison, ...]]) -> tuple[Comparison, ...]:
    """The record's figures for somebody who asks with the means of its lengths alone."""
    if record.length_distribution == "uniform":
        return found[record.id]
    return compare(replace(record, length_distribution="uniform"))


def halves(found: dict[str, tuple[Comparison, ...]]) -> str:
    asked = {record.id: as_asked(record, found) for record in strangers()}
    rows = []
    for half in ("build", "judge"):
        for older, age in ((False, "planned for"), (True, "older")):
            for figure in (name for names in KINDS.values() for name in names):
                mine = [r for r in strangers() if r.half == half and is_older(r) == older and figure in r.result]
                if not mine:
                    continue
                before = [abs(r.predicted_before[figure] / r.result[figure] - 1) for r in mine if r.predicted_before]
                alone, wide = (
                    [one for r in mine for one in way[r.id] if one.figure == figure] for way in (asked, found)
                )
                errors = [before, *([abs(one.error) for one in way] for way in (alone, wide))]
                shown = (f"{median(e):.0%} / {max(e):.0%}" if e else "–" for e in errors)
                held = f"{sum(is_inside(one) for one in wide)} of {len(mine)}"
                rows.append([half, age, LABELS[figure], str(len(mine)), *shown, held])
    ways = ["now, means alone", "now, lengths as wide"]
    return table(["half", "releases", "figure", "runs", "before", *ways, "inside the bounds"], rows, "lllrrrrr")


def is_inside(one: Comparison) -> bool:
    """Whether a measured figure lies inside the bounds that a question like it would be answered with."""
    near = tomllib.loads(SETUP.read_text(encoding="utf-8"))["near"]
    name = "near" if is_near(one.measurement, measurements(), near) else "far"
    kind = kind_of(one.figure)
    assert kind
    bounds = speed_facts().territory[name][kind]
    ratio = one.predicted / one.measured if one.figure == "latency_s" else one.measured / one.predicted
    return 1 / bounds.below <= ratio <= bounds.above


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
    errors: dict[tuple[str, str], list[tuple[float, float]]] = {}
    others = measured_speed().other_forecasts
    for other in others:
        for one in found[other.record]:
            if theirs := other.result.get(one.figure):
                pair = (theirs / one.measured - 1, one.error)
                who = "our machines" if one.measurement.basis else "public"
                errors.setdefault((who, LABELS[one.figure]), []).append(pair)
                if who == "public":
                    values = [number(one.measured), number(theirs), f"{pair[0]:+.0%}"]
                    values += [number(one.predicted), f"{pair[1]:+.0%}"]
                    rows.append([f"{other.record}: {setup(one.measurement)}", LABELS[one.figure], *values])
    summary = []
    for (who, figure), pairs in sorted(errors.items()):
        sides = [[abs(error) for error in side] for side in zip(*pairs, strict=True)]
        nearer = sum(theirs < ours for theirs, ours in zip(*sides, strict=True))
        summary.append([who, figure, str(len(pairs)), *(f"{median(side):.0%}" for side in sides), str(nearer)])
    return "\n\n".join(
        (
            f"{others[0].tool}, median errors and how often its figure was the nearer one:",
            table(["runs of", "figure", "number", "theirs", "ours", "theirs nearer"], summary, "llrrrr"),
            "The public ones:",
            table(["run", "figure", "measured", "theirs", "error", "ours", "error"], rows, "llrrrrr"),
        )
    )
