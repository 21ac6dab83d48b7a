"""Electricity: power between idle and the board's limit, and joules that follow the load."""

from __future__ import annotations

import pytest

from hw_specs import list_gpus, parse_gpus
from planner import PlanRequest, Workload, plan_for_workload
from planner.errors import InvalidRequest
from planner.facts.energy import energy_facts
from planner.speed.answer import Energy


def asked(concurrency: int, **more: float) -> Energy:
    request = PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=8)
    load = Workload(prompt_tokens=512, output_tokens=128, concurrency=concurrency, num_requests=4 * concurrency)
    answer = plan_for_workload(request, load, **more)  # type: ignore[arg-type]
    assert answer.speed is not None and answer.speed.energy is not None
    return answer.speed.energy


def test_power_stays_between_idle_and_the_limit() -> None:
    facts = energy_facts()
    for concurrency in (1, 64):
        power = asked(concurrency).gpu_watts
        assert 8 * 700 * facts.share["idle"].low < power.low <= power.expected <= power.high <= 8 * 700


def test_many_requests_share_what_a_step_costs() -> None:
    few, many = asked(1), asked(64)
    assert many.joules_per_output_token.expected < 0.2 * few.joules_per_output_token.expected
    per_kwh = many.output_tokens_per_kwh
    assert per_kwh.expected == pytest.approx(3.6e6 / many.joules_per_output_token.expected)
    assert per_kwh.low < per_kwh.expected < per_kwh.high


def test_a_price_makes_a_cost() -> None:
    priced = asked(8, price_per_kwh=0.25)
    assert priced.per_million_output_tokens is not None
    joules = priced.joules_per_output_token.expected
    assert priced.per_million_output_tokens.expected == pytest.approx(joules * 1e6 / 3.6e6 * 0.25)
    assert asked(8).per_million_output_tokens is None
    with pytest.raises(InvalidRequest, match="price_per_kwh"):
        asked(8, price_per_kwh=0.0)


def test_limits_are_of_gpus_that_the_catalogue_knows() -> None:
    listed = energy_facts().board.watts
    assert set(listed) <= {spec.id for spec in list_gpus()}
    assert {"a100-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "mi300x", "mi325x", "mi355x", "l40s"} <= set(listed)
