"""One real server with everything on: followed, verified, measured against the plan."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from planner.cli import main
from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.events import Figure, PhaseStarted, ServerEnded, ServerReady
from planner.serve.process.run import Run
from planner.serve.process.runs import attach
from planner.serve.rehearsal.twin.script import GREETING
from planner.serve.verification.verifier import CHECKS, selected_checks, verify

from .conftest import Served, follow_all

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def figures(served: Served) -> dict[str, int | float | str]:
    return {event.name: event.value for event in served.events if isinstance(event, Figure)}


def test_the_start_is_followed_to_readiness(served: Served) -> None:
    last = served.events[-1]
    assert isinstance(last, ServerReady), served.run.read_log()[-2000:].decode()
    assert last.said_by == "health and log"
    phases = [event.phase for event in served.events if isinstance(event, PhaseStarted)]
    assert phases[0] == "configure"
    assert [phase for phase in phases if phase in ("load", "kv", "ready")] == ["load", "kv", "ready"]


def test_every_check_passes(served: Served) -> None:
    report = verify(
        served.run.url, served.stage.rehearsal.expectations, checks=selected_checks(long=True), timeout_s=300
    )
    assert [(one.name, one.seen) for one in report.checks if one.status not in ("pass", "skip")] == []
    assert all("twin" in one.seen for one in report.checks if one.status == "skip")
    assert [result.name for result in report.checks] == list(CHECKS.names)
    seen = {result.name: result.seen for result in report.checks}
    assert "".join(GREETING) in seen["chat"]
    assert "Let me think" in seen["reasoning-high"]
    assert seen["tool-auto"] == 'get_weather({"city": "Paris"})'
    assert "100%" in seen["speculative"]


def test_blocks_and_tokens_are_those_of_the_planners_arithmetic(served: Served) -> None:
    settings, spec = served.stage.rehearsal.settings, served.stage.twin.spec
    geometry = KvGeometry(
        bytes_per_token=kv_bytes_per_token(
            spec.model_spec("twin"), layers=spec.num_hidden_layers + spec.draft_layers, tensor_parallel_size=1
        ),
        block_size=128,
        null_block_reserved=True,
    )
    assert settings.kv_cache_memory_bytes is not None
    blocks = geometry.num_blocks(settings.kv_cache_memory_bytes)
    assert blocks == served.stage.rehearsal.expectations.num_gpu_blocks
    assert figures(served)["kv_cache_tokens"] == geometry.tokens(blocks, settings.max_model_len)


def test_the_command_verifies_it_and_fails_on_a_wrong_expectation(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", served.run.url, "--eagle", "--vision", "--only", "image", "--only", "speculative"]) == 0
    assert main(["verify", served.run.url, "--max-model-len", "4096", "--only", "max-model-len", "--json"]) == 6
    output = capsys.readouterr().out
    (failed,) = [one for one in json.loads(output[output.index("{\n") :])["checks"] if one["status"] == "fail"]
    assert failed["seen"] == "8,192 tokens, expected 4,096"


def test_another_process_finds_it_alive(served: Served) -> None:
    again = attach(served.run.id)
    assert again.url == served.run.url
    assert again.status().alive


def test_a_taken_port_is_diagnosed(served: Served, started: Callable[..., Run]) -> None:
    port = int(served.run.url.rpartition(":")[2])
    second = started(port=port)
    last = follow_all(second)[-1]
    assert isinstance(last, ServerEnded)
    assert not last.was_ready
    found = diagnose(second.read_log(), exit_code=last.exit_code, port=port)
    assert found.code == "port-in-use"
    assert served.run.status().alive
