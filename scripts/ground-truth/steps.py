"""Turns the steps that `m35_watch.py` noted of loaded servers into a data file.

    python steps.py FOLDER --results RESULTS.jsonl --data …/steps-….json --date DATE --gpu h200-sxm \
        --vllm-version 0.33.0 --source TEXT --note TEXT

FOLDER holds ``NAME.steps.jsonl``. A step lasts from the later of its scheduling and the results before it to its own
results. ``decode_only`` are steps without a prefill, by the loads' requests in flight; ``full_prefill`` steps of the
whole token budget; ``host`` least squares of the scheduler's two parts over requests in the step.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

FULL_SHARE = 0.98
NEAR = 0.9
"""A step with this share of a load's requests in flight counts for that load."""
FEWEST = 20
BOUNDS = (0, 8, 24, 64, 160, 400, 10_000)


class Step(NamedTuple):
    """One step of the engine, seconds."""

    lasted_s: float
    schedule_s: float
    update_s: float
    tokens: int
    requests: int
    prefill_tokens: int


def steps(lines: list[list[Any]]) -> list[Step]:
    """Return the steps in order; results come in the order of scheduling."""
    waiting: deque[list[Any]] = deque()
    found, before_s = [], 0.0
    for line in lines:
        if line[0] == "s":
            waiting.append(line)
        elif waiting:
            _, began_s, schedule_s, tokens, requests, prefill, *_ = waiting.popleft()
            found.append(Step(line[1] - max(began_s, before_s), schedule_s, line[2], tokens, requests, prefill))
            before_s = line[1]
    return found


def line(values: list[tuple[int, float]]) -> tuple[float, float]:
    """Return offset and slope of the least squares."""
    mean_x, mean_y = fmean(x for x, _ in values), fmean(y for _, y in values)
    spread = sum((x - mean_x) ** 2 for x, _ in values)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in values) / spread if spread else 0.0
    return mean_y - slope * mean_x, slope


def server(name: str, every: list[Step], *, budget: int, at_once: list[int]) -> dict[str, Any]:
    """Return what one server's steps took."""
    decoding = [one for one in every if not one.prefill_tokens]
    full = [one for one in every if one.prefill_tokens and one.tokens >= FULL_SHARE * budget]
    found: dict[str, Any] = {"startup": name, "decode_only": [], "full_prefill": []}
    for most in sorted(set(at_once)):
        alike = [one for one in decoding if NEAR * most <= one.requests <= most]
        if len(alike) >= FEWEST:
            found["decode_only"].append(
                {
                    "requests": round(fmean(one.requests for one in alike), 1),
                    "steps": len(alike),
                    "median_s": round(median(one.lasted_s for one in alike), 6),
                    "schedule_s": round(median(one.schedule_s for one in alike), 6),
                    "update_s": round(median(one.update_s for one in alike), 6),
                }
            )
    for low, high in pairwise(BOUNDS):
        alike = [one for one in full if low < one.requests <= high]
        if alike:
            found["full_prefill"].append(
                {
                    "requests": round(fmean(one.requests for one in alike), 1),
                    "prefill_tokens": round(fmean(one.prefill_tokens for one in alike)),
                    "steps": len(alike),
                    "median_s": round(median(one.lasted_s for one in alike), 6),
                }
            )
    if decoding:
        schedule = line([(one.requests, one.schedule_s) for one in decoding])
        update = line([(one.requests, one.update_s) for one in decoding])
        names = ("schedule_s", "schedule_per_request_s", "update_s", "update_per_request_s")
        found["host"] = {key: float(f"{value:.3g}") for key, value in zip(names, (*schedule, *update), strict=True)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    for name in ("date", "gpu", "vllm-version", "source", "note"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    servers = []
    for text in args.results.read_text(encoding="utf-8").splitlines():
        record = json.loads(text)
        file = args.folder / f"{record['name']}.steps.jsonl"
        if record["status"] != "ready" or not file.exists():
            continue
        flags = record["flags"]
        option = "--max-num-batched-tokens"
        budget = int(flags[flags.index(option) + 1]) if option in flags else 8192
        every = steps([json.loads(one) for one in file.read_text(encoding="utf-8").splitlines()])
        loads = [one.get("concurrency", one["prompts"]) for one in record["bench"] if "agents" not in one]
        servers.append(server(record["name"], every, budget=budget, at_once=loads))
    document = {
        "source": args.source,
        "date": args.date,
        "vllm_version": args.vllm_version,
        "gpu": args.gpu,
        "note": args.note,
        "servers": servers,
    }
    args.data.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
