"""Reading plan documents back: the same plan again, and refusals that say why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, plan, plan_document, read_document
from planner.errors import UnreadableDocument
from planner.rendering.document import to_json_value


def written(**settings: Any) -> dict[str, Any]:
    return to_json_value(plan_document(plan(PlanRequest(gpus=parse_gpus("8xH200"), **settings))))


def test_a_document_is_enough_to_plan_again() -> None:
    settings = {"max_num_seqs": 64, "language_model_only": True, "load_format": "hf", "block_size": 32}
    first = plan(PlanRequest(gpus=parse_gpus("8xH200"), vllm_version="0.33.0", **settings))  # type: ignore[arg-type]
    text = json.dumps(to_json_value(plan_document(first)))
    assert plan(read_document(text).request) == first


def test_the_release_stands_in_the_request_even_when_nobody_named_one() -> None:
    assert (
        read_document(json.dumps(written())).request.vllm_version
        == plan(PlanRequest(gpus=parse_gpus("8xH200"))).vllm_version
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": "9.0"}, "schema version 9.0"), ({"schema_version": None}, "schema version None"),
        ({"kind": "sweep"}, "no `kind`"), ({"settings": {}}, "settings"), ({"request": {}}, "not a plan"),
        ({"verdict": "perhaps"}, "verdict"),
    ],
)  # fmt: skip
def test_what_is_not_a_plan_of_this_version_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableDocument, match=words):
        read_document(json.dumps(written() | change))


@pytest.mark.parametrize("text", ["", "[]", "not JSON", "{}", "[" * 100_000])
def test_what_is_not_a_document_is_refused(text: str) -> None:
    with pytest.raises(UnreadableDocument):
        read_document(text)
