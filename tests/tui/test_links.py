"""From the command line into the wizard and back."""

from __future__ import annotations

import dataclasses
import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import M35Error, parse_gpus
from planner import PlanRequest, plan
from planner.cli import main as m35_plan
from planner.planning.load import LOAD
from planner.rendering.document import plan_document, to_json_value
from planner.rendering.own_line import own_line
from planner.serve import attach
from tui.app import M35App
from tui.links import step_line
from tui.screens.dialogues import Ask
from tui.screens.launch import LaunchScreen
from tui.screens.step import StepScreen
from tui.screens.verify import VerifyScreen
from tui.start import beginning
from tui.wizard import Answers, Step

from . import stage
from .world import app_at, at, backend, request, text_of, until

pytestmark = pytest.mark.slow

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_model_len": st.sampled_from([4096, 65_536]),
        "concurrency": st.integers(1, 64),
        "max_num_seqs": st.sampled_from([64, 256]),
        "gpu_memory_utilization": st.sampled_from([0.85, 0.9]),
        "kv_cache_dtype": st.just("fp8"),
        "language_model_only": st.booleans(),
        "enforce_eager": st.booleans(),
        "num_speculative_tokens": st.integers(0, 4),
        "vllm_version": st.sampled_from(["0.32.0", "0.33.0"]),
        "tensor_parallel_size": st.sampled_from([4, 8]),
        "load_format": st.sampled_from(["mistral", "hf"]),
    },
)


@given(SETTINGS)
def test_the_command_line_of_a_question_asks_just_that_question(settings: dict[str, Any]) -> None:
    seen: list[PlanRequest] = []

    def wizard(found: PlanRequest, load: dict[str, Any]) -> int:
        assert not load
        seen.append(found)
        return 0

    asked = PlanRequest(gpus=parse_gpus("8xH200"), **settings)
    assert m35_plan([*own_line(asked)[1:], "--tui"], wizard=wizard) == 0
    assert seen == [asked]


@given(
    st.dictionaries(
        st.sampled_from([name for name, one in LOAD.items() if not one.choices]),
        st.integers(1, 900),
        min_size=1,
        max_size=5,
    )
)
def test_the_command_line_of_a_load_asks_for_just_that_load(load: dict[str, Any]) -> None:
    asked = request(concurrency=4, tensor_parallel_size=8)
    seen: list[dict[str, Any]] = []

    def wizard(found: PlanRequest, told: dict[str, Any]) -> int:
        assert found == asked
        seen.append(told)
        return 0

    assert m35_plan([*own_line(asked, load=load)[1:], "--tui"], wizard=wizard) == 0
    assert seen == [load]


def test_sizes_models_and_files_are_said(tmp_path: Path) -> None:
    sized = PlanRequest(gpus=parse_gpus("4xMI300A", 120 << 30))
    assert own_line(sized)[1:5] == ("--gpus", "4xMI300A", "--gpu-memory", "120GiB")
    assert own_line(request(), gpus="@host.json")[2] == "@host.json"
    answers = Answers(request=request(), port=8001)
    assert step_line(answers, Step.LAUNCH, docker=True).endswith("--target docker --port 8001")
    assert step_line(Answers(run_id="x"), Step.VERIFY) == "m35-plan verify --run x"
    assert step_line(Answers(), Step.GPUS) == ""


async def test_every_step_shows_its_command_line_and_copies_it() -> None:
    app = app_at(Step.WORKLOAD)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "$ m35-plan --gpus 8xH200 " in text_of(app))
        await pilot.press("right")
        await until(pilot, lambda: "--language-model-only" in text_of(app))
        await pilot.press("ctrl+y")
        assert app.clipboard == "m35-plan --gpus 8xH200 --language-model-only"
        await until(pilot, lambda: "OSC 52" in text_of(app))
        for step, words in (
            (Step.PLAN, "m35-plan --gpus 8xH200 --language-model-only"),
            (Step.COMMAND, "--emit shell"),
            (Step.LAUNCH, "m35-plan launch --gpus 8xH200 --language-model-only"),
        ):
            await pilot.press("enter")
            await until(pilot, partial(at, app, step))
            await pilot.pause()
            await pilot.press("y")
            assert words in app.clipboard
            assert shlex.split(app.clipboard)[0] == "m35-plan"


async def test_a_plan_is_saved_as_a_page_to_share() -> None:
    app = app_at(Step.COMMAND)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "vllm serve" in text_of(app))
        await pilot.press("left")
        await until(pilot, lambda: "<!doctype html>" in text_of(app) and "--emit html" in text_of(app))
        await pilot.press("left")
        await until(pilot, lambda: "# mistralai/Mistral-Medium-3.5-128B on 8 x H200" in text_of(app))


def test_a_plan_document_begins_at_its_plan(tmp_path: Path) -> None:
    asked = request("2xMI300X", enforce_eager=True)
    home = tmp_path / "plan.json"
    home.write_text(json.dumps(to_json_value(plan_document(plan(asked)))))
    begin = beginning(["--plan", str(home)])
    assert begin.step is Step.PLAN
    assert begin.answers.request == dataclasses.replace(asked, vllm_version="0.33.0"), "the release it was made for"


def test_a_run_begins_at_its_start() -> None:
    run = stage.finished_run()
    begin = beginning([run.id])
    assert (begin.step, begin.answers.run_id) == (Step.LAUNCH, run.id)
    assert begin.answers.request is not None and str(begin.answers.request.gpus) == "8xH200"
    assert attach("latest").id == run.id
    assert beginning(["latest", "--readonly", "--vllm", "/opt/vllm"]).readonly


def test_a_snapshot_begins_with_its_gpus(host: Path) -> None:
    begin = beginning(["--snapshot", str(host)])
    assert begin.step is Step.WORKLOAD
    assert begin.answers.request is not None
    assert shlex.split(step_line(begin.answers, Step.PLAN))[1:3] == ["--gpus", f"@{host}"]


@pytest.fixture
def host() -> Path:
    return Path(__file__).parents[1] / "hw_specs" / "snapshots" / "h200-idle.json"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plan", "/no/such.json"], "cannot read"),
        (["--plan", __file__], "not a plan"),
        (["--plan", "a.json", "--gpus", "8xH200"], "both say where to begin"),
        (["no-such-run"], "no-such-run"),
        (["one", "two"], "only one run"),
        (["--gpu-memory", "9GiB"], "goes with"),
        (["--snapshot", "/no/such.json"], "such.json"),
    ],
)
def test_what_cannot_begin_is_refused_in_words(words: list[str], told: str) -> None:
    with pytest.raises(M35Error, match=told):
        beginning(words)


async def test_whoever_only_looks_starts_and_ends_nothing() -> None:
    doors = stage.staged("8xH200", readonly=True)
    app = stage.app_at(Step.VERIFY, run_id=stage.finished_run().id, doors=doors)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, VerifyScreen) and app.screen.serving.sample is not None)
        assert isinstance(app.screen, VerifyScreen)
        await pilot.press("s", "1", "v")
        assert not app.screen.serving.results
    app = app_at(Step.LAUNCH, doors=backend(readonly=True))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen) and app.screen.has_class("-checked"))
        await pilot.press("l", "h")
        await pilot.pause()
        assert app.screen.has_class("-checked")
        assert "l launch" not in text_of(app)


async def test_the_nodes_of_a_cluster_are_offered_as_hosts() -> None:
    nodes = Path(__file__).parents[2] / "examples" / "clusters" / "nodes.json"
    begin = beginning(["--snapshot", str(nodes)])
    assert len(begin.hosts) > 1 and begin.answers.request is None
    app = M35App(backend=backend(), answers=begin.answers, step=begin.step, hosts=begin.hosts)
    async with app.run_test(size=(100, 30)) as pilot:
        name, gpus = begin.hosts[1]
        await until(pilot, lambda: isinstance(app.screen, Ask) and f"{name}  {gpus}" in text_of(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(app, Step.WORKLOAD))
        assert isinstance(app.screen, StepScreen) and app.screen.answers.request is not None
        assert str(app.screen.answers.request.gpus) == str(gpus)
        assert shlex.split(app.screen.own_line())[1:3] == ["--gpus", str(gpus)]
