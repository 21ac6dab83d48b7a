"""The choice by speed: targets first, then the objective, and only what fits in memory."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import pytest

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest
from planner.planning.answer import Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.speed.answer import SpeedCalibration, SpeedForecast, SpeedSection, Targets
from planner.speed.workload import Workload

pytestmark = pytest.mark.slow

SHORT = Workload(prompt_tokens=512, output_tokens=64, concurrency=8, num_requests=24)


class Asked(NamedTuple):
    plan: Plan
    section: SpeedSection
    forecast: SpeedForecast


def ask(gpus: str = "8xMI300X", workload: Workload = SHORT, **more: object) -> Asked:
    request = PlanRequest(gpus=parse_gpus(gpus), **more.pop("request", {}))  # type: ignore[call-overload]
    answer = plan_for_workload(request, workload, **more)  # type: ignore[arg-type]
    assert answer.speed is not None
    return Asked(answer, answer.speed, answer.speed.forecast)


def test_latency_picks_the_fastest_and_context_the_longest() -> None:
    latency, context = ask(objective="latency"), ask(objective="context")
    fastest = min(row.latency_ms for row in latency.section.layouts if not row.num_speculative_tokens)
    chosen = next(row for row in latency.section.layouts if row.chosen)
    assert chosen.latency_ms <= 1.03 * fastest
    assert context.plan.settings.max_model_len == max(
        row.max_model_len for row in context.section.layouts if not row.num_speculative_tokens
    )


@pytest.mark.parametrize("rate", (12.5, 14.0, 15.5))
def test_a_layout_whose_queue_grows_is_taken_only_where_every_queue_does(rate: float) -> None:
    workload = Workload(prompt_tokens=1024, output_tokens=1024, request_rate=rate)
    layouts = ({"tensor_parallel_size": size} for size in (2, 4, 8))
    alone = [ask("8xH200", workload, request=request).forecast.keeps_up for request in layouts]
    assert ask("8xH200", workload).forecast.keeps_up == any(alone)


def test_the_front_holds_nothing_that_is_beaten() -> None:
    rows = ask().section.layouts
    for row in (row for row in rows if row.on_front):
        for other in rows:
            better = (
                other.output_tokens_per_s >= row.output_tokens_per_s,
                other.ttft_ms <= row.ttft_ms,
                other.tpot_ms <= row.tpot_ms,
                other.max_model_len >= row.max_model_len,
            )
            same = (other.output_tokens_per_s, other.ttft_ms, other.tpot_ms, other.max_model_len) == (
                row.output_tokens_per_s, row.ttft_ms, row.tpot_ms, row.max_model_len,
            )  # fmt: skip
            assert not all(better) or same


def test_what_the_user_fixes_stays() -> None:
    answer = ask(request={"tensor_parallel_size": 2, "max_num_batched_tokens": 4096}, objective="latency")
    assert answer.plan.settings.tensor_parallel_size == 2
    assert answer.plan.settings.max_num_batched_tokens == 4096


def test_a_draft_is_taken_only_when_asked_for() -> None:
    assert ask(objective="latency").plan.settings.num_speculative_tokens == 0
    assert ask(objective="latency", request={"num_speculative_tokens": 3}).plan.settings.num_speculative_tokens == 3


def test_unreachable_targets_are_said_and_the_nearest_is_chosen() -> None:
    answer = ask(targets=Targets(tpot_ms=0.5))
    assert not answer.section.meets_targets
    assert "ways compared meets every target" in answer.section.reasons[0]
    plain = [row for row in answer.section.layouts if not row.num_speculative_tokens]
    assert next(row for row in plain if row.chosen).tpot_ms == min(row.tpot_ms for row in plain)


def test_a_ttft_target_shrinks_the_steps() -> None:
    load = Workload(prompt_tokens=4096, output_tokens=64, concurrency=32, num_requests=64)
    free = ask(workload=load, request={"tensor_parallel_size": 8}, objective="latency")
    target = 0.95 * free.forecast.ttft_ms.expected
    bound = ask(
        workload=load, request={"tensor_parallel_size": 8}, objective="latency", targets=Targets(ttft_ms=target)
    )
    reached = min(row.ttft_ms for row in free.section.layouts if not row.num_speculative_tokens)
    if reached <= target:
        assert bound.forecast.ttft_ms.expected <= target


def test_nothing_fits_is_a_plan_with_levers() -> None:
    answer = plan_for_workload(PlanRequest(gpus=parse_gpus("1xH100")), SHORT)
    assert answer.speed is None
    assert not answer.feasible


def test_price_becomes_cost() -> None:
    answer = ask(price_per_gpu_hour=3.0)
    cost = answer.section.cost
    assert cost is not None
    per_s = 8 * 3.0 / 3600
    rate = answer.forecast.output_tokens_per_s
    assert cost.per_million_output_tokens.expected == pytest.approx(per_s / rate.expected * 1e6)
    assert cost.per_million_output_tokens.low < cost.per_million_output_tokens.high


def test_the_newest_benchmark_here_is_used() -> None:
    def kept(ratio: float) -> SpeedCalibration:
        return SpeedCalibration(
            gpu="mi300x", model="mistralai/Mistral-Medium-3.5-128B", vllm_version="0.33.0", tensor_parallel_size=8,
            pipeline_parallel_size=1, ratios={"tpot_ms": ratio},
        )  # fmt: skip

    plain = ask(request={"tensor_parallel_size": 8})
    corrected = ask(request={"tensor_parallel_size": 8}, calibrations=(kept(3.0), kept(0.5)))
    assert corrected.forecast.tpot_ms.expected == pytest.approx(0.5 * plain.forecast.tpot_ms.expected)
    assert corrected.forecast.territory == "measured here"


def test_a_request_too_long_is_told_the_longest_length_that_is_served() -> None:
    """Smaller batches leave more room: the figure is that of the way with the most."""
    request = PlanRequest(gpus=parse_gpus("1xMI300X"))
    one = Workload(prompt_tokens=100_000, output_tokens=20_000, concurrency=1, num_requests=1)
    with pytest.raises(InvalidRequest, match=r"longer than the [\d,]+ that surely fit") as told:
        plan_for_workload(request, one)
    longest = int(re.search(r"the ([\d,]+) that", str(told.value)).group(1).replace(",", ""))  # type: ignore[union-attr]
    fitting = dataclasses.replace(one, prompt_tokens=longest - 20_000)
    assert plan_for_workload(request, fitting).settings.max_model_len == longest
    with pytest.raises(InvalidRequest, match="surely fit"):
        plan_for_workload(request, dataclasses.replace(fitting, prompt_tokens=fitting.prompt_tokens + 1))


def test_a_load_on_nodes_that_hold_the_model_only_together_is_forecast() -> None:
    assert str(ask("2x1xGB10").plan.settings.layout) == "TP1 PP2"


def test_an_answer_of_one_token_has_no_tpot_to_compare() -> None:
    rows = ask("8xH200", Workload(prompt_tokens=512, output_tokens=1, concurrency=1)).section.layouts
    assert len(rows) > 1
    assert not any("TPOT" in row.reason for row in rows)
