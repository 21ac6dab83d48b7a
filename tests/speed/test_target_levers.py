"""What would meet missed targets: every lever holds when it is asked for as it is typed, and nothing larger does."""

from __future__ import annotations

import dataclasses

import pytest

from hw_specs import parse_gpus
from hw_specs.units import format_figure
from planner import PlanRequest
from planner.cli import main
from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.planning.answer import LEVER_COSTS, Plan
from planner.planning.choose_by_speed import plan_for_workload
from planner.planning.load_search import values
from planner.rendering.document import plan_document
from planner.speed.answer import Targets
from planner.speed.workload import Workload

pytestmark = pytest.mark.slow

CHAT = Workload(prompt_tokens=2000, output_tokens=200, concurrency=48)
ASKED = {
    "TTFT": ("2xH200", CHAT, Targets(ttft_ms=400)),
    "TPOT": ("4xH200", CHAT, Targets(tpot_ms=15)),
    "both": ("8xMI300X", CHAT, Targets(ttft_ms=1000, tpot_ms=20)),
    "tokens": ("4xH200", CHAT, Targets(tokens_per_s=1500)),
    "a rate": (
        "4xH200", Workload(prompt_tokens=2000, output_tokens=200, request_rate=5), Targets(ttft_ms=600)
    ),
    "a rack of eight": ("8xH200", Workload(concurrency=32), Targets(ttft_ms=300)),
    "several nodes": (
        "2x4xH100", Workload(prompt_tokens=3000, output_tokens=200, concurrency=24), Targets(ttft_ms=300, tpot_ms=25)
    ),
    "a full cache": (
        "1xMI300X", Workload(prompt_tokens=4000, output_tokens=300, concurrency=64), Targets(ttft_ms=3000)
    ),
}  # fmt: skip


def ask(request: PlanRequest, workload: Workload, targets: Targets) -> Plan:
    return plan_for_workload(request, workload, targets=targets)


@pytest.fixture(scope="module", params=ASKED, ids=lambda name: name.replace(" ", "-"))
def missed(request: pytest.FixtureRequest) -> tuple[Plan, Workload, Targets]:
    gpus, workload, targets = ASKED[request.param]
    plan = ask(PlanRequest(gpus=parse_gpus(gpus)), workload, targets)
    assert plan.speed is not None and not plan.speed.meets_targets
    return plan, workload, targets


def test_each_lever_is_the_plan_that_one_gets_with_it(missed: tuple[Plan, Workload, Targets]) -> None:
    plan, workload, targets = missed
    levers = [lever for lever in plan.levers if lever.meets_targets]
    assert levers
    for lever in levers:
        # The request that the plan holds has its layout chosen; the user's own has it open.
        asked = PlanRequest(gpus=plan.request.gpus)
        changed = dataclasses.replace(workload, **lever.load)  # type: ignore[arg-type]
        again = ask(lever.apply(asked), changed, targets).speed
        assert again is not None and again.meets_targets, lever.flag
        said = again.forecast
        assert lever.note.startswith(
            f"TTFT {said.ttft_ms.expected:,.0f} ms, TPOT {said.tpot_ms.expected:,.1f} ms, "
            f"{format_figure(said.output_tokens_per_s.expected)} tokens/s"
        ), lever.flag


def test_the_next_larger_load_misses_them(missed: tuple[Plan, Workload, Targets]) -> None:
    plan, workload, targets = missed
    for lever in plan.levers:
        if not lever.meets_targets or len(lever.load) != 1 or targets.tokens_per_s is not None:
            continue
        (name, value), *_ = lever.load.items()
        larger = [one for one in values(name, getattr(workload, name)) if one > float(str(value))]
        more = dataclasses.replace(workload, **{name: larger[0] if larger else getattr(workload, name)})  # type: ignore[arg-type]
        again = ask(lever.apply(PlanRequest(gpus=plan.request.gpus)), more, targets).speed
        assert again is not None and not again.meets_targets, lever.flag


def test_what_was_fixed_and_misses_is_offered_free_again() -> None:
    load, targets = Workload(concurrency=16), Targets(tpot_ms=14)
    for fixed in ({"tensor_parallel_size": 2}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 4}):
        request = PlanRequest(gpus=parse_gpus("8xH200"), **fixed)  # type: ignore[arg-type]
        plan = ask(request, load, targets)
        assert plan.speed is not None and not plan.speed.meets_targets
        first = next(lever for lever in plan.levers if lever.meets_targets)
        assert first.change["tensor_parallel_size"] == 8 and first.cost == "nothing"
        again = ask(first.apply(request), load, targets).speed
        assert again is not None and again.meets_targets


def test_smaller_steps_are_compared_before_targets_are_given_up() -> None:
    load, targets = Workload(concurrency=32), Targets(ttft_ms=400)
    plan = ask(PlanRequest(gpus=parse_gpus("8xH200")), load, targets)
    assert plan.speed is not None and plan.speed.meets_targets
    assert plan.settings.max_num_batched_tokens < min(policy().compare.batched_tokens.value)


def test_a_request_longer_than_the_context_is_no_way_to_serve_it() -> None:
    load = Workload(prompt_tokens=60_000, output_tokens=1000, concurrency=2)
    plan = ask(PlanRequest(gpus=parse_gpus("4xH100")), load, Targets())
    assert plan.settings.max_model_len >= load.longest_tokens
    with pytest.raises(InvalidRequest, match="longer than"):
        ask(PlanRequest(gpus=parse_gpus("2xH100"), tensor_parallel_size=2), load, Targets())


def test_the_cheapest_stands_first(missed: tuple[Plan, Workload, Targets]) -> None:
    costs = [LEVER_COSTS.index(lever.cost) for lever in missed[0].levers if lever.meets_targets]
    assert costs == sorted(costs)


def test_what_is_met_offers_nothing() -> None:
    plan = ask(PlanRequest(gpus=parse_gpus("8xH200")), CHAT, Targets(ttft_ms=60_000))
    assert not [lever for lever in plan.levers if lever.meets_targets]


def test_a_document_carries_the_load_of_a_lever(missed: tuple[Plan, Workload, Targets]) -> None:
    plan = missed[0]
    assert [dict(change.load) for change in plan_document(plan).levers] == [dict(lever.load) for lever in plan.levers]


def test_the_page_marks_what_would_meet_them(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--gpus", "2xH200", "--prompt-tokens", "2000", "--output-tokens", "200", "--concurrency", "48"]
    assert main([*options, "--ttft-ms", "400"]) == 0
    page = capsys.readouterr().out
    line = next(line for line in page.splitlines() if line.startswith("levers"))
    assert "✓ --concurrency" in line
    assert main([*options, "--ttft-ms", "400", "-v"]) == 0
    assert "one request alone has TTFT" in capsys.readouterr().out


def test_more_gpus_are_the_next_that_a_node_holds() -> None:
    load = Workload(prompt_tokens=2000, output_tokens=200, concurrency=32)
    plan = ask(PlanRequest(gpus=parse_gpus("6xH100")), load, Targets(tpot_ms=27))
    assert plan.speed is not None and not plan.speed.meets_targets
    larger = [lever.change["gpus"] for lever in plan.levers if lever.meets_targets and lever.name == "gpus"]
    assert "8xH100" in [str(gpus) for gpus in larger]


def test_a_layout_of_stages_inside_a_node_is_forecast_where_nothing_else_fits() -> None:
    plan = ask(PlanRequest(gpus=parse_gpus("3xA100-64GB")), CHAT, Targets(ttft_ms=1))
    assert plan.settings.pipeline_parallel_size == 3
    assert plan.speed is not None


def test_more_in_flight_than_needed_is_not_offered() -> None:
    load = Workload(prompt_tokens=1000, output_tokens=300, concurrency=100)
    plan = ask(PlanRequest(gpus=parse_gpus("4xH200")), load, Targets(tokens_per_s=2400))
    offered = [lever for lever in plan.levers if lever.meets_targets and "concurrency" in lever.load]
    assert offered
    least = min(int(str(lever.load["concurrency"])) for lever in offered if not lever.change)
    assert all(int(str(lever.load["concurrency"])) < least for lever in offered if lever.change)


def test_other_gpus_are_tried_however_long_the_search_here_is() -> None:
    plan = ask(PlanRequest(gpus=parse_gpus("2xH200")), Workload(concurrency=256), Targets(tpot_ms=30))
    offered = [str(lever.change.get("gpus")) for lever in plan.levers if lever.meets_targets]
    assert "8xH200" in offered


@pytest.mark.parametrize(
    ("load", "field"),
    [
        ({"system_tokens": 262_143}, "system_tokens"),
        ({"turns": 200}, "turns"),
        ({"prompt_tokens": 262_143}, "prompt_tokens"),
    ],
)
def test_a_request_longer_than_the_model_asks_for_no_memory(load: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidRequest, match="longer than the model's 262,144") as refusal:
        ask(PlanRequest(gpus=parse_gpus("8xH200")), Workload(concurrency=1, **load), Targets())
    assert refusal.value.field == field
    assert "memory" not in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("gpus", "targets"),
    [("8xL40S", Targets(tpot_ms=20)), ("8xL4", Targets(tpot_ms=30)), ("1xMI300X", Targets(ttft_ms=900))],
)
def test_what_makes_room_is_no_cure_of_a_missed_target(gpus: str, targets: Targets) -> None:
    found = ask(PlanRequest(gpus=parse_gpus(gpus)), Workload(prompt_tokens=1000, output_tokens=50), targets)
    assert found.settings.max_model_len < found.model.max_position_embeddings, "it has levers without targets"
    assert found.speed is not None
    if found.speed.meets_targets:
        assert all(lever.cost != "speed" for lever in found.levers)
    else:
        assert all(lever.meets_targets for lever in found.levers)


def test_a_load_without_targets_keeps_the_levers_of_its_plan() -> None:
    found = ask(PlanRequest(gpus=parse_gpus("8xL40S")), Workload(prompt_tokens=1000, output_tokens=50), Targets())
    assert {"enforce-eager", "text-only"} <= {lever.name for lever in found.levers}


def test_progress_counts_every_kind_of_change_and_never_runs_back() -> None:
    heard: list[tuple[int, int]] = []
    plan_for_workload(
        PlanRequest(gpus=parse_gpus("4xH200")), CHAT, targets=Targets(tpot_ms=15),
        progress=lambda done, total: heard.append((done, total)),
    )  # fmt: skip
    assert all(done < total for done, total in heard)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1][0] == heard[-1][1] - 1, "faster GPUs are tried last"
