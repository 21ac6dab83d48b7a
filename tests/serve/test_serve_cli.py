"""The commands of the loop, through the real entry point."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from planner.serve import Run, attach, list_runs
from planner.serve.process.listener import listening_inodes
from tests.ports import own_port

from .conftest import Fake
from .logs import LOGS, REAL
from .said import started

pytestmark = pytest.mark.slow


def test_launch_runs_attach_stop(m35, fake: Fake) -> None:
    said = m35("launch", *started(fake))
    assert said.code == 0 and "ready    http://127.0.0.1:" in said.out
    assert "weights" in said.err and "answers at" in said.err and "\x1b" not in said.err
    [listed] = m35("runs", "--json").json()["runs"]
    assert (listed["state"], listed["serving"]) == ("running", "ready")
    assert f"{listed['id']}  ready " in m35("runs").out
    again = m35("attach", "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert events[-1]["kind"] == "start-report" and events[-1]["outcome"] == "ready"
    assert events[-2]["kind"] == "server-ready"
    assert "terminated" in m35("stop").out
    assert m35("stop", "--all").out == "nothing is running\n"
    assert m35("stop", "nope").code == 2
    assert m35("runs", "--remove", listed["id"]).out == "no runs on this machine\n"


def test_a_failed_launch_diagnoses_itself(m35, fake: Fake) -> None:
    said = m35("launch", *started(fake, "crash", log=REAL / "fp8-kernel-missing.log"))
    assert said.code == 5
    assert said.out.startswith("kernel-or-driver: ") and "what cures it" in said.out
    assert "did not come up (exit code 1)" in said.err
    run = list_runs()[0]
    report = json.loads((run.directory / "report.json").read_text())
    assert report["outcome"] == "failed" and report["failure"]["code"] == "kernel-or-driver"
    assert m35("diagnose").code == 5 and m35("diagnose").out.startswith("kernel-or-driver: ")


def test_a_launch_that_takes_too_long_is_stopped(m35, fake: Fake) -> None:
    said = m35("launch", "--timeout", "capture=0.3", *started(fake, "never-ready", workers=1))
    assert said.code == 7
    assert "no progress in phase capture" in said.err and "Waiting for application startup" in said.err
    assert "/health: HTTP 200" in said.err
    assert fake.processes() == []


def test_the_kill_that_ends_a_launch_is_not_its_cause(m35, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Run.stop
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop", lambda run: patient(run, grace_s=0.1))
        said = m35("launch", "--timeout", "capture=0.1", *started(fake, "never-ready", stubborn=True))
    [run] = list_runs()
    assert said.code == 7 and run.status().exit_code == 137
    report = json.loads((run.directory / "report.json").read_text())
    assert report["failure"]["code"] == "timeout" and said.out.startswith("timeout: ")


@pytest.mark.parametrize("limit", ["boot=1", "soon", "5m", "load=0", "0"])
def test_a_limit_that_is_none_starts_nothing(m35, fake: Fake, limit: str) -> None:
    for more in ([], ["--detach"], ["--dry-run"]):
        assert m35("launch", "--timeout", limit, *more, *started(fake)).code == 2
    assert list_runs() == [] and fake.processes() == []


def test_a_command_that_ends_before_it_serves_has_failed(m35) -> None:
    said = m35("launch", "--no-check", "--port", str(own_port()), "--", "true")
    assert said.code == 5 and "did not come up (exit code 0)" in said.err
    assert m35("attach").code == 5


def test_a_launch_that_somebody_stops_is_no_success(m35, fake: Fake) -> None:
    words = started(fake, "never-ready")
    stopper = threading.Thread(target=stop_once_it_answers, args=(int(words[-1]),))
    stopper.start()
    said = m35("launch", *words)
    stopper.join()
    assert said.code == 5 and "stopped before it was ready" in said.err


def stop_once_it_answers(port: int) -> None:
    deadline = time.monotonic() + 20
    while not listening_inodes(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    list_runs()[0].stop(grace_s=1.0)


def test_only_the_server_of_the_run_is_verified(m35, fake: Fake) -> None:
    words = started(fake)
    assert m35("launch", "--detach", *words).code == 0
    impostor = ["--no-check", "--port", words[-1], "--", sys.executable, "-c", "import time; time.sleep(60)"]
    stop_when = attach()
    assert m35("attach", stop_when.id).code == 0
    said = m35("launch", "--timeout", "configure=0.5", *impostor)
    assert said.code == 7 and f"HTTP 200 from another server: port {words[-1]} is not ours" in said.err
    assert m35("launch", "--detach", *impostor).code == 0
    other = list_runs()[0]
    said = m35("verify", "--run", other.id)
    assert said.code == 6 and "is not the one of run" in said.err
    other.stop(grace_s=0.2)
    said = m35("verify", "--run", other.id)
    assert said.code == 6 and "does not run any more (stopped)" in said.err
    # Nobody means the dead one where another one runs.
    assert attach("latest").id == other.id and attach("latest", prefer_running=True).id == stop_when.id
    for word in ("attach", "stop"):
        assert m35(word, "").code == 2


def test_a_death_after_long_service_is_diagnosed_from_the_end(
    m35, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("log.excerpt", "start_report"):
        monkeypatch.setattr(f"planner.serve.{name}.HEAD_BYTES", 4096)
    monkeypatch.setattr("planner.serve.log.excerpt.CHUNK_BYTES", 2048)
    chatter = b"INFO 11-23 15:00:00 [loggers.py:1] Avg generation throughput: 1.0 tokens/s\n" * 500
    last = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
    assert m35("launch", *started(fake, "die-after-ready")).code == 0
    run = attach()
    while run.status().alive:
        time.sleep(0.02)
    ready = run.read_log()
    run.log_path.write_bytes(ready + chatter + last)
    said = m35("attach", "--json")
    conclusion = json.loads(said.out.splitlines()[-1])
    assert said.code == 5 and conclusion["failure"]["code"].startswith("oom")
    assert conclusion["failure"]["evidence"][0]["number"] == ready.count(b"\n") + 501


@pytest.mark.parametrize(("engine_died", "code"), [(True, 5), (False, 0)])
def test_a_server_that_exits_with_0_has_failed_where_its_engine_died(
    m35, fake: Fake, engine_died: bool, code: int
) -> None:
    assert m35("launch", *started(fake, "end-after-ready")).code == 0
    run = attach()
    while run.status().alive:
        time.sleep(0.02)
    if engine_died:
        (killed,) = LOGS.rglob("launch-engine-killed.log")
        said = killed.read_bytes()
        run.log_path.write_bytes(run.read_log() + said[said.index(b"[shutdown] Process manager") :])
    shown = m35("attach", "--until", "end")
    assert shown.code == code
    assert ("died after it was ready" in shown.err) == engine_died
    (listed,) = m35("runs", "--json").json()["runs"]
    assert (listed["state"], listed["exit_code"]) == ("failed" if engine_died else "ended", 0)
    assert ("its engine died" in listed["note"]) == engine_died
    assert re.search(r" (failed|ended) ", m35("runs").out)[1] == listed["state"]


def test_detached_and_in_a_directory_of_ones_own(m35, fake: Fake, tmp_path: Path) -> None:
    home = tmp_path / "here"
    said = m35("launch", "--detach", "--json", "--run-dir", str(home), *started(fake))
    assert said.code == 0 and said.json()["directory"] == str(home)
    assert m35("attach", str(home)).code == 0
    assert "terminated" in m35("stop", str(home)).out


def test_what_would_be_started(m35) -> None:
    said = m35("launch", "--gpus", "8xH200", "--dry-run", "--", "--served-model-name", "m35")
    assert said.out.startswith("vllm serve mistralai/Mistral-Medium-3.5-128B ")
    assert said.out.endswith("--served-model-name m35 --host 127.0.0.1 --port 8000\n")
    cuda = m35("launch", "--gpus", "8xH200", "--target", "docker", "--dry-run", "--json").json()["argv"]
    rocm = m35("launch", "--gpus", "8xMI300X", "--target", "docker", "--dry-run", "--json").json()["argv"]
    assert cuda[:2] == rocm[:2] == ["docker", "run"] and "--gpus" in cuda and "/dev/kfd" in rocm
    assert "127.0.0.1:8000:8000" in cuda and "--privileged" not in cuda + rocm
    assert list_runs() == []


@pytest.mark.parametrize(
    "flag",
    [
        "-tp 4", "-pp=2", "-dp 2", "-sc {}", "--tensor-para 4", "--tensor_parallel_size=4", "--max-num-seqs 4",
        "--max-model 9", "--kv-cache-dtype fp8", "--kv-cache-memory-bytes 9", "--language-model-only", "--block-size 4",
        "--no-language-model-only", "--gpu-memory-utilization 0.5", "--gpu-mem 0.5", "--enforce-eager", "--enf",
        "--load-format dummy", "--config-format hf", "--tokenizer-mode hf", "--speculative-config {}",
        "--speculative-config.method eagle", "--limit-mm-per-prompt {}", "--model other",
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["launch --target local --dry-run", "launch --target docker --dry-run", "check"])
def test_what_the_plan_decides_is_not_given_behind_it(m35, flag: str, order: str) -> None:
    said = m35(*order.split(), "--gpus", "8xH200", "--", *flag.split())
    assert said.code == 2 and "would make the server differ from its plan" in said.err
    assert "hint: give `--" in said.err


def test_what_the_plan_leaves_open_may_stand_behind_it(m35) -> None:
    free = [
        "--tokenizer",
        "x",
        "--config",
        "c.yaml",
        "--seed",
        "1",
        "--no-enable-prefix-caching",
        "-n",
        "--max-logprobs=2",
    ]
    assert " ".join(free) in m35("launch", "--gpus", "8xH200", "--dry-run", "--", *free).out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--gpus", "1xH100"], 3, "the plan does not fit"),
        (["--gpus", "8xH200", "--host", "0.0.0.0"], 5, "VLLM_API_KEY is not set"),
        (["--gpus", "8xH200", "--", "--api-key", "x"], 2, "must not be on the command line"),
        (["--gpus", "2x8xH200", "-tp", "8", "-pp", "2"], 2, "nodes"),
        (["--gpus", "2x8xH200", "-tp", "8", "-pp", "2", "--target", "docker"], 2, "nodes"),
        (["--gpus", "8xH200", "--vllm", "/nowhere/vllm"], 5, "preflight check"),
        (["--target", "docker", "--", "vllm", "serve", "M"], 2, "target docker starts a plan"),
        (["--port", "0", "--gpus", "8xH200"], 2, "port"),
    ],
)
def test_what_is_not_started(m35, words: list[str], code: int, message: str) -> None:
    said = m35("launch", *words)
    assert said.code == code and message in said.err
    assert list_runs() == []


def test_ctrl_c_in_a_pipe_stops_cleanly(fake: Fake) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", "launch", "--stay", *started(fake)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "stopping the server" in err
    assert fake.processes() == []


def test_ctrl_c_on_a_terminal_may_leave_the_server(fake: Fake) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", "launch", "--stay", *started(fake)],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(follower)

    def read_until(word: bytes) -> bytes:
        seen = b""
        deadline = time.monotonic() + 30
        while word not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(leader, 65536)
        return seen

    shown = read_until(b"ready    http")
    assert b"\x1b[2K" in shown and "✓ ".encode() in shown  # the block that redraws itself
    process.send_signal(signal.SIGINT)
    read_until(b"leave it running?")
    os.write(leader, b"leave\n")
    read_until(b"the server goes on")
    assert process.wait(timeout=30) == 130
    os.close(leader)
    assert attach().status().alive and fake.processes()
