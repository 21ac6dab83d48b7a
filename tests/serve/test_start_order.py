"""One value for one start: every door makes the same one, and one that carries a key cannot be made."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner.cli import main
from planner.errors import InvalidRequest
from planner.facts.serve_flags import flag_of
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.command import serve_command
from planner.serve import StartOrder
from planner.serve.process.engine_argv import engine_args, model_of, option_value, without_options

from .logs import RECONSTRUCTED

PLAN = make_plan(PlanRequest(gpus=parse_gpus("8xH200")))
V2 = str(RECONSTRUCTED / "v2-8xh200-0.33.0.log")


def seen_orders(monkeypatch: pytest.MonkeyPatch) -> list[tuple[StartOrder, object]]:
    """Every order that the commands check or rehearse, with its plan; nothing is looked at or started."""
    seen: list[tuple[StartOrder, object]] = []

    def look(order: StartOrder, *, plan: object = None, **_: object) -> Any:
        seen.append((order, plan))
        return iter(())

    monkeypatch.setattr("planner.cli.commands.check.run_preflight", look)
    monkeypatch.setattr("planner.serve.preflight.run_preflight", look)

    def start(order: StartOrder, *, plan: object = None, **_: object) -> Any:
        seen.append((order, plan))
        raise InvalidRequest("stop", "nothing is started here")

    monkeypatch.setattr("planner.cli.commands.launch.launch", start)
    return seen


@pytest.mark.parametrize("target", ["local", "docker"])
@pytest.mark.parametrize("gpus", ["8xH200", "8xMI300X"])
def test_check_and_launch_make_the_same_order_and_the_same_plan(
    monkeypatch: pytest.MonkeyPatch, target: str, gpus: str
) -> None:
    assert main(["calibrate", V2, "--gpus", "8xH200"]) == 0
    seen = seen_orders(monkeypatch)
    words = ["--gpus", gpus, "--target", target, "--port", "8123", "--", "--seed", "7"]
    main(["check", *words])
    main(["launch", *words])
    (checked, planned), (looked, again), (launched, kept) = seen
    assert planned == again == kept
    if target == "docker":
        # Only the container's name differs: one order is one start.
        assert [word for word in checked.argv if "m35-2" not in word] == [
            word for word in launched.argv if "m35-2" not in word
        ]
        assert launched.container == f"m35-{launched.run_id}" and launched.container in launched.argv
        assert checked.endpoint == launched.endpoint == looked.endpoint
    else:
        assert checked == looked == launched
    assert gpus != "8xH200" or planned.request.calibrations  # type: ignore[attr-defined]


def test_the_wizard_makes_the_order_of_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    from planner.rendering.argv import read_command

    seen = seen_orders(monkeypatch)
    main(["launch", "--gpus", "8xH200", "--no-check", "--port", "8123"])
    [(launched, _)] = seen
    assert StartOrder.local(PLAN, port=8123) == launched
    edited = read_command(shlex.join(serve_command(PLAN, port=8123).argv), plan=PLAN)
    assert StartOrder.local(PLAN, edited=edited) == launched


def test_diagnose_plans_with_what_was_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["calibrate", V2, "--gpus", "8xH200"]) == 0
    plans: list[Any] = []

    def look(_data: bytes, *, plan: object, **_: object) -> Any:
        plans.append(plan)
        raise InvalidRequest("stop", "seen")

    monkeypatch.setattr("planner.cli.commands.diagnose.diagnose", look)
    main(["diagnose", V2, "--gpus", "8xH200"])
    assert plans[0].request.calibrations


@pytest.mark.parametrize("command", ["check", "launch --dry-run", "launch"])
def test_no_door_takes_a_key_on_the_command_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--gpus", "8xH200", "--", "--api-key", "abc"], ["--", "vllm", "serve", "M", "--hf-token=abc"]):
        assert main([*command.split(), *words]) == 2
        assert "must not be on the command line" in capsys.readouterr().err
    with pytest.raises(InvalidRequest):
        dataclasses.replace(StartOrder.local(PLAN), argv=("vllm", "--api-key", "x"))


def test_the_address_given_behind_a_plan_is_the_host_s_also_for_a_container() -> None:
    order = StartOrder.docker(PLAN, extra=("--port", "9000", "--seed", "1"))
    assert order.endpoint.port == 9000 and "127.0.0.1:9000:8000" in order.argv
    assert option_value(engine_args_of(order), "port") == "8000" and order.argv[-2:] == ("--seed", "1")
    local = StartOrder.local(PLAN, extra=("--port", "9000"))
    assert option_value(local.argv, "port") == "9000" and local.argv.count("--port") == 1


def engine_args_of(order: StartOrder) -> tuple[str, ...]:
    """What stands behind the image."""
    return order.argv[order.argv.index(PLAN.model.name) :]


def test_a_command_of_one_s_own_starts_locally_only(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "launch"):
        assert main([command, "--target", "docker", "--", "vllm", "serve", "M"]) == 2
        assert "target docker starts a plan" in capsys.readouterr().err


# ---------------------------------------------------------------- the one reader of an engine's argv


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("-tp 4", "4"), ("-tp=4", "4"), ("--tensor-parallel-size 4", "4"), ("--tensor_parallel_size=4", "4"),
        ("-tp 2 --tensor-parallel-size 4", "4"), ("--tensor-parallel-size", None), ("--seed 4", None),
    ],
)  # fmt: skip
def test_every_spelling_of_a_flag_is_read(words: str, value: str | None) -> None:
    assert option_value(["vllm", "serve", "M", *words.split()], "tensor-parallel-size") == value


@given(st.lists(st.text(max_size=12), max_size=8))
def test_no_word_confuses_the_reader(words: list[str]) -> None:
    for word in words:
        name, _ = flag_of(word)
        assert name == "" or word.startswith("-")
    rest = without_options(words, ("host", "port"))
    assert option_value(rest, "port") is None and option_value(rest, "host") is None
    assert without_options(rest, ("host", "port")) == rest


def test_the_model_is_the_word_behind_serve_or_its_flag() -> None:
    assert model_of(engine_args(["vllm", "serve", "M", "--port", "1"])) == "M"
    assert model_of(engine_args(["vllm", "serve", "--model=M"])) == "M"
    assert model_of(engine_args(["sleep", "1"])) is None


def test_the_command_that_is_shown_is_the_order_s(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["launch", "--gpus", "8xH200", "--dry-run", "--json", "--vllm", str(tmp_path / "vllm")]) == 0
    shown = json.loads(capsys.readouterr().out)
    order = StartOrder.local(PLAN, program=str(tmp_path / "vllm"))
    assert (shown["argv"], shown["env"], shown["url"]) == (list(order.argv), dict(order.env), order.endpoint.url)
