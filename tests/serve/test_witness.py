# ruff: noqa: E501 - log lines are as long as they are
from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hw_specs.detect.activity import GpuActivity
from planner.serve.log.diagnosis import diagnose
from planner.serve.process import witness
from planner.serve.process.witness import WITNESS, counters, gpu_memory, kernel_words, oom_kills

LOG = b"(EngineCore pid=210) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0) with config: model='m'\n"
OOM = "Out of memory: Killed process 4711 (VLLM::Worker_TP0) total-vm:41G, anon-rss:62G"
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', GPU has fallen off the bus."


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dmesg that prints a file."""
    program = tmp_path / "bin" / "dmesg"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/kernel.txt\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "kernel.txt"


def stamped(text: str, at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S,123456+00:00", time.gmtime(at_s)) + f" {text}\n"


def test_only_what_was_said_since_the_launch_and_concerns_engines_counts(said: Path, tmp_path: Path) -> None:
    now = time.time()
    other = OOM.replace("VLLM::Worker_TP0", "firefox")
    said.write_text(stamped(XID, now - 900) + stamped(other, now) + stamped(OOM, now) + "torn line\n")
    assert kernel_words(tmp_path, since_s=now - 5).decode() == f"{OOM}\n"


def test_the_kernel_s_word_names_a_death_without_words() -> None:
    assert diagnose(LOG, exit_code=137).code == "killed"
    found = diagnose(LOG, exit_code=137, kernel=f"{OOM}\n".encode())
    assert found.code == "oom-killed" and found.evidence[0].number == 0
    assert diagnose(LOG, exit_code=134, kernel=f"{XID}\n".encode()).code == "gpu-lost"


def test_a_start_that_ended_by_itself_is_not_explained_by_the_kernel() -> None:
    assert diagnose(LOG, exit_code=1, kernel=f"{OOM}\n".encode()).code == "unknown"


def test_the_log_s_own_cause_comes_first() -> None:
    log = (
        LOG
        + b"(EngineCore pid=210) ERROR 05-13 10:41:43 [core.py:842] ValueError: No available memory for the cache blocks.\n"
    )
    assert diagnose(log, exit_code=137, kernel=f"{OOM}\n".encode()).code == "no-kv-memory"


def test_a_counter_that_grew_since_the_launch_speaks(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said.write_text("")
    (tmp_path / WITNESS).write_text(json.dumps({"oom_kills": 2}))
    monkeypatch.setattr(witness, "oom_kills", lambda: 3)
    words = kernel_words(tmp_path, since_s=time.time())
    assert diagnose(LOG, exit_code=137, kernel=words).code == "oom-killed"
    monkeypatch.setattr(witness, "oom_kills", lambda: 2)
    assert kernel_words(tmp_path, since_s=time.time()) == b""


def test_the_counter_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) is None
    (tmp_path / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")
    assert oom_kills(tmp_path) == 3
    assert "oom_kills" in json.loads(counters())


def gpu(index: int, used_gib: float) -> GpuActivity:
    return GpuActivity(
        vendor="nvidia", index=index, use_fraction=0.0, used_bytes=round(used_gib * 2**30), total_bytes=80 * 2**30,
        power_w=None, power_limit_w=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            (0.5, 61.0),
            (0.5, 61.2),
            "GPU 1 still holds 61.20 of 80.00 GiB after the server has ended, 61.00 at the launch",
        ),
        (
            (0.5, 61.0),
            (0.5, 0.4),
            "nothing else holds memory of the GPUs now that the server has ended (GPU 1 held 61.00",
        ),
        ((0.0, 0.0), (0.0, 0.0), "nothing else holds memory of the GPUs now that the server has ended"),
    ],
)
def test_what_is_on_the_gpus_after_the_end_is_said_first_where_memory_is_the_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[float, ...], after: tuple[float, ...], said: str
) -> None:
    there: list[tuple[float, ...]] = [before]
    monkeypatch.setattr(
        witness.ActivityReader, "read", lambda _: tuple(gpu(index, used) for index, used in enumerate(there[0]))
    )
    (tmp_path / WITNESS).write_text(counters())
    there[0] = after
    held = gpu_memory(tmp_path)
    oom = LOG + b"(Worker_TP1 pid=3) ERROR 05-13 10:41:43 [x.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"
    assert diagnose(oom, exit_code=1, held=held).cures[0].startswith(said)
    port = LOG + b"(APIServer pid=3) ERROR 05-13 10:41:43 [x.py:1] OSError: [Errno 98] Address already in use\n"
    assert not any("GPU" in cure for cure in diagnose(port, exit_code=1, held=held).cures)


def test_a_machine_without_a_driver_says_nothing_of_its_gpus(tmp_path: Path) -> None:
    oom = LOG + b"(Worker_TP1 pid=3) ERROR 05-13 10:41:43 [x.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"
    assert diagnose(oom, exit_code=1, held=gpu_memory(tmp_path)).cures == diagnose(oom, exit_code=1).cures
