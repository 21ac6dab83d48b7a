"""The real engine: installed once, started as seldom as possible."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, plan
from planner.serve.log.events import Event
from planner.serve.preflight.installed import InstalledEngine, find_engine
from planner.serve.process.follower import follow
from planner.serve.process.launcher import launch
from planner.serve.process.run import Run
from planner.serve.process.start_order import StartOrder
from planner.serve.rehearsal.full_size_plan import RehearsalPlan, rehearsal_command, rehearsal_plan
from planner.serve.rehearsal.twin import Twin, make_twin
from tests.ports import own_port

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 600.0
ENV = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONDONTWRITEBYTECODE": ""}


def install_engine() -> Path:
    """Return the folder of the engine's environment; skip with the reason where there can be none, fail in CI."""
    script = ROOT / "scripts" / "install_engine.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["unknown reason"])[-1]
        if os.environ.get("CI"):
            pytest.fail(f"the engine cannot be installed: {reason}")
        pytest.skip(f"the engine cannot be installed: {reason}")
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def engine() -> InstalledEngine:
    found = find_engine(str(install_engine() / "bin" / "vllm"))
    assert found.cpu
    return found


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of the tests are kept apart from those of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("VLLM_API_KEY", raising=False)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A plan, its rehearsal and a twin on disk, ready to be started."""

    plan: Plan
    rehearsal: RehearsalPlan
    twin: Twin
    engine: InstalledEngine

    def argv(self, port: int) -> tuple[str, ...]:
        draft = str(self.twin.draft_path) if self.twin.draft_path else None
        return rehearsal_command(
            self.plan, self.rehearsal, model=str(self.twin.path), draft=draft, engine=self.engine, port=port
        ).argv

    def launch(self, *more: str, port: int | None = None) -> Run:
        words = (*self.argv(port or own_port()), *more)
        return launch(StartOrder.of_command(words, env=ENV))


@pytest.fixture(scope="session")
def stage(engine: InstalledEngine, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Everything at once: vision, EAGLE draft, a context that a CPU can fill."""
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), max_model_len=8192, num_speculative_tokens=3))
    rehearsal = rehearsal_plan(answer, engine)
    twin = make_twin(tmp_path_factory.mktemp("twin") / "eagle", spec=rehearsal.twin)
    return Stage(plan=answer, rehearsal=rehearsal, twin=twin, engine=engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is up, and how it came up."""

    run: Run
    stage: Stage
    events: tuple[Event, ...]


def follow_all(run: Run) -> tuple[Event, ...]:
    """Every event of a start, until it is ready, has failed or timed out."""
    return tuple(event for batch in follow(run, total_limit_s=START_LIMIT_S) for event in batch)


@pytest.fixture(scope="session")
def served(stage: Stage) -> Iterator[Served]:
    run = stage.launch()
    try:
        yield Served(run=run, stage=stage, events=follow_all(run))
    finally:
        run.stop()


@pytest.fixture
def started(stage: Stage) -> Iterator[Callable[..., Run]]:
    """Starts servers that are gone after the test."""
    runs: list[Run] = []

    def start(*more: str, port: int | None = None) -> Run:
        runs.append(stage.launch(*more, port=port))
        return runs[-1]

    yield start
    for run in runs:
        run.stop(grace_s=5)
