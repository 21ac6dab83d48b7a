"""Levers: what they cost, what they prove, and what fits together where nothing does alone."""

from __future__ import annotations

import dataclasses
import re

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.facts.policy import policy
from planner.planning.answer import LEVER_COSTS

TIGHT = ("1xH200", "1xH100", "2xH100", "1xB200", "1xMI300X", "2xA100", "3xH100")


@pytest.mark.parametrize("gpus", TIGHT)
def test_every_lever_that_fits_is_proven_by_a_plan(gpus: str) -> None:
    request = PlanRequest(gpus=parse_gpus(gpus))
    answer = plan(request)
    for lever in answer.levers:
        if lever.fits and answer.verdict != "fits":
            changed = plan(lever.apply(request))
            assert changed.verdict == "fits", lever.flag


@pytest.mark.parametrize("gpus", TIGHT)
def test_what_costs_less_comes_first(gpus: str) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus)))
    wanting = answer.verdict != "fits"
    order = [(wanting and not lever.fits, LEVER_COSTS.index(lever.cost)) for lever in answer.levers]
    assert order == sorted(order)


def test_levers_that_fit_together_are_offered_where_no_cheap_one_does_alone() -> None:
    request = PlanRequest(gpus=parse_gpus("1xH200"), max_model_len=32768)
    answer = plan(request)
    assert not answer.feasible
    together = [lever for lever in answer.levers if lever.fits and len(lever.change) > 1 and lever.cost != "hardware"]
    assert together and together[0] is answer.levers[0]
    for lever in together:
        for name in lever.change:
            rest = {key: value for key, value in lever.change.items() if key != name}
            assert plan(dataclasses.replace(request, **rest)).verdict != "fits", f"{name} is not needed"


@pytest.mark.parametrize(
    ("gpus", "layout"),
    [("3xH100", "TP1 PP3"), ("7xH200", "TP4"), ("8xH200", "TP8"), ("2xH100", "TP2")],
)
def test_the_default_layout_is_what_a_careful_engineer_takes(gpus: str, layout: str) -> None:
    assert str(plan(PlanRequest(gpus=parse_gpus(gpus))).settings.layout) == layout


@pytest.mark.parametrize("gpus", ["3xH100", "5xH100", "6xH100", "7xH200", "12xH20", "3xMI300X"])
def test_no_other_layout_of_the_same_gpus_has_several_times_the_context(gpus: str) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus)))
    for other in answer.alternatives:
        if other.verdict == answer.verdict and other.layout.replicas >= answer.settings.replicas:
            assert other.max_model_len < 2 * answer.settings.max_model_len, str(other.layout)


def test_a_layout_that_was_asked_for_is_kept() -> None:
    assert plan(PlanRequest(gpus=parse_gpus("3xH100"), tensor_parallel_size=2)).settings.tensor_parallel_size == 2


@pytest.mark.parametrize("gpus", [*TIGHT, "6xH100", "5xA100"])
def test_gpus_that_a_lever_names_can_be_typed(gpus: str) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus), tensor_parallel_size=1, pipeline_parallel_size=1, replicas=1))
    named = [str(lever.change["gpus"]) for lever in answer.levers if lever.name == "gpus"]
    assert named
    assert [str(parse_gpus(name)) for name in named] == named


@pytest.mark.parametrize("version", ["0.19.0", "0.28.0", "0.33.0"])
@pytest.mark.parametrize("gpus", ["1xH200", "4xL40S", "4xA100-40GB", "8xL4", "8xRTX-4090", "1xGH200-144"])
def test_no_batch_of_ours_fits_where_the_open_answer_says_that_nothing_does(gpus: str, version: str) -> None:
    request = PlanRequest(gpus=parse_gpus(gpus), vllm_version=version)
    answer = plan(request)
    if answer.feasible:
        return
    for batch in policy().batches:
        smaller = dataclasses.replace(
            request, max_num_seqs=batch.max_num_seqs, max_num_batched_tokens=batch.max_num_batched_tokens
        )
        assert plan(smaller).verdict == "does-not-fit"
        assert plan(smaller).kv_cache.largest_max_model_len_low <= answer.kv_cache.largest_max_model_len_low


@pytest.mark.parametrize("gpus", ["1xH200"])
def test_the_first_lines_name_what_fits_with_the_length_that_it_leaves(gpus: str) -> None:
    request = PlanRequest(gpus=parse_gpus(gpus))
    answer = plan(request)
    assert not answer.feasible
    ways = re.findall(r"`([^`]+)` fits ([0-9,]+) tokens", answer.reasons[0])
    assert ways
    for flag, tokens in ways:
        lever = next(lever for lever in answer.levers if lever.flag == flag)
        after = plan(lever.apply(request))
        assert after.verdict == "fits" and f"{after.settings.max_model_len:,}" == tokens


def test_idle_gpus_that_another_share_would_use_are_a_lever() -> None:
    request = PlanRequest(gpus=parse_gpus("6xL40S"), gpu_memory_utilization=0.92)
    answer = plan(request)
    assert answer.settings.layout.total_gpus == 4
    (lever,) = [one for one in answer.levers if one.name == "idle-gpus"]
    changed = plan(lever.apply(request))
    assert changed.verdict == "fits"
    assert changed.settings.layout.total_gpus == 6
    assert changed.settings.max_model_len > 2 * answer.settings.max_model_len
    assert f"{changed.settings.max_model_len:,} tokens" in lever.note
    assert not [one for one in plan(lever.apply(request)).levers if one.name == "idle-gpus"]
