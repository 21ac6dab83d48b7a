"""The command that a plan shows: on no node does it ask for more GPUs than the node has."""

from __future__ import annotations

import shlex

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.cli.plan_table import short_text
from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.sheet.content import sheet
from planner.rendering.sheet.markdown import markdown

LAYOUTS = {
    "1x8xH200": {},
    "8xH100": {"tensor_parallel_size": 4},
    "2x8xH200": {},
    "2x8xH100": {"tensor_parallel_size": 4},
    "4x4xH100": {"tensor_parallel_size": 4, "replicas": 3},
    "2x8xMI300X": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    "2x2xMI300X": {"tensor_parallel_size": 1},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def answer(request: pytest.FixtureRequest) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(request.param), **LAYOUTS[request.param]))  # type: ignore[arg-type]


def gpus_of_a_node(words: list[str]) -> float:
    """GPUs that each node of one command needs."""

    def value(flag: str) -> int:
        return int(words[words.index(flag) + 1]) if flag in words else 1

    ranks = value("--tensor-parallel-size") * value("--pipeline-parallel-size") * value("--data-parallel-size")
    return ranks / value("--nnodes")


def command_in(text: str) -> list[str]:
    """The serve command of a page."""
    text = text[text.index("vllm serve") :].split("```")[0]
    return shlex.split(text, comments=True)


def test_no_page_asks_a_node_for_more_than_it_has(answer: Plan) -> None:
    for text in (short_text(answer, width=80), markdown(sheet(answer))):
        assert gpus_of_a_node(command_in(text)) <= answer.gpus.count


def test_one_node_never_serves_the_replicas_of_another(answer: Plan) -> None:
    if answer.settings.layout.gpus_per_replica <= answer.gpus.count:
        assert gpus_of_a_node(list(serve_command(answer).argv)) <= answer.gpus.count


def test_other_nodes_are_spoken_of_where_there_are_some(answer: Plan) -> None:
    for text in (short_text(answer, width=80), markdown(sheet(answer))):
        said = any(line.lstrip().startswith("# ") and "node" in line for line in text.splitlines())
        assert said == (answer.settings.layout.total_gpus > answer.gpus.count)
