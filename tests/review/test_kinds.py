"""Kinds of artefacts that people keep: what was to be found in each was written down before it was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner.cli.commands.review import _beside
from planner.review import review
from planner.review.findings import Review

KINDS = Path(__file__).parent / "kinds"
CASES = sorted(folder.name for folder in KINDS.iterdir())


def judged(folder: Path) -> tuple[dict[str, Any], Review]:
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    options = dict(zip(expected["options"][::2], expected["options"][1::2], strict=True))
    path = folder / expected["artefact"]
    gpus = parse_gpus(options["--gpus"]) if "--gpus" in options else None
    version = options.get("--vllm-version")
    return expected, review(
        path.read_text(), name=path.name, gpus=gpus, vllm_version=version, beside=_beside(str(path))
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found_and_nothing_else_is_said_wrongly(name: str) -> None:
    expected, answer = judged(KINDS / name)
    said = [f"{one.line}: {one.code}: {one.message}" for one in answer.findings]
    for wanted in expected["findings"]:
        low, high = wanted["line"] if isinstance(wanted["line"], list) else (wanted["line"], wanted["line"])
        assert any(one.code == wanted["code"] and low <= one.line <= high for one in answer.findings), (wanted, said)
    assert not {one.code for one in answer.findings} & set(expected["absent"]), said
    assert len(answer.servers) == expected["servers"], answer.kind
    if "verdict" in expected:
        assert {one.verdict for one in answer.servers} <= {expected["verdict"]}, said


def test_a_secret_in_an_environment_file_is_where_it_belongs() -> None:
    _, answer = judged(KINDS / "compose-env-files")
    assert "secret-in-file" not in {one.code for one in answer.findings}
    assert (KINDS / "compose-env-files" / "engine.env").read_text().count("VLLM_API_KEY=") == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "../base.yaml", "~/base.yaml", "a\0b", ""])
def test_a_file_outside_of_the_folder_is_not_opened(path: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("services: {engine: {image: vllm/vllm-openai:v0.33.0, gpus: all}}\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    text = (
        f"services:\n  engine:\n    extends: {{file: {json.dumps(path)}, service: engine}}\n    command: --model a/b\n"
    )
    answer = review(text, name="compose.yaml", beside=_beside(str(inner / "compose.yaml")))
    assert not [one for one in answer.findings if one.code == "no-gpu-request"], "what is not at hand is not judged"
    assert all(one.vllm_version is None for one in answer.servers)


def test_services_that_extend_each_other_end() -> None:
    both = "{extends: {service: %s}, image: vllm/vllm-openai:v0.33.0, gpus: all, command: --model a/b}"
    answer = review(f"services:\n  a: {both % 'b'}\n  b: {both % 'a'}\n", name="compose.yaml")
    assert len(answer.servers) == 2
