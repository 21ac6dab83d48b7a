"""Commands for several nodes, with vLLM's own means."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, plan
from planner.rendering.multi_node import node_commands


def nodes(gpus: str, *, executor: str = "mp", **settings: int):  # type: ignore[no-untyped-def]
    return node_commands(plan(PlanRequest(gpus=parse_gpus(gpus), **settings)), executor=executor)  # type: ignore[arg-type]


def flag(argv: tuple[str, ...], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_a_server_over_two_nodes_uses_the_multi_node_executor() -> None:
    first, second = nodes("2x8xH200", tensor_parallel_size=8, pipeline_parallel_size=2)
    assert (first.head, second.head) == (True, False)
    for rank, node in enumerate((first, second)):
        assert node.command is not None
        argv = node.command.argv
        assert (flag(argv, "--nnodes"), flag(argv, "--node-rank")) == ("2", str(rank))
        assert ("--headless" in argv) == (rank == 1)
    assert flag(first.command.argv, "--master-addr") == flag(second.command.argv, "--master-addr")  # type: ignore[union-attr]


def test_replicas_on_two_nodes_are_servers_of_their_own() -> None:
    found = nodes("2x8xH200", tensor_parallel_size=4)
    assert [(node.node, node.replica, node.head) for node in found] == [(0, 0, True), (1, 2, True)]
    for node in found:
        assert node.command is not None
        assert flag(node.command.argv, "--data-parallel-size") == "2", "those of one node share its port"
        joined = [word for word in node.command.argv if word.startswith("--data-parallel-")]
        assert joined == ["--data-parallel-size"], "vLLM joins replicas over nodes for mixtures of experts only"
        assert "load balancer" in node.note


def test_one_replica_a_node_needs_no_data_parallelism() -> None:
    for node in nodes("2x8xH200"):
        assert node.command is not None
        assert not [word for word in node.command.argv if "data-parallel" in word or "nnodes" in word]


def test_the_last_node_serves_what_is_left() -> None:
    found = nodes("2x8xH200", tensor_parallel_size=4, replicas=3)
    assert [("--data-parallel-size" in node.command.argv) for node in found if node.command] == [True, False]


def test_ray_starts_the_engine_on_the_head_only() -> None:
    head, worker = nodes("2x8xH200", tensor_parallel_size=8, pipeline_parallel_size=2, executor="ray")
    assert head.command is not None
    assert flag(head.command.argv, "--distributed-executor-backend") == "ray"
    assert worker.command is None
    assert worker.before[0][:2] == ("ray", "start")


def test_two_servers_of_two_nodes_each_have_their_own_head() -> None:
    found = nodes("4x8xH200", tensor_parallel_size=8, pipeline_parallel_size=2)
    assert [node.head for node in found] == [True, False, True, False]
    assert [node.replica for node in found] == [0, 0, 1, 1]
    addresses = [flag(node.command.argv, "--master-addr") for node in found if node.command]
    assert addresses[0] == addresses[1] != addresses[2] == addresses[3]


def test_replicas_of_one_node_share_one_port() -> None:
    (only,) = nodes("8xH200", tensor_parallel_size=2)
    assert only.command is not None
    assert flag(only.command.argv, "--data-parallel-size") == "4"


def test_servers_that_leave_nodes_half_full_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="whole nodes"):
        nodes("2x8xH200", tensor_parallel_size=4, pipeline_parallel_size=3)


def test_nodes_that_hold_the_model_only_together_are_one_server() -> None:
    head, worker = nodes("2x1xGB10")
    assert flag(head.command.argv, "--pipeline-parallel-size") == flag(worker.command.argv, "--nnodes") == "2"
    assert "--headless" in worker.command.argv
