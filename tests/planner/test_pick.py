"""Which way is taken where none meets the targets, and what is said of a rate that is not reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest
from planner.cli.speed_table import brief_speed
from planner.planning.choose_by_speed import plan_for_workload
from planner.planning.pick import nearest
from planner.planning.ways import Comparison
from planner.speed.answer import Targets
from planner.speed.workload import Workload

REQUEST = PlanRequest(gpus=parse_gpus("8xH200"), replicas=1)
LOAD = Workload(prompt_tokens=1024, output_tokens=64, concurrency=32, num_requests=64)


def test_no_way_is_taken_that_another_beats_in_both_missed_targets() -> None:
    targets = Targets(ttft_ms=1, tpot_ms=0.1)
    ways = [way for way in Comparison(REQUEST).ways(LOAD, targets) if way.asked]
    taken = nearest(ways, targets)
    for other in ways:
        assert not (other.figures.ttft_ms < taken.figures.ttft_ms and other.figures.tpot_ms < taken.figures.tpot_ms)
        # What is gained on one target is worth no more than what is lost on the other.
        gained = taken.figures.tpot_ms / other.figures.tpot_ms
        assert gained * taken.figures.ttft_ms / other.figures.ttft_ms <= 1 + 1e-9


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"request_rate": 10.0}, "start and end of the run count"),
        ({"request_rate": 500.0}, "the queue grows"),
        ({"request_rate": 500.0, "concurrency": 4}, "4 at once are the most"),
        ({"concurrency": 4}, ""),
    ],
)
def test_a_rate_that_is_not_made_says_why(changes: dict[str, float], says: str) -> None:
    load = replace(Workload(prompt_tokens=256, output_tokens=256, num_requests=60), **changes)  # type: ignore[arg-type]
    made = plan_for_workload(REQUEST, load)
    assert made.speed is not None
    (_, words), _ = brief_speed(made.speed)
    assert says in words and (" offered" in words) == bool(says)
