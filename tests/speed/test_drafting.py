"""What drafts bring: acceptance as others measured it, and the load from which a draft costs more than it brings."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts
from planner.planning.choose_by_speed import plan_for_workload
from planner.speed.drafting import acceptance_length, draft_costs_more_from, draft_gain, tokens_per_step
from planner.speed.predict import forecast, step_model_for
from planner.speed.workload import Workload


@given(st.integers(1, 8), st.floats(0, 1), st.floats(0.5, 1))
def test_a_step_gives_one_to_all_tokens(tokens: int, first: float, decay: float) -> None:
    assert 1 <= acceptance_length(tokens, first, decay) <= 1 + tokens
    assert acceptance_length(tokens, first, decay) <= acceptance_length(tokens + 1, first, decay)


def test_lengths_of_rows_with_positions_are_met() -> None:
    """From the first position alone; without the decay they come out longer."""
    facts = draft_facts()
    errors, plain = [], []
    for row in facts.measured:
        if len(row.positions) > 1:
            errors.append(acceptance_length(row.tokens, row.positions[0], facts.decay) / row.length - 1)
            plain.append(acceptance_length(row.tokens, row.positions[0]) / row.length - 1)
    assert median(map(abs, errors)) <= 0.03
    assert median(errors) < median(plain)


@pytest.mark.parametrize("method", ["eagle", "eagle3", "mtp"])
def test_measured_lengths_lie_inside_the_bounds(method: str) -> None:
    facts = draft_facts()
    rows = [row for row in facts.measured if row.method == method]
    told = facts.methods[method]
    assert rows
    for row in rows:
        low, high = (acceptance_length(row.tokens, first, facts.decay) for first in (told.low, told.high))
        assert low * 0.95 <= row.length <= high * 1.05, row


def test_the_draft_pays_for_few_and_not_for_many() -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=8, num_speculative_tokens=3))
    model, length = step_model_for(answer), tokens_per_step(3, method="eagle")
    assert draft_gain(model, 1, 1500, length) > 1.3
    turn = draft_costs_more_from(model, 1024, 1500, length)
    assert turn is not None and 16 < turn < 1024
    assert draft_gain(model, turn - 1, 1500, length) >= 1 > draft_gain(model, turn, 1500, length)
    assert draft_costs_more_from(model, 1024, 1500, 4.0) is None


def test_a_known_acceptance_length_takes_the_place_of_the_assumed_one() -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=3))
    load = Workload(concurrency=8, num_requests=32)
    assumed = forecast(answer, load)
    told = assumed.acceptance_length
    assert told is not None
    same = forecast(answer, replace(load, acceptance_length=told.expected))
    better = forecast(answer, replace(load, acceptance_length=3.5))
    assert same.tpot_ms.expected == pytest.approx(assumed.tpot_ms.expected)
    assert same.tpot_ms.high <= assumed.tpot_ms.high
    assert better.tpot_ms.expected < assumed.tpot_ms.expected
    assert better.acceptance_length is not None
    assert (better.acceptance_length.low, better.acceptance_length.high) == (3.5, 3.5)
    assert any("gives 3.50:" in note for note in better.notes)
    without = plan(PlanRequest(gpus=parse_gpus("8xH200")))
    assert forecast(without, replace(load, acceptance_length=3.5)).tpot_ms == forecast(without, load).tpot_ms


@pytest.mark.parametrize("length", [0.9, 130.0, float("nan")])
def test_no_step_gives_less_than_a_token(length: float) -> None:
    with pytest.raises(InvalidRequest, match="acceptance_length"):
        Workload(acceptance_length=length)


def test_a_step_gives_no_more_than_the_draft_and_one() -> None:
    request = PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=2)
    with pytest.raises(InvalidRequest, match="at most 3"):
        plan_for_workload(request, Workload(concurrency=8, acceptance_length=3.5))


def test_the_draft_that_is_compared_unasked_gives_no_more_either() -> None:
    request = PlanRequest(gpus=parse_gpus("8xH200"))
    with pytest.raises(InvalidRequest, match="3 drafted tokens gives at most 4, not 20"):
        plan_for_workload(request, Workload(concurrency=4, acceptance_length=20))
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=3))
    with pytest.raises(InvalidRequest, match="at most 4"):
        forecast(answer, Workload(concurrency=4, acceptance_length=4.5))
