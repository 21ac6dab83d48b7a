"""GPUs that others use: what is planned on them, beside them, and offered."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hw_specs import GpuSet, parse_gpus
from planner import PlanRequest, plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.rendering.headline import headline, summary
from planner.rendering.multi_node import first_command
from planner.speed.workload import Workload

from .answers import answer


def test_free_memory_decides_as_the_engine_does() -> None:
    gpus = dataclasses.replace(parse_gpus("8xH200"), free_memory_bytes=100 * 2**30)
    found = plan(PlanRequest(gpus=gpus))
    assert found.verdict == "does-not-fit"
    warning = next(warning for warning in found.warnings if warning.code == "free-memory")
    assert "--gpu-memory-utilization 0.6" in warning.message or "0.7" in warning.message


def test_hand_sized_cache_is_taken_as_given() -> None:
    found = answer("8xH200", kv_cache_memory_bytes=40 * 2**30)
    assert (found.kv_cache.num_gpu_blocks, found.kv_cache.tokens) == (59578, 953248)
    assert found.verdict == "fits"
    assert answer("8xH200", kv_cache_memory_bytes=139 * 2**30).verdict == "does-not-fit"


def test_a_busy_gpu_is_cured_by_the_share_that_is_free() -> None:
    for free_gib in (125, 100, 60):
        gpus = dataclasses.replace(parse_gpus("8xH200"), free_memory_bytes=free_gib * 2**30)
        found = plan(PlanRequest(gpus=gpus))
        (lever,) = (lever for lever in found.levers if lever.name == "gpu-memory-utilization")
        share = float(lever.flag.split()[1])
        assert lever.fits
        assert plan(PlanRequest(gpus=gpus, gpu_memory_utilization=share)).verdict == "fits"
        assert plan(PlanRequest(gpus=gpus, gpu_memory_utilization=share + 0.03)).verdict != "fits"


def test_gpus_that_something_else_fills_are_to_be_emptied_before_others_are_bought() -> None:
    gpus = dataclasses.replace(parse_gpus("1xH200"), free_memory_bytes=10 * 2**30, holders=("python (17)",))
    found = plan(PlanRequest(gpus=gpus, language_model_only=True, max_model_len=8192))
    assert [lever.flag for lever in found.levers] == ["--gpus 1xH200"]
    assert "once all are free: fits 8,192 tokens" in found.levers[0].note
    assert answer("1xH200", language_model_only=True, max_model_len=8192).feasible
    # What does not fit on empty ones either is not cured by emptying them.
    short = plan(PlanRequest(gpus=gpus, language_model_only=True, max_model_len=131072))
    assert short.levers and all("once all" not in lever.note for lever in short.levers)


@pytest.mark.parametrize(("free_gib", "said"), [(0, "than others leave free of it"), (3, "that are free of it")])
def test_gpus_that_are_full_leave_no_negative_size(free_gib: int, said: str) -> None:
    full = dataclasses.replace(parse_gpus("1xH200"), free_memory_bytes=free_gib * 2**30, holders=("python (17)",))
    (reason, *_) = plan(PlanRequest(gpus=full)).reasons
    assert said in reason and "-" not in reason


def held(gpus: str, *, free: int, holders: int, free_gib: int = 100) -> GpuSet:
    """GPUs of which others hold memory on some, and `free` on which nobody does."""
    every = parse_gpus(gpus)
    rest = dataclasses.replace(every, count=free, env=(("CUDA_VISIBLE_DEVICES", "0,1,3"),))
    names = tuple(f"python ({pid}) holds 39 GiB on GPU {pid}" for pid in range(holders))
    return dataclasses.replace(every, free_memory_bytes=free_gib * 2**30, holders=names, unheld=rest)


def test_a_plan_leaves_out_gpus_that_others_hold_and_offers_them() -> None:
    request = PlanRequest(gpus=held("8xH200", free=7, holders=1))
    found = plan(request)
    assert (found.verdict, found.gpus.count, found.gpus_left_out) == ("fits", 7, 1)
    assert headline(found).startswith("262,144 tokens on 4 of 8 x H200 (3 idle, 1 held by others)")
    assert summary(found) == "left out: python (0) holds 39 GiB on GPU 0"
    assert first_command(found).env["CUDA_VISIBLE_DEVICES"] == "0,1,3"
    assert [lever.name for lever in found.levers] == ["gpu-memory-utilization", "gpus"]
    for lever in found.levers:
        applied = plan(lever.apply(request))
        assert applied.verdict == "fits" and applied.gpus_left_out == 0
        assert applied.kv_cache.max_concurrency > found.kv_cache.max_concurrency


@pytest.mark.parametrize(
    ("gpus", "settings"),
    [
        (held("8xH200", free=7, holders=1, free_gib=135), {}),
        (held("8xH200", free=7, holders=1), {"gpu_memory_utilization": 0.6}),
        (held("8xH200", free=7, holders=1), {"tensor_parallel_size": 8}),
        (held("8xH200", free=7, holders=1), {"replicas": 2, "tensor_parallel_size": 4}),
        (held("8xH200", free=1, holders=7), {}),
        (dataclasses.replace(held("8xH200", free=7, holders=8), unheld=None), {}),
    ],
)
def test_all_gpus_are_planned_on_where_they_start_or_the_rest_does_not(gpus: GpuSet, settings: dict[str, Any]) -> None:
    found = plan(PlanRequest(gpus=gpus, **settings))
    assert found.gpus_left_out == 0
    if not found.feasible and gpus.unheld and gpus.unheld.count > 1:
        (lever,) = (lever for lever in found.levers if "nobody holds" in lever.note)
        assert plan(lever.apply(found.request)).feasible


def test_a_load_is_played_on_the_gpus_that_nobody_holds() -> None:
    request = PlanRequest(gpus=held("8xH200", free=7, holders=1))
    found = plan_for_workload(request, Workload(prompt_tokens=512, output_tokens=64, concurrency=2))
    assert (found.feasible, found.gpus.count) == (True, 7)
    assert found.speed is not None
    assert {row.layout.total_gpus for row in found.speed.layouts} <= set(range(8))


def test_too_large_a_share_is_cured_by_a_smaller_one() -> None:
    found = answer("8xH200", gpu_memory_utilization=0.999)
    assert found.kv_cache.largest_max_model_len == 0, "nothing starts"
    assert [lever.name for lever in found.levers] == ["gpu-memory-utilization"]
    assert found.levers[0].fits
