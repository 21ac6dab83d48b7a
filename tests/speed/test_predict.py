"""Forecasts: bounds that hold their figure, and territory said plainly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.speed.answer import ESTIMATED, SpeedForecast
from planner.speed.predict import calibrate, forecast
from planner.speed.workload import Workload

pytestmark = pytest.mark.slow

LOAD = Workload(concurrency=32, num_requests=100)


def ask(gpus: str, workload: Workload = LOAD, **request: object) -> tuple[Plan, SpeedForecast]:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus), **request))  # type: ignore[arg-type]
    return answer, predict(answer, workload)


def predict(answer: Plan, workload: Workload = LOAD, **more: object) -> SpeedForecast:
    return forecast(answer, workload, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "gpus", ["8xMI300X", "8xH200", "4xB200", "2xMI300X", "2x8xH200", "8xMI355X", "8xH20", "8xA100"]
)
def test_bounds_hold_the_expected_value(gpus: str) -> None:
    _, speed = ask(gpus)
    for name in ESTIMATED:
        estimate = getattr(speed, name)
        assert 0 < estimate.low <= estimate.expected <= estimate.high, name


def test_territory_widens_the_bounds() -> None:
    _, inside = ask("8xMI300X", vllm_version="0.21.0", language_model_only=True)
    _, newer = ask("8xMI300X", language_model_only=True)
    _, elsewhere = ask("8xMI355X", language_model_only=True)
    assert (inside.territory, newer.territory, elsewhere.territory) == ("measured", "near", "far")

    def width(speed: SpeedForecast) -> float:
        return speed.output_tokens_per_s.high / speed.output_tokens_per_s.low

    assert width(inside) < width(newer) < width(elsewhere)
    assert inside.output_tokens_per_s.basis == "derived"
    assert elsewhere.output_tokens_per_s.basis == "assumed"
    assert "MI355X" in elsewhere.notes[0]


def test_one_h200_is_measured_and_more_of_them_are_near() -> None:
    load = Workload(prompt_tokens=1024, output_tokens=64, concurrency=4, num_requests=8)
    alone = {"vllm_version": "0.26.0", "language_model_only": True, "max_num_batched_tokens": 8192}
    one, inside = ask("1xH200", load, max_model_len=8192, **alone)
    assert one.settings.tensor_parallel_size == 1
    assert (inside.territory, inside.profile) == ("measured", "cuda-fp8-hopper")
    assert inside.tpot_ms.low <= 35.5 <= inside.tpot_ms.high
    _, newer = ask("1xH200", load, max_model_len=8192, **{**alone, "vllm_version": "0.33.0"})
    _, crowd = ask("1xH200", replace(load, concurrency=256, num_requests=512), max_model_len=8192, **alone)
    _, eight = ask("8xH200", load, tensor_parallel_size=8, **alone)
    _, other = ask("8xB200", load, tensor_parallel_size=8, **alone)
    assert [one.territory for one in (newer, crowd, eight, other)] == ["near", "far", "near", "far"]
    assert any("more than 128 requests" in note for note in crowd.notes)
    assert other.profile == "cuda"


def test_a_draft_or_a_pipeline_is_never_measured_territory() -> None:
    _, drafted = ask("8xMI300X", vllm_version="0.21.0", num_speculative_tokens=3)
    assert drafted.territory == "far"
    assert any("accepted" in note for note in drafted.notes)


def test_replicas_share_the_load() -> None:
    answer, speed = ask("8xMI300X", tensor_parallel_size=2)
    assert answer.settings.replicas == 4
    assert speed.output_tokens_per_s_per_replica.expected == pytest.approx(speed.output_tokens_per_s.expected / 4)
    assert speed.output_tokens_per_s_per_gpu.expected == pytest.approx(speed.output_tokens_per_s.expected / 8)


def test_a_benchmark_here_moves_the_next_forecast() -> None:
    answer, before = ask("8xH200")
    measured = {"output_tokens_per_s": 2000.0, "ttft_ms": 700.0, "tpot_ms": 13.0}
    record = calibrate(before, measured, answer)
    after = predict(answer, calibration=record)
    for name, value in measured.items():
        assert getattr(after, name).expected == pytest.approx(value)
        assert getattr(after, name).basis == "measured"
    assert after.territory == "measured here"
    assert after.ttft_ms.high / after.ttft_ms.low < before.ttft_ms.high / before.ttft_ms.low


def test_a_request_that_never_fits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="KV cache"):
        ask("1xMI300X", Workload(prompt_tokens=250_000, output_tokens=10_000, concurrency=1), language_model_only=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"concurrency": 0}, {"prompt_tokens": 0}, {"output_tokens": -1}, {"request_rate": 0.0}, {"request_rate": 1e-30},
        {"request_rate": float("inf")},
        {"prefix_cache_hit_rate": 1.5}, {"length_range_ratio": 1.0}, {"num_requests": 0}, {"images_per_request": -1},
    ],
)  # fmt: skip
def test_bad_workloads_name_their_field(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Workload(**bad)  # type: ignore[arg-type]
    assert caught.value.field in bad


def test_too_many_arrivals_are_said() -> None:
    calm, flooded = (
        ask("8xMI300X", Workload(prompt_tokens=1000, output_tokens=100, request_rate=rate))[1] for rate in (0.5, 40.0)
    )
    assert not any("queue grows" in note for note in calm.notes)
    assert any("queue grows" in note for note in flooded.notes)


@pytest.mark.parametrize("rate", [1e-7, 1e308])
def test_a_rate_of_any_size_is_judged(rate: float) -> None:
    alone = plan_for_workload(PlanRequest(gpus=parse_gpus("8xH200")), Workload(concurrency=1, num_requests=1))
    found = plan_for_workload(PlanRequest(gpus=parse_gpus("8xH200")), Workload(request_rate=rate))
    assert found.speed is not None and found.speed.forecast is not None
    assert found.speed.forecast.keeps_up == (rate < 1)
    if rate < 1:
        assert alone.speed is not None and alone.speed.forecast is not None
        assert found.speed.forecast.tpot_ms.expected == pytest.approx(alone.speed.forecast.tpot_ms.expected, rel=0.01)


def test_the_simulated_run_is_bounded() -> None:
    with pytest.raises(InvalidRequest, match="concurrency"):
        Workload(concurrency=10**6)
    assert Workload(concurrency=4096).total_requests <= 4096
    assert Workload(request_rate=1000.0).total_requests == 2000


def test_chats_find_the_cache_where_the_command_has_one() -> None:
    load = Workload(prompt_tokens=300, output_tokens=100, turns=5, system_tokens=2000, concurrency=16)
    _, cached = ask("8xH200", load)
    _, without = ask("8xMI300X", load)
    assert cached.prefix_cache_hit_rate > 0.8
    assert without.prefix_cache_hit_rate == 0
    assert any("no prefix cache" in note for note in without.notes)
    assert cached.territory == "far"
    _, spread = ask("8xH200", load, tensor_parallel_size=4)
    assert any("stay on one server" in note for note in spread.notes)


def test_a_known_hit_rate_counts_where_the_command_has_a_cache() -> None:
    load = Workload(prompt_tokens=2000, output_tokens=50, concurrency=8, num_requests=32)
    known = replace(load, prefix_cache_hit_rate=0.5)
    _, cached = ask("8xH200", known)
    _, without = ask("8xMI300X", known)
    _, plain = ask("8xMI300X", load)
    assert cached.prefix_cache_hit_rate == pytest.approx(0.5, abs=0.05)
    assert without.prefix_cache_hit_rate == 0
    assert without.ttft_ms.expected == plain.ttft_ms.expected
    assert any("no prefix cache" in note for note in without.notes)
