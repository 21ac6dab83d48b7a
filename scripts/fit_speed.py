"""Fit the speed model's efficiencies on the public measurements and write ``planner/facts/speed.toml``.

Each engine build is fitted on the records whose role is ``fit`` by damped least squares on the logarithm of
predicted over measured, with a loss that grows linearly beyond 10 % so that one odd figure cannot bend the rest.
Bounds are the range over fits that each leave one source out. The table of the 128B model is judged by fits that
never saw the size they predict; those predictions are written to the file as they are.

    python scripts/fit_speed.py            # about two minutes; rewrites the file
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from planner.speed.measurement import Measurement
from planner.speed.profile import PARAMETERS, EngineProfile
from scripts.speed_replay import figures, is_older, measurements, taught, teaches

ROOT = Path(__file__).resolve().parents[1]
SETUP = ROOT / "scripts" / "fit_speed.toml"
TARGET = ROOT / "planner" / "facts" / "speed.toml"
SCALE = 0.1
"""Residual, in log units, beyond which a figure pulls linearly instead of quadratically."""
FITTED = "fitted; bounds: range over fits without one source, at least 5 %"
QUALITY_WEIGHT = {"A": 1.0, "B": 0.5, "C": 0.25}
NARROWEST = 0.05
NARROWEST_FACTOR = 1.1
NO_FAST_LINKS = ("rtx-pro-6000-server", "a100-pcie", "l40s")
TABLE = ("T1-01", "T1-02", "T1-03", "T1-04")
OWN = "H200/"
"""Runs of this project: several sizes and loads, so each is predicted without its size and without its load."""
KINDS = {
    "rate": ("output_tokens_per_s", "total_tokens_per_s", "latency_s"),
    "tpot": ("tpot_ms", "itl_ms", "itl_p50_ms"),
    "ttft": ("ttft_ms", "ttft_p50_ms", "ttft_p99_ms"),
}
WIDEST_NEAR = 1.35
"""Near means this; what it holds is counted, and far is never narrower."""
HOLDS = 95
"""Per cent of the figures that no fit saw which the bounds must hold."""


def source_of(record: Measurement) -> str:
    """The record without the batch size that its page lists beside others."""
    return record.id.split("/")[0]


def group_of(record: Measurement) -> str:
    """What is left out together: a source, or one model size of a source with several."""
    return record.group or source_of(record)


def load_of(record: Measurement) -> str:
    assert record.workload is not None
    return f"{record.workload.concurrency} in flight"


def residuals(records: Sequence[Measurement], profile: EngineProfile) -> np.ndarray:
    out = []
    for record in records:
        predicted = figures(record, profile)
        weight = QUALITY_WEIGHT[record.quality]
        out += [weight * np.log(predicted[name] / record.result[name]) for name in taught(record)]
    raw = np.array(out)
    return raw / (1 + (raw / SCALE) ** 2) ** 0.25


def with_values(start: EngineProfile, names: Sequence[str], logs: np.ndarray) -> EngineProfile:
    return replace(start, **{name: float(np.exp(value)) for name, value in zip(names, logs, strict=True)})


def fit(
    records: Sequence[Measurement], start: EngineProfile, names: Sequence[str], *, rounds: int = 12
) -> EngineProfile:
    """Return `start` with `names` fitted: damped Gauss-Newton in the logarithm of each number."""
    logs = np.log([getattr(start, name) for name in names])
    damping = 1e-3
    current = residuals(records, with_values(start, names, logs))
    for _ in range(rounds):
        nudge = 1e-3
        jacobian = np.array(
            [
                (residuals(records, with_values(start, names, logs + nudge * row)) - current) / nudge
                for row in np.eye(len(names))
            ]
        ).T
        gain = 0.0
        for _ in range(6):
            normal = jacobian.T @ jacobian + damping * np.eye(len(names))
            move = np.clip(np.linalg.solve(normal, -jacobian.T @ current), -0.5, 0.5)
            trial = residuals(records, with_values(start, names, logs + move))
            if trial @ trial < current @ current:
                gain = current @ current - trial @ trial
                logs, current, damping = logs + move, trial, damping / 3
                break
            damping *= 4
        if gain < 1e-6:
            break
    return with_values(start, names, logs)


def fit_without(
    train: Sequence[Measurement], hidden: Sequence[Measurement], build: dict[str, Any], best: EngineProfile
) -> EngineProfile:
    """Fit on `train` less `hidden`; a number that only a hidden run tells stays where the set-up starts it."""
    seen = [record for record in train if record not in hidden]
    ids = {record.id for record in seen}
    blind = [name for run, told in build.get("told_by", {}).items() if run not in ids for name in told]
    start = replace(best, **{name: float(build["values"][name]["value"]) for name in blind})
    return fit(seen, start, [name for name in build["fitted"] if name not in blind])


def kind_of(figure: str) -> str | None:
    """Which bounds a figure gets."""
    return next((kind for kind, names in KINDS.items() if figure in names), None)


def is_near(record: Measurement, records: Sequence[Measurement], near: dict[str, Any]) -> bool:
    """Whether a question like this record would be called near; planner/speed/territory.py says the same of plans."""
    load = record.workload
    assert load is not None
    in_flight = min(load.concurrency or load.total_requests, load.total_requests)
    return (
        any(r.role == "fit" and (r.profile, r.gpu) == (record.profile, record.gpu) for r in records)
        and (load.request_rate is not None or in_flight <= near["in_flight"]["value"])
        and not is_older(record)
        and load.prompt_tokens <= near["prompt_tokens"]["value"]
        and record.pipeline_parallel_size == 1
        and not record.speculative_tokens
        and (record.tensor_parallel_size == 1 or record.gpu not in NO_FAST_LINKS)
    )


def spellings(record: Measurement) -> list[Measurement]:
    """The record as measured, and where its lengths vary widely, also as somebody asks who knows only their means."""
    load = record.workload
    assert load is not None
    if load.length_distribution == "uniform":
        return [record]
    return [record, replace(record, length_distribution="uniform")]


def territory(name: str, kind: str, below: float, above: float, source: str) -> list[str]:
    return [
        f"[territory.{name}.{kind}]", f"below = {below:.3f}", f"above = {above:.3f}", f"source = {quoted(source)}", "",
    ]  # fmt: skip


def start_profile(name: str, setup: dict[str, Any]) -> EngineProfile:
    values = {key: float(entry["value"]) for key, entry in setup["values"].items()}
    table = setup.get("row_excess")
    excess = tuple(zip(table["rows"], table["shares"], strict=True)) if table else ()
    return EngineProfile(
        id=name, vendor=setup["vendor"], async_scheduling=setup["async_scheduling"], row_excess=excess, **values
    )


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def number(value: float) -> str:
    return f"{value:.4g}" if value >= 1e-4 or value == 0 else f"{value:.4e}"


def write(lines: list[str]) -> None:
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    setup = tomllib.loads(SETUP.read_text(encoding="utf-8"))
    records = [record for record in measurements() if record.workload is not None]
    lines = [
        "# How much of the hardware an engine build reaches. Written by scripts/fit_speed.py from measured_speed.json",
        "# and scripts/fit_speed.toml: edit those, not this file. Shares are of the vendor's peak.",
        "",
    ]
    held_out: list[tuple[str, str, float, float]] = []
    left_out: list[tuple[str, str, str, float, float]] = []
    unseen: dict[tuple[str, str], list[float]] = {}
    for name, build in setup["profile"].items():
        start = start_profile(name, build)
        mine = [record for record in records if record.profile == name]
        train = [record for record in records if teaches(record, name)]
        names = build["fitted"]
        best = fit(train, start, names)
        sources = sorted({source_of(record) for record in train})
        others = {
            group: fit_without(train, [record for record in train if group_of(record) == group], build, best)
            for group in sorted({group_of(record) for record in train})
        }
        print(name, {key: number(getattr(best, key)) for key in names})
        for record in train:
            if record.id in TABLE:
                for figure, value in figures(record, others[record.id]).items():
                    held_out.append((record.id, figure, record.result[figure], value))
        own = [record for record in train if record.id.startswith(OWN)]
        by_load = {
            load: fit_without(train, [record for record in own if load_of(record) == load], build, best)
            for load in sorted(set(map(load_of, own)))
        }
        for record in own:
            group, load = group_of(record), load_of(record)
            for without, seen_by in ((group, others[group]), (load, by_load[load])):
                for figure, value in figures(record, seen_by).items():
                    left_out.append((record.id, without, figure, record.result[figure], value))
        for record in mine:
            if record.id in TABLE:
                continue
            judged_by = others[group_of(record)] if record.role == "fit" else best
            where = "near" if is_near(record, records, setup["near"]) else "far"
            for as_asked in spellings(record):
                for figure, value in figures(as_asked, judged_by).items():
                    if (kind := kind_of(figure)) and record.half != "judge" and not record.basis:
                        ratio = record.result[figure] / value
                        unseen.setdefault((where, kind), []).append(1 / ratio if figure == "latency_s" else ratio)
        lines += [
            f"[profile.{name}]", f"vendor = {quoted(build['vendor'])}",
            *(f"{key} = {quoted(build[key])}" for key in ("architecture", "arithmetic") if key in build),
            f"since = {quoted(build['since'])}",
            f"until = {quoted(build['until'])}",
            f"async_scheduling = {str(build['async_scheduling']).lower()}", f"about = {quoted(build['about'])}", "",
            f"[profile.{name}.values]",
        ]  # fmt: skip
        if table := build.get("row_excess"):
            lines[-1:-1] = [
                f"[profile.{name}.row_excess]", f"rows = {table['rows']}", f"shares = {table['shares']}",
                f"basis = {quoted(table['basis'])}", f"source = {quoted(table['source'])}", "",
            ]  # fmt: skip
        for key in PARAMETERS:
            entry = build["values"][key]
            value = getattr(best, key)
            if key in names:
                seen = [getattr(other, key) for other in others.values()]
                low = min(*seen, value * (1 - NARROWEST))
                high = max(*seen, value * (1 + NARROWEST))
                if "share" in entry.get("kind", ""):
                    high = min(high, 1.0)
                fact = f'basis = "derived", source = {quoted(FITTED)}, fitted_on = [{", ".join(map(quoted, sources))}]'
            else:
                low, high = entry["low"], entry["high"]
                fact = f"basis = {quoted(entry['basis'])}, source = {quoted(entry['source'])}"
            lines.append(f"{key} = {{ value = {number(value)}, low = {number(low)}, high = {number(high)}, {fact} }}")
        lines.append("")
    lines += ["# Predictions of the 128B model's table by fits that did not see the size they predict.", ""]
    for record_id, figure, measured, predicted in held_out:
        lines += [
            "[[held_out]]", f"id = {quoted(record_id)}", f"figure = {quoted(figure)}",
            f"measured = {measured}", f"predicted = {predicted:.6g}", "",
        ]  # fmt: skip
    lines += ["# Predictions of this project's own runs by fits that saw no run of that size, or of that load.", ""]
    for record_id, without, figure, measured, predicted in left_out:
        lines += [
            "[[left_out]]", f"id = {quoted(record_id)}", f"without = {quoted(without)}", f"figure = {quoted(figure)}",
            f"measured = {measured}", f"predicted = {predicted:.6g}", "",
        ]  # fmt: skip
    lines += [
        "# How far a forecast may be off, as a factor on the expected value: from errors the fits did not see.",
        "",
    ]
    whole = [record.id for record in records if record.id.startswith(OWN) and record.model == "mistral-medium-3.5-128b"]
    tables = held_out + [(i, figure, m, p) for i, _, figure, m, p in left_out if i in whole]
    for kind, names in KINDS.items():
        worst = max(float(np.exp(abs(np.log(m / p)))) for _, figure, m, p in tables if figure in names)
        factor = max(worst, NARROWEST_FACTOR)
        lines += territory(
            "measured", kind, factor, factor,
            f"largest error of this model's tables, the size or the load left out, {worst - 1:.1%}; at least 10 %",
        )  # fmt: skip
    for (where, kind), ratios in sorted(unseen.items(), reverse=True):
        rest = (100 - HOLDS) / 2
        below = max(WIDEST_NEAR, 1 / float(np.percentile(ratios, rest)))
        above = max(WIDEST_NEAR, float(np.percentile(ratios, 100 - rest)))
        if where == "near":
            below = above = WIDEST_NEAR
        held = sum(1 / below <= ratio <= above for ratio in ratios)
        lines += territory(
            where, kind, below, above,
            f"holds {held} of {len(ratios)} public figures that no fit saw, the half kept for judging not counted",
        )  # fmt: skip
    lines += ["# Beyond these loads nothing is near.", "[near]"]
    lines += [
        f"{key} = {{ value = {entry['value']}, basis = {quoted(entry['basis'])}, source = {quoted(entry['source'])} }}"
        for key, entry in setup["near"].items()
    ]
    lines.append("")
    lines.append("# Loads inside which the measured tables of the 128B model speak.")
    for name, box in setup["measured_workload"].items():
        lines += [
            f"[measured_workload.{name}]", f"about = {quoted(box['about'])}",
            f"records = [{', '.join(map(quoted, box['records']))}]",
        ]  # fmt: skip
        lines += [
            f"{key} = {{ low = {entry['low']}, high = {entry['high']}, source = {quoted(entry['source'])} }}"
            for key, entry in box.items()
            if isinstance(entry, dict)
        ]
        lines.append("")
    lines.append("# The last cache of each GPU, where its size is known.")
    for name, entry in setup["last_cache"].items():
        lines += [
            f"[last_cache.{name}]", f"bytes = {entry['bytes']}",
            f"gpus = [{', '.join(map(quoted, entry['gpus']))}]",
            f"basis = {quoted(entry['basis'])}", f"source = {quoted(entry['source'])}", "",
        ]  # fmt: skip
    for gpu, entry in setup["borrowed_allreduce"].items():
        lines += [
            f"[borrowed_allreduce.{gpu}]",
            f"lender = {quoted(entry['lender'])}",
            'basis = "assumed"',
            f"source = {quoted(entry['source'])}",
            "",
        ]
    write(lines)
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
