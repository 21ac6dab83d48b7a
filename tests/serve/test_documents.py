"""Every JSON document of these commands has one head and a schema that it keeps to."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema
import pytest

from planner.cli import main
from planner.cli.commands.spec import specification
from planner.serve import list_runs

from .conftest import Fake
from .fakes.openai_server import fake_server
from .logs import REAL

SCHEMAS = specification()["schemas"]
KINDS = {
    "check", "start", "launch", "runs", "stop", "verification", "diagnosis", "start-report", "rehearsal",
    "bench", "bench-commands",
}  # fmt: skip


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, object]]:
    def call(*words: str) -> dict[str, object]:
        capsys.readouterr()
        main([*words])
        text = capsys.readouterr().out
        document: dict[str, object] = json.loads(text)
        return document

    return call


def test_the_specification_lists_every_kind() -> None:
    assert set(SCHEMAS) >= KINDS | {"plan", "review"}
    for kind in KINDS:
        assert SCHEMAS[kind]["properties"]["kind"] == {"const": kind, "type": "string"}


def test_each_command_keeps_to_its_schema(printed: Callable[..., dict[str, object]], fake: Fake) -> None:
    words = ["--no-check", "--", *fake.argv()]
    log = str(REAL / "draft-longer-than-target.log")
    with fake_server() as server:
        cases = {
            "check": ["check", "--gpus", "8xH200", "--only", "api_key", "--json"],
            "start": ["launch", "--gpus", "8xH200", "--dry-run", "--json"],
            "launch": ["launch", "--detach", "--json", *words],
            "runs": ["runs", "--json"],
            "stop": ["stop", "--grace", "1", "--json"],
            "verification": ["verify", server.url, "--json"],
            "diagnosis": ["diagnose", log, "--json"],
            "bench-commands": ["bench", "--print", "--json"],
        }
        for kind, argv in cases.items():
            document = printed(*argv)
            assert list(document)[:2] == ["kind", "schema_version"] and document["kind"] == kind
            jsonschema.validate(document, SCHEMAS[kind])
    assert fake.processes() == []


def test_what_a_run_keeps_of_its_start_is_the_same_document(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    crash = ["--no-check", "--json", "--", *fake.argv("crash", log=REAL / "fp8-kernel-missing.log")]
    assert main(["launch", *crash]) == 5
    *events, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    kept = json.loads((list_runs()[0].directory / "report.json").read_text())
    assert last["kind"] == "start-report" and last == kept
    assert {"phase-started", "figure", "failure-seen", "traceback-seen", "server-ended"} <= {e["kind"] for e in events}
    for line in (*events, last):
        assert list(line)[:2] == ["kind", "schema_version"]
        jsonschema.validate(line, SCHEMAS[line["kind"]])
