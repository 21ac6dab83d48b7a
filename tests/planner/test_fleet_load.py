"""A requested load over an inventory: which host serves how much, and which are unused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, plan
from planner.planning import fleet_load
from planner.planning.fleet import FleetRow, plan_fleet
from planner.speed.answer import Targets
from planner.speed.predict import expected_figures, forecast, steady_run
from planner.speed.scheduler import RunsOn
from planner.speed.workload import Workload

pytestmark = pytest.mark.slow

NO_LIMIT = Targets()


def rows(*gpus: str, **settings: Any) -> list[FleetRow]:
    return [
        FleetRow(
            host=f"node-{index}",
            path=f"inventory#{index}",
            plan=plan(PlanRequest(gpus=parse_gpus(name), **settings)),
        )
        for index, name in enumerate(gpus)
    ]


@given(capacities=st.lists(st.floats(0, 50), min_size=1, max_size=8), wanted=st.floats(0.1, 200))
def test_the_load_is_distributed_within_capacities(capacities: list[float], wanted: float) -> None:
    hosts = [FleetRow(host=f"h{i}", path=f"p{i}") for i in range(len(capacities))]
    judged = iter(capacities)

    def judge(row: FleetRow, *_args: object) -> fleet_load.HostShare:
        return fleet_load.HostShare(
            host=row.host, plan=None, capacity_requests_per_s=next(judged), assigned_requests_per_s=0, reason=""
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet_load, "_judge", judge)
        shared = fleet_load.share_load(hosts, Workload(request_rate=wanted), NO_LIMIT)
    parts = [host.assigned_requests_per_s for host in shared.hosts]
    assert sum(parts) == pytest.approx(min(wanted, sum(capacities)), abs=1e-6)
    assert all(0 <= part <= capacity + 1e-9 for part, capacity in zip(parts, capacities, strict=True))
    assert shared.served == (sum(capacities) >= wanted - 1e-9)
    used = [part for part in parts if part]
    if shared.served and len(used) > 1:
        smallest = sorted(capacities, reverse=True)[: len(used) - 1]
        assert sum(smallest) < wanted, "one host fewer would not have been enough"


def test_a_real_forecast_decides() -> None:
    load = Workload(prompt_tokens=512, output_tokens=128, request_rate=1.0)
    shared = fleet_load.share_load(rows("8xH200", "1xH100", replicas=1), load, Targets(tpot_ms=60))
    first, second = shared.hosts
    assert shared.served
    assert first.assigned_requests_per_s == 1.0
    assert first.layout is not None and first.layout.replicas == 1
    assert second.layout is None and not second.unused
    assert second.capacity_requests_per_s == 0
    assert "weights" in second.reason


def test_tighter_targets_never_serve_more() -> None:
    (row,) = rows("2xMI300X")
    assert row.plan is not None
    load = Workload(prompt_tokens=512, output_tokens=128, request_rate=1.0)
    loose, tight = (
        fleet_load.capacity_requests_per_s(row.plan, load, Targets(tpot_ms=limit)) for limit in (200.0, 50.0)
    )
    assert tight <= loose


def test_a_load_needs_a_rate() -> None:
    with pytest.raises(InvalidRequest):
        fleet_load.share_load(rows("8xH200"), Workload(concurrency=4), NO_LIMIT)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {host: a, gpus: 8xH200}\n- {gpus: 1xH100}", None),
        ("- {host: a, gpus: 8xH2OO}", "H2OO"),
        ("- {host: a, gpus: 8xH200, gpu_memory: 141GB}", "141GB"),
        ("- {host: a, gpus: 8xH200, gpu_ram: 1}", "gpu_ram"),
        ("host: a", "is not an inventory"),
        ("- [1, 2", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_yaml_inventories(text: str, problem: str | None, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    found = plan_fleet([path], settings={})
    if problem is None:
        assert [row.host for row in found] == ["a", "hosts-1"]
        assert [row.feasible for row in found] == [True, False]
    else:
        assert problem in (found[0].problem or "")


def test_the_command_takes_every_option_of_a_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from planner.cli import main

    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("- {host: a, gpus: 8xH200}\n- {host: b, gpus: 8xH200}\n")
    assert main(["fleet", str(hosts)]) == 0
    load = ("--request-rate", "1", "--prompt-tokens", "256", "--output-tokens", "16")
    assert main(["fleet", str(hosts), *load, "--length-distribution", "exponential"]) == 0
    assert "served" in capsys.readouterr().out


def test_a_host_of_nodes_that_hold_the_model_only_together_is_planned(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("- {host: pair, gpus: 2x1xGB10}\n- {host: four, gpus: 4x1xL40S}\n")
    pair, four = plan_fleet([inventory], settings={})
    assert [str(row.plan.settings.layout) for row in (pair, four) if row.plan] == ["TP1 PP2", "TP4"]
    assert pair.feasible and four.feasible


@pytest.mark.parametrize("turns", [1, 4])
def test_a_forecast_and_a_fleet_agree_on_the_rate_that_is_kept_up_with(turns: int) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), replicas=1))
    load = Workload(prompt_tokens=256, output_tokens=512, turns=turns, request_rate=1.0)
    most = fleet_load.capacity_requests_per_s(answer, load, NO_LIMIT)
    below, above = (forecast(answer, dataclasses.replace(load, request_rate=most * part)) for part in (0.8, 1.5))
    assert below.keeps_up and not above.keeps_up
    assert any("queue grows" in note for note in above.notes)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999, 1.001, 1.1, 3.0])
def test_what_is_known_already_spares_searching_and_changes_nothing(part: float) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=4))
    load = Workload(prompt_tokens=256, output_tokens=64, turns=2, pause_s=1.0, request_rate=1.0)
    whole = fleet_load.capacity_requests_per_s(answer, load, Targets(ttft_ms=500))
    # The largest rate that holds is found within three percent, so just above what was found both answers are right.
    found = fleet_load.capacity_requests_per_s(answer, load, Targets(ttft_ms=500), above=part * whole)
    assert found in ((whole,) if part < 1 else (0.0,) if part > 1.05 else (0.0, whole))


@pytest.mark.parametrize(("rate", "holds"), [(1.0, True), (400.0, False)])
def test_a_run_that_is_late_is_left_as_soon_as_it_is(rate: float, holds: bool) -> None:
    """A rate is judged as by the whole run: its end comes in time or it does not."""
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=2))
    load = Workload(prompt_tokens=256, output_tokens=64, request_rate=rate)
    assert (steady_run(answer, load) is not None) == holds


@pytest.mark.parametrize("concurrency", [3, 40])
@pytest.mark.parametrize("answer_tokens", [1, 200])
def test_a_run_ends_by_its_last_answer_and_not_before(concurrency: int, answer_tokens: int) -> None:
    served = plan(PlanRequest(gpus=parse_gpus("8xH200"), replicas=1))
    load = Workload(prompt_tokens=300, output_tokens=answer_tokens, concurrency=concurrency, num_requests=60)
    whole = expected_figures(served, load)
    ends_s = 60 / whole.requests_per_s
    assert expected_figures(served, load, until_s=ends_s * 1.000001) == whole
    for part in (0.0, 0.5, 0.999):
        with pytest.raises(RunsOn):
            expected_figures(served, load, until_s=ends_s * part)


def test_a_fleet_with_a_rate_caps_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from planner.cli import main

    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("- {host: a, gpus: 8xH200}\n")
    assert main(["fleet", str(hosts), "--request-rate", "1", "--concurrency", "8"]) == 2
    assert "--max-num-seqs" in capsys.readouterr().err


def test_the_pauses_of_chats_cost_little_capacity() -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), replicas=1))
    hasty = Workload(prompt_tokens=256, output_tokens=512, turns=2, request_rate=1.0)
    calm = dataclasses.replace(hasty, pause_s=20.0)
    most = [fleet_load.capacity_requests_per_s(answer, load, NO_LIMIT) for load in (hasty, calm)]
    # The run is longer with them, so that a queue which grows slowly is seen in it; nothing else is lost.
    assert most[1] >= 0.75 * most[0]
