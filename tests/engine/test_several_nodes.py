"""What is emitted for several nodes, on real engines: one server over two nodes, and servers of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import yaml

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, emit, plan
from planner.rendering.multi_node import node_commands
from planner.serve.log.events import ServerReady
from planner.serve.preflight.installed import InstalledEngine
from planner.serve.process.run import Run
from planner.serve.rehearsal.full_size_plan import rehearsal_plan
from planner.serve.rehearsal.twin import make_twin
from tests.ports import own_port

from .conftest import Stage, follow_all

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
QUESTION = {"model": "mistralai/Mistral-Medium-3.5-128B", "prompt": "Hello", "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def small(engine: InstalledEngine, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The smallest server there is: text alone, no draft."""
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), max_model_len=4096, language_model_only=True))
    rehearsal = rehearsal_plan(answer, engine)
    twin = make_twin(tmp_path_factory.mktemp("twin") / "small", spec=rehearsal.twin)
    return Stage(plan=answer, rehearsal=rehearsal, twin=twin, engine=engine)


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    found: list[Run] = []
    yield found
    for run in reversed(found):
        run.stop(grace_s=5)


@contextmanager
def routed(urls: list[str]) -> Iterator[str]:
    """vLLM's own router in front of some servers, its URL; skips where it is not installed."""
    program = shutil.which("vllm-router")
    if program is None:
        pytest.skip("there is no vllm-router")
    port = own_port()
    process = subprocess.Popen(
        [
            program, "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin",
            "--prometheus-port", str(own_port()), "--worker-urls", *urls,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def asked(run: Run) -> str:
    return asked_at(run.url)


def asked_at(url: str) -> str:
    reply = httpx.post(f"{url}/v1/completions", json=QUESTION, timeout=120)
    assert reply.status_code == 200, reply.text
    text: str = reply.json()["choices"][0]["text"]
    return text


def answered(run: Run) -> float:
    page = httpx.get(f"{run.url}/metrics", timeout=30).text
    return sum(float(value) for value in re.findall(r"^vllm:request_success_total\{.*\} ([0-9.e+]+)$", page, re.M))


def by_engine(run: Run) -> dict[str, float]:
    """Answered requests of each engine core."""
    page = httpx.get(f"{run.url}/metrics", timeout=30).text
    found: dict[str, float] = {}
    for labels, value in re.findall(r"^vllm:request_success_total\{(.*)\} ([0-9.e+]+)$", page, re.M):
        engine = re.search(r'engine="(\d+)"', labels)
        if engine is not None:
            found[engine[1]] = found.get(engine[1], 0.0) + float(value)
    return found


def in_pod(answer: Plan, rank: int) -> list[str]:
    """The words of a LeaderWorkerSet's pod as its node gives them to the engine, from ``--nnodes`` on."""
    objects = yaml.safe_load_all(emit("lws", answer))
    template = next(one for one in objects if one["kind"] == "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    role = "workerTemplate" if rank else "leaderTemplate"
    args = template[role]["spec"]["containers"][0]["args"]
    given = {"LWS_LEADER_ADDRESS": "127.0.0.1", "LWS_WORKER_INDEX": str(rank)}
    words = [re.sub(r"\$\((\w+)\)", lambda hit: given[hit[1]], word) for word in args]
    return words[words.index("--nnodes") :]


def test_one_server_over_two_nodes_answers(small: Stage, runs: list[Run]) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("2x8xH200"), tensor_parallel_size=8, pipeline_parallel_size=2))
    head, worker = node_commands(answer, head_address="127.0.0.1")
    for rank, node in enumerate((head, worker)):
        assert node.command is not None
        argv = node.command.argv
        words = list(argv[argv.index("--nnodes") :])
        assert in_pod(answer, rank) == words
        runs.append(small.launch("--tensor-parallel-size", "2", *words))
    last = follow_all(runs[0])[-1]
    assert isinstance(last, ServerReady), runs[0].read_log()[-3000:].decode() + runs[1].read_log()[-3000:].decode()
    assert asked(runs[0])
    assert "--headless" in in_pod(answer, 1)


def test_replicas_inside_a_node_are_one_server(stage: Stage, runs: list[Run]) -> None:
    """What a node with several replicas runs: one address, one engine core a replica, and each gets requests."""
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=4))
    (node,) = node_commands(answer)
    assert node.command is not None
    argv = node.command.argv
    words = argv[argv.index("--data-parallel-size") :][:2]
    assert words == ("--data-parallel-size", "2")
    runs.append(stage.launch(*words))
    assert isinstance(follow_all(runs[0])[-1], ServerReady), runs[0].read_log()[-3000:].decode()
    assert len({asked(runs[0]) for _ in range(6)}) == 1, "both replicas hold the same weights"
    served = by_engine(runs[0])
    assert sorted(served) == ["0", "1"]
    assert all(served.values()), served


def test_servers_of_their_own_share_the_load(stage: Stage, runs: list[Run]) -> None:
    """The default plan of two nodes: each server starts by itself, and whoever stands in front may ask either."""
    nodes = node_commands(plan(PlanRequest(gpus=parse_gpus("2x8xH200"))))
    for node in nodes:
        assert node.command is not None
        assert not [word for word in node.command.argv if "data-parallel" in word or "nnodes" in word]
        runs.append(stage.launch())
    for run in runs:
        assert isinstance(follow_all(run)[-1], ServerReady), run.read_log()[-3000:].decode()
    texts = [asked(runs[turn % len(runs)]) for turn in range(4)]
    assert len(set(texts)) == 1, "the same weights answer alike"
    deadline = time.monotonic() + 30
    while any(answered(run) < 2 for run in runs) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [answered(run) for run in runs] == [2, 2]
    with routed([run.url for run in runs]) as url:
        through = [asked_at(url) for _ in range(4)]
    assert set(through) == set(texts), "a router in front gives the same answers"
    deadline = time.monotonic() + 30
    while any(answered(run) < 4 for run in runs) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [answered(run) for run in runs] == [4, 4], "and shares the load"
