"""Starts that fail, and starts that are ended: a cause with its evidence, and no process left."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.events import PhaseStarted, ServerEnded
from planner.serve.log.verdict import Diagnosis
from planner.serve.process.follower import follow
from planner.serve.process.run import Run
from planner.serve.process.supervisor import family

from .conftest import START_LIMIT_S, Stage, follow_all

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def failure_of(run: Run) -> Diagnosis:
    last = follow_all(run)[-1]
    assert isinstance(last, ServerEnded), last
    assert not last.was_ready
    return diagnose(run.read_log(), exit_code=last.exit_code)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--no-such-flag"], "bad-arguments"),
        (["--tool-call-parser", "mistrall"], "unknown-parser"),
        (["--max-model-len", "300000"], "context-limit"),
        (["--kv-cache-memory-bytes", "900G"], "host-memory"),
    ],
    ids=["flag", "parser", "length", "memory"],
)
def test_a_failed_start_names_its_cause(started: Callable[..., Run], more: list[str], code: str) -> None:
    run = started(*more)
    found = failure_of(run)
    assert found.code == code, run.read_log()[-3000:].decode()
    assert found.evidence
    assert found.cures


def test_too_small_a_cache_is_refused_at_the_length_that_the_planner_computes(
    started: Callable[..., Run], stage: Stage
) -> None:
    spec = stage.twin.spec
    geometry = KvGeometry(
        bytes_per_token=kv_bytes_per_token(
            spec.model_spec("twin"), layers=spec.num_hidden_layers + spec.draft_layers, tensor_parallel_size=1
        ),
        block_size=128,
        null_block_reserved=True,
    )
    size_bytes = 40 * geometry.block_bytes
    run = started("--kv-cache-memory-bytes", str(size_bytes))
    assert failure_of(run).code == "max-model-len"
    told = re.search(rb"estimated maximum model length is (\d+)", run.read_log())
    assert told is not None
    assert int(told[1]) == geometry.longest(size_bytes, 8192)


def wait_for(run: Run, phase: str) -> None:
    for events in follow(run, total_limit_s=START_LIMIT_S):
        if any(isinstance(event, PhaseStarted) and event.phase == phase for event in events):
            return
    pytest.fail(f"the start never came to `{phase}`")


def session_of(run: Run) -> list[int]:
    pid = run.status().pid
    assert pid is not None
    return [pid, *family(pid, root=pid)]


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def test_a_stop_in_the_middle_of_a_start_leaves_nobody(started: Callable[..., Run]) -> None:
    run = started()
    wait_for(run, "configure")
    everyone = session_of(run)
    run.stop(grace_s=10)
    assert alive(everyone) == []
    assert run.status().state == "stopped"
    assert run.read_log()


def test_an_engine_core_that_is_killed_takes_the_server_down(started: Callable[..., Run]) -> None:
    run = started()
    wait_for(run, "load")
    everyone = session_of(run)
    core = next(pid for pid in everyone if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(core, signal.SIGKILL)
    last = follow_all(run)[-1]
    assert isinstance(last, ServerEnded)
    assert last.exit_code
    assert alive(everyone) == []
    assert not run.status().alive
