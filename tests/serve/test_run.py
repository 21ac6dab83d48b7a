"""Launch, follow, stop, attach against a real process tree; the faults are real, too."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.errors import InvalidRequest, LaunchFailed, PlannerError
from planner.facts.startup import Health, StallLimits, StartupFacts, startup_facts
from planner.rendering.document import to_json_value
from planner.serve import Endpoint, StartOrder, attach, follow_async, launch, list_runs
from planner.serve.log.events import (
    PHASES,
    Healthy,
    PhaseStarted,
    ServerEnded,
    ServerReady,
    TimedOut,
)
from planner.serve.process.endpoint import resolve_endpoint, with_endpoint
from planner.serve.process.keys import split_environment
from planner.serve.process.runs import remove_run
from planner.serve.process.supervisor import Supervisor, boot_id, read_stat
from planner.state import history_path, read_records, runs_dir
from tests.ports import own_port

from .conftest import Fake, order
from .logs import REAL
from .runs import wait_for, watch

pytestmark = pytest.mark.slow

EMPTY = Path("/dev/null")


def impatient(monkeypatch: pytest.MonkeyPatch, *, alone_s: float, timeout_s: float) -> None:
    """Shorten the limits that people would find long enough."""
    whole = startup_facts()
    facts = StartupFacts(
        stall_limit_s=StallLimits(**(vars(whole.stall_limit_s) | dict.fromkeys(PHASES, 2.5))),
        health=Health(**(vars(whole.health) | {"alone_s": alone_s, "timeout_s": timeout_s})),
        history=whole.history,
    )
    monkeypatch.setattr("planner.serve.process.follower.startup_facts", lambda: facts)


def test_a_run_is_a_readable_directory_that_anyone_can_follow(fake: Fake, state: Path) -> None:
    run = fake.launch(workers=2)
    events = watch(run)
    assert isinstance(events[-1], ServerReady) and events[-1].said_by == "health and log"
    assert any(isinstance(event, Healthy) for event in events)
    again = [event for event in watch(attach(run.id)) if event.line]
    assert [to_json_value(event) for event in again] == [to_json_value(event) for event in events if event.line]
    names = {path.name for path in run.directory.iterdir()}
    assert {"run.json", "command", "env.json", "server.log", "events.jsonl", "process.json"} <= names
    assert stat.S_IMODE(run.directory.stat().st_mode) == 0o700
    assert run.directory.parent == state / "runs"
    report = run.stop(grace_s=1.0)
    assert report.how == "killed"  # its workers ignore SIGTERM
    assert run.status().state == "stopped"
    assert fake.processes() == []
    assert run.stop().how == "already ended"


def test_events_are_written_once_whoever_follows(fake: Fake) -> None:
    run = fake.launch()
    watch(run)
    first = read_records(run.events_path)
    watch(run)
    second = read_records(run.events_path)
    assert [r for r in second if r["line"]] == [r for r in first if r["line"]]
    assert [r["phase"] for r in first if r["kind"] == "phase-started"][-1] == "ready"
    assert read_records(history_path())[0]["phases_s"].keys() >= {"configure", "load", "capture"}


def test_a_polite_server_is_terminated_not_killed(fake: Fake) -> None:
    run = fake.launch()
    watch(run)
    assert run.stop(grace_s=10.0).how == "terminated"
    assert run.status().exit_code == 128 + signal.SIGTERM
    assert fake.processes() == []


def test_a_server_that_ignores_sigterm_is_killed(fake: Fake) -> None:
    run = fake.launch(stubborn=True, workers=1)
    watch(run)
    assert run.stop(grace_s=0.3).how == "killed"
    assert fake.processes() == []
    assert run.status().state == "stopped"


async def test_following_in_an_event_loop_gives_the_same_events(fake: Fake) -> None:
    run = fake.launch()
    events = [event async for batch in follow_async(run, poll_s=0.03) for event in batch]
    assert isinstance(events[-1], ServerReady)


def test_runs_are_found_by_id_beginning_directory_and_latest(fake: Fake, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere" / "my-run"
    one = launch(order(fake.argv()), run_dir=home)
    assert attach(home).id == attach(one.id).id == attach("latest").id == attach(one.id[:-1]).id
    assert [run.directory for run in list_runs()] == [home]
    with pytest.raises(PlannerError, match="there is no run `nope`"):
        attach("nope")
    with pytest.raises(PlannerError, match="is not a run directory"):
        attach(tmp_path)
    with pytest.raises(PlannerError, match="not empty"):
        launch(order(fake.argv()), run_dir=home)
    with pytest.raises(PlannerError, match="still running"):
        remove_run(one)
    one.stop(grace_s=0.3)
    remove_run(one)
    assert list_runs() == [] and not home.exists()


def test_no_secret_is_ever_written_down(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cr3t-" + "x" * 20
    for name in ("VLLM_API_KEY", "HF_TOKEN", "VLLM_SOME_PASSWORD"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("VLLM_PROXY", f"http://user:{secret}@proxy")
    run = launch(order(fake.argv(), env={"VLLM_LOGGING_LEVEL": "DEBUG", "MY_API_KEY": secret}))
    watch(run)
    run.stop(grace_s=0.3)
    written = b"".join(path.read_bytes() for path in run.directory.iterdir() if path.is_file())
    assert secret.encode() not in written
    shown = json.loads((run.directory / "env.json").read_text())
    assert {"VLLM_API_KEY", "HF_TOKEN", "VLLM_SOME_PASSWORD", "VLLM_PROXY", "MY_API_KEY"} <= set(shown["secrets"])
    assert shown["planned"] == {"VLLM_LOGGING_LEVEL": "DEBUG"}


@pytest.mark.parametrize(
    "extra",
    [["--api-key", "abc"], ["--api_key=abc"], ["--hf-token", "x"], ["--api-ke", "x"], ["--api_k=x"], ["--hf-t"]],
)
def test_a_key_on_the_command_line_is_refused(fake: Fake, extra: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="must not be on the command line") as caught:
        order([*fake.argv(), *extra])
    assert "export it as" in str(caught.value.hint)
    assert list_runs() == []


def test_an_address_with_a_password_is_refused(fake: Fake) -> None:
    for extra in ("--otlp-traces-endpoint=http://me:hidden@collector", "s3://me:hidden@bucket/model"):
        with pytest.raises(InvalidRequest, match="address with a password") as caught:
            order([*fake.argv(), extra])
        assert "hidden" not in str(caught.value)
    assert list_runs() == []


def test_an_open_server_needs_a_key(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "gpu-7", "10.0.0.3"):
        with pytest.raises(LaunchFailed, match="VLLM_API_KEY is not set"):
            launch(StartOrder.of_command(fake.argv(), host=host, port=own_port()))
    monkeypatch.setenv("VLLM_API_KEY", "k" * 16)
    run = launch(StartOrder.of_command(fake.argv(), host="0.0.0.0", port=own_port()))
    assert run.url.startswith("http://127.0.0.1:")
    assert isinstance(watch(run)[-1], ServerReady)


def test_the_address_comes_from_the_command_or_is_loopback() -> None:
    assert resolve_endpoint(["vllm", "serve", "M"]) == Endpoint(host="127.0.0.1", port=8000)
    assert resolve_endpoint(["vllm", "--host=0.0.0.0", "--port", "9"]) == Endpoint(host="0.0.0.0", port=9)
    with pytest.raises(InvalidRequest, match="port must be"):
        resolve_endpoint(["vllm", "--port", "http"])
    argv = with_endpoint(["a", "--host", "x", "--port=1", "-b"], Endpoint(host="h", port=2))
    assert argv == ("a", "-b", "--host", "h", "--port", "2")


def test_names_of_tokenizers_are_no_secrets() -> None:
    shown, hidden = split_environment({"VLLM_TOKENIZER": "mistral", "HF_HOME": "/x", "HF_TOKEN": "abc", "EDITOR": "vi"})
    assert shown == {"HF_HOME": "/x", "VLLM_TOKENIZER": "mistral"} and hidden == ["HF_TOKEN"]


def test_a_server_that_never_gets_ready_times_out_with_what_was_last_seen(fake: Fake) -> None:
    run = fake.launch("never-ready")
    events = watch(run, stall_limits_s={"capture": 0.3, "configure": 20})
    last = events[-1]
    assert isinstance(last, TimedOut) and last.phase == "capture"
    assert "Waiting for application startup" in last.last_seen
    assert run.status().alive  # following changes nothing


@pytest.mark.parametrize(
    ("fault", "words"), [("health-500", "HTTP 500"), ("health-garbage", "no HTTP answer"), ("health-slow", "no answer")]
)
def test_a_server_that_says_ready_but_is_not_healthy(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    impatient(monkeypatch, alone_s=20.0, timeout_s=0.3)
    events = watch(fake.launch(fault), stall_limits_s={"ready": 0.5})
    last = events[-1]
    assert isinstance(last, TimedOut) and last.phase == "ready" and words in last.health


def test_a_server_that_dies_after_ready(fake: Fake) -> None:
    run = fake.launch("die-after-ready", workers=2)
    events = watch(run, until="end")
    assert isinstance(events[-1], ServerEnded)
    assert events[-1].was_ready and events[-1].exit_code == 1
    assert run.status().state == "failed"
    assert fake.processes() == []  # the workers it left are gone as well


def test_another_server_on_the_port_is_not_taken_for_ours(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, alone_s=0.0, timeout_s=1.0)
    ours = fake.launch(log=EMPTY)
    assert isinstance(watch(ours)[-1], ServerReady)  # no word in the log, but the port is its own
    other = launch(order([sys.executable, "-c", "import time; time.sleep(60)"], port=ours.record.endpoint.port))
    assert isinstance(watch(other)[-1], TimedOut)


def test_a_crash_while_starting_is_seen_with_its_code_and_leaves_nothing(fake: Fake) -> None:
    run = fake.launch("crash", log=REAL / "fp8-kernel-missing.log", workers=2)
    events = watch(run)
    assert isinstance(events[-1], ServerEnded) and events[-1].exit_code == 1
    assert [e.phase for e in events if isinstance(e, PhaseStarted)][-1] == "failed"
    assert fake.processes() == []


def test_a_killed_server_is_reported_as_a_shell_would(fake: Fake) -> None:
    run = fake.launch("segfault", workers=1)
    assert watch(run, until="end")[-1].exit_code == 137  # type: ignore[attr-defined]
    assert fake.processes() == []


def test_a_program_that_does_not_exist(state: Path) -> None:
    run = launch(order(["/nowhere/vllm", "serve"]))
    last = watch(run)[-1]
    assert isinstance(last, ServerEnded) and last.exit_code == 127
    assert b"cannot start `/nowhere/vllm`" in run.read_log()


def test_a_supervisor_that_is_killed_leaves_a_server_that_stop_still_finds(fake: Fake) -> None:
    run = fake.launch(workers=2)
    watch(run)
    pid = run.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: run.status().pid == pid and run.status().state == "running")
    assert len(fake.processes()) == 3
    assert run.stop(grace_s=0.3).how == "killed"
    assert fake.processes() == []
    assert run.status().state == "stopped"


def test_killing_the_launcher_at_random_moments_loses_nothing(fake: Fake) -> None:
    """The launcher is shot within a fraction of a second; whatever runs then must be findable and stoppable."""
    dice = random.Random(35)
    port = own_port()
    outcomes = set()
    window_s = 0.06
    for shot in range(40):
        if shot % 5 == 4 and "running" not in outcomes:
            window_s *= 2  # a busy machine needs longer to get anywhere
        child = os.fork()
        if child == 0:
            try:
                launch(order(fake.argv(workers=1), port=port))
                time.sleep(60)
            finally:
                os._exit(0)
        time.sleep(dice.random() * window_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for run in list_runs():
            outcomes.add(run.status().state)
            run.stop(grace_s=0.1)
            assert not run.status().alive
            assert (run.directory / "command").read_text() and run.record.argv and run.read_log() is not None
            remove_run(run)
        assert fake.processes() == []
    assert "running" in outcomes
    leftovers = [path for path in runs_dir().iterdir() if not path.name.startswith(".")]
    assert leftovers == []


def test_a_run_is_removed_although_its_supervisor_comes_after_the_stop(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.serve.process.launcher._spawn_supervisor", lambda run, spawn, environment: None)
    run = launch(order(fake.argv()))
    (run.directory / "stop").write_text("now")
    late = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"], start_new_session=True)
    try:
        seen = read_stat(late.pid)
        assert seen is not None
        record = {"pid": late.pid, "start_ticks": seen[4], "boot_id": boot_id(), "started_at_s": 0, "server_pid": None}
        (run.directory / "process.json").write_text(json.dumps(record))
        assert run.status().state == "running"
        remove_run(run)
        assert not run.directory.exists()
    finally:
        late.kill()
        late.wait()


def test_a_stop_before_the_server_exists_prevents_it(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.process.launcher._spawn_supervisor", lambda run, spawn, environment: None)
    run = launch(order(fake.argv()))
    assert run.status().state == "preparing"
    monkeypatch.undo()
    (run.directory / "stop").write_text("now")
    spawn = {"argv": fake.argv(), "cwd": "/", "cleanup": [], "scratch": [], "end_with": None}
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(Supervisor(run.directory, spawn).run())
    os.waitpid(child, 0)
    assert run.status().state == "stopped"
    assert fake.processes() == []
