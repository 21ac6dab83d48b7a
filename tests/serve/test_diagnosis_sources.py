# ruff: noqa: E501 - log lines are as long as they are
"""A start whose logs lie apart: standard output and error, one file per pod, rank or node."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cli import main
from planner.serve.log.excerpt import LogExcerpt, read_excerpt
from planner.serve.log.sources import join_logs

from .logs import RECONSTRUCTED, read

WHOLE = read(RECONSTRUCTED, "v2-8xh200-0.33.0.log").decode()
LINES = WHOLE.splitlines()
READY = next(line for line in LINES if "Application startup complete" in line)
LOADING = LINES[: next(at for at, line in enumerate(LINES) if "Model loading took" in line)]
WAIT = "(EngineCore pid=293) INFO 11-20 09:1{}:39 [shm_broadcast.py:542] No available shared memory broadcast block found in 60 seconds. This typically happens when some processes are hanging."
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.10 GiB is free."
WORKER = "(Worker_TP8 pid=77) {level} 11-20 09:0{minute}:30 [multiproc_executor.py:{line}] {text}"


def node_one(minute: int = 5) -> list[str]:
    said = [WORKER.format(level="INFO", minute=minute, line=650, text="Starting to load model")]
    for text in (
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3/vllm/x.py", line 3, in load_model',
        "    do()",
        OOM,
    ):
        said.append(WORKER.format(level="ERROR", minute=minute, line=822, text=text))
    return said


class Files:
    """Logs in a folder, and the command asked about them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def write(self, **logs: list[str]) -> list[str]:
        for name, lines in logs.items():
            (self.folder / f"{name.replace('_', '.')}").write_text("".join(f"{line}\n" for line in lines))
        return [str(self.folder / name.replace("_", ".")) for name in logs]

    def ask(self, *argv: str) -> tuple[int, str]:
        self.capsys.readouterr()
        code = main(["diagnose", *argv])
        said = self.capsys.readouterr()
        return code, said.out + said.err

    def document(self, *argv: str) -> dict[str, object]:
        return dict(json.loads(self.ask(*argv, "--json")[1]))


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path, capsys)


@pytest.mark.parametrize("turned", [False, True])
def test_another_node_s_cause_explains_this_one_s_wait(files: Files, turned: bool) -> None:
    files.write(node0=LOADING + [WAIT.format(minute) for minute in range(5)], node1=node_one())
    names = ["node1", "node0"] if turned else ["node0", "node1"]
    assert files.document("node0")["code"] == "workers-hang"
    found = files.document(*names)
    assert found["code"] == "oom-load"
    assert [(line["source"], line["number"]) for line in found["evidence"]] == [("node1", 5)]  # type: ignore[attr-defined]
    assert found["sources"] == [
        {"source": name, "code": {"node0": "workers-hang", "node1": "oom-load"}[name]} for name in names
    ]
    code, text = files.ask(*names)
    assert code == 5 and "in node1\n     5  torch.OutOfMemoryError" in text and "node0  " in text


def test_the_first_of_two_nodes_that_fail_is_the_cause(files: Files) -> None:
    refused = "(EngineCore pid=293) ERROR 11-20 09:0{}:31 [core.py:9] ValueError: No available memory for the cache blocks. Try increasing"
    files.write(node0=[*LOADING, refused.format(7)], node1=node_one(5), node2=node_one(9))
    assert files.document("node0", "node1")["code"] == "oom-load"
    assert files.document("node0", "node2")["code"] == "no-kv-memory"


def test_tracebacks_of_two_nodes_with_the_same_processes_stay_apart(files: Files) -> None:
    def node(text: str) -> list[str]:
        head = "(EngineCore pid=293) ERROR 11-20 09:0{}:30 [core.py:9] {}"
        block = [
            "Traceback (most recent call last):",
            '  File "/usr/lib/python3/else.py", line 3, in do',
            "    do()",
            f"KeyError: '{text}'",
        ]
        return [head.format(minute, line) for minute, line in zip((5, 6, 7, 8), block, strict=True)]

    files.write(a=[*LOADING, *node("first")], b=node("second"))
    found = files.document("a", "b")
    texts = [line["text"] for line in found["traceback"]]  # type: ignore[attr-defined]
    assert texts[-1] == "KeyError: 'first'" and len(texts) == 4


def test_standard_error_alone_says_that_the_server_was_ready(files: Files) -> None:
    quiet = [line for line in LINES if "Application startup complete" not in line]
    passed = quiet.index(next(line for line in quiet if "Starting vLLM" in line))
    noise = "(EngineCore pid=293) ERROR 11-20 09:02:00 [x.py:1] ValueError: No available memory for the cache blocks."
    before = [*LOADING, noise, *quiet[len(LOADING) :]]
    after = [*quiet[: passed + 2], noise.replace("09:02:00", "23:04:06")]
    files.write(m35_out=before, m35_err=[READY], died_out=after)
    assert files.ask("m35.out", "m35.err")[0] == files.ask("m35.err", "m35.out")[0] == 0
    assert files.document("m35.err", "died.out")["code"] == "no-kv-memory"


def test_a_ready_line_without_a_time_excuses_nobody(files: Files) -> None:
    refused = "(EngineCore pid=293) ERROR [core.py:9] ValueError: No available memory for the cache blocks."
    files.write(m35_err=[READY], m35_out=[refused], quiet_out=[*LOADING, *node_one()])
    for names in (("m35.err", "m35.out"), ("m35.out", "m35.err")):
        assert files.document(*names)["code"] == "no-kv-memory"
    for names in (("m35.err", "quiet.out"), ("quiet.out", "m35.err")):
        assert str(files.document(*names)["code"]).startswith("oom-")


def test_a_replica_that_came_up_does_not_excuse_another_one(files: Files) -> None:
    late = [line.replace("11-20 09:", "11-20 10:") for line in LINES]
    failed = [*LOADING, *node_one()]
    files.write(a_out=late, a_err=[READY], b_out=failed, b_err=[])
    found = files.document("a.out", "a.err", "b.out", "b.err")
    assert found["code"] == "oom-load"
    assert files.ask("a.out", "b.out", "--exit-code", "1")[0] == 2


def test_what_kubernetes_says_of_the_pod_stands_beside_its_log(files: Files) -> None:
    events = ["Events:", "  Warning  BackOff  8s  kubelet  Back-off restarting failed container vllm in pod vllm-0"]
    files.write(pod_log=[*LOADING, *node_one()], describe_txt=events)
    for names in (("describe.txt", "pod.log"), ("pod.log", "describe.txt")):
        assert files.document(*names)["code"] == "oom-load"
    files.write(cut_log=LOADING)
    assert files.document("cut.log", "describe.txt")["code"] == "restarts"


def test_times_of_kubectl_in_two_zones_are_one_order(files: Files) -> None:
    files.write(
        one=[
            f"2026-11-20T09:05:00.000000002Z {LOADING[0]}",
            "2026-11-20T09:07:00Z (Worker_TP0 pid=3) RuntimeError: second",
        ],
        two=["2026-11-20T10:06:00.5+01:00 (Worker_TP0 pid=3) RuntimeError: first", "not a time"],
    )
    joined = join_logs({name: read_excerpt(io.BytesIO((files.folder / name).read_bytes())) for name in ("one", "two")})
    assert [joined.place(number)[::-1] for number in range(1, 5)] == [("one", 1), ("two", 1), ("two", 2), ("one", 2)]


def test_standard_input_is_one_of_several(files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files.write(node0=LOADING, node1=node_one())
    with (tmp_path / "node1").open() as pipe:
        import os

        kept = os.dup(0)
        os.dup2(pipe.fileno(), 0)
        try:
            found = files.document("node0", "-")
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    assert found["code"] == "oom-load"
    assert found["evidence"][0]["source"] == "-"  # type: ignore[index]
    assert sys.stdin is not None


def test_what_cannot_be_read_together_is_told(files: Files) -> None:
    files.write(a=LOADING)
    for argv, words in (
        (("a", "a"), "`a` is named twice"),
        (("a", "b.log"), "there is no file `b.log`"),
        (("-", "-"), "named twice"),
    ):
        code, text = files.ask(*argv)
        assert code == 2 and words in text


line = st.sampled_from(
    [
        "x",
        "",
        "INFO 11-20 09:04:06 [a.py:1] a",
        "INFO 11-20 09:04:07 [a.py:1] b",
        "2026-11-20T09:04:06Z c",
        "Nov 20 09:04:08 h a[1]: d",
        "Application startup complete.",
        "INFO 11-20 09:04:06 [a.py:1] Starting vLLM server on x",
    ]
)


@given(st.lists(st.lists(line, max_size=6), min_size=1, max_size=4))
def test_every_line_of_every_log_is_kept_once_and_in_its_order(logs: list[list[str]]) -> None:
    texts = {f"log{at}": "".join(f"{one}\n" for one in said).encode() for at, said in enumerate(logs)}
    joined = join_logs({name: LogExcerpt(text=text, head_bytes=0) for name, text in texts.items()})
    found: dict[str, list[tuple[int, bytes]]] = {name: [] for name in texts}
    for number, text in enumerate(joined.text.removesuffix(b"\n").split(b"\n"), 1):
        place, name = joined.place(number)
        if name:
            found[name].append((place, text))
    for name, text in texts.items():
        whole = text.removesuffix(b"\n").split(b"\n")
        assert found[name] == list(enumerate(whole, 1))
