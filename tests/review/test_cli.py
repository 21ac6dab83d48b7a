"""The command line of a review: exit codes, formats, files, stdin, repairs."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CARD = ["vllm", "serve", "mistralai/Mistral-Medium-3.5-128B", "--tensor-parallel-size", "8"]
COMPOSE = """\
services:
  engine:   # the model
    image: vllm/vllm-openai:v0.33.0
    gpus: all
    ipc: host
    privileged: true
    ports: ["127.0.0.1:8000:8000"]
    volumes: ["hub:/root/.cache/huggingface"]
    command:
      - mistralai/Mistral-Medium-3.5-128B
      - --tensor-parallel-size   # all of them
      - "8"
      - --swap-space
      - "4"
volumes: {hub: {}}
"""


def run(*words: str, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", "review", *words],
        cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE)
    return path


def test_a_clean_command_ends_with_0() -> None:
    done = run("--gpus", "8xH200", "--", *CARD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fits" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_does_not_start_ends_with_3_and_findings_end_with_8(compose: Path) -> None:
    assert run("--gpus", "8xH200", str(compose)).returncode == 3
    clean = COMPOSE.replace("      - --swap-space\n", "").replace('      - "4"\n', "")
    compose.write_text(clean)
    assert run("--gpus", "8xH200", str(compose)).returncode == 0
    assert run("--gpus", "8xH200", "--fail-on", "warn", str(compose)).returncode == 8


def test_json_follows_the_schema_that_spec_prints(compose: Path) -> None:
    import jsonschema

    done = run("--gpus", "8xH200", "--json", str(compose))
    document = json.loads(done.stdout)
    spec = json.loads(
        subprocess.run([sys.executable, "-m", "planner", "spec"], capture_output=True, text=True, check=True).stdout
    )
    jsonschema.validate(document, spec["schemas"]["review"])
    assert (document["kind"], document["schema_version"]) == ("review", "1.2")
    (file,) = document["files"]
    places = {(one["code"], one["line"], one["column"]) for one in file["findings"]}
    assert ("flag-gone", 13, 9) in places
    assert ("privileged", 6, 5) in places
    assert all(one["file"] == str(compose) for one in file["findings"])
    assert sum(one["bytes"] for one in file["servers"][0]["ledger"]) > 100 * 2**30


def test_a_repair_shows_its_diff_first_and_keeps_comments_order_and_quotes(compose: Path) -> None:
    shown = run("--gpus", "8xH200", "--diff", str(compose))
    assert compose.read_text() == COMPOSE
    assert "-      - --swap-space" in shown.stderr
    done = run("--gpus", "8xH200", "--fix", str(compose))
    assert done.returncode == 0, done.stdout
    removed = [line for line in COMPOSE.splitlines() if line not in compose.read_text().splitlines()]
    assert removed == ["    privileged: true", "      - --swap-space", '      - "4"']
    assert run("--gpus", "8xH200", "--fail-on", "warn", str(compose)).returncode == 0


def test_stdin_is_read_and_a_repaired_one_is_printed() -> None:
    done = run(
        "--gpus", "8xH200", "--fix", "-", stdin="vllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --swap-space 4\n"
    )
    assert done.stdout.splitlines()[0] == "vllm serve mistralai/Mistral-Medium-3.5-128B -tp 8"
    assert done.returncode == 0


def test_sarif_names_rules_and_places(compose: Path) -> None:
    log = json.loads(run("--gpus", "8xH200", "--format", "sarif", str(compose)).stdout)
    (part,) = log["runs"]
    assert log["version"] == "2.1.0"
    for result in part["results"]:
        assert part["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] > 0


def test_annotations_and_junit_say_the_same(compose: Path) -> None:
    lines = run("--gpus", "8xH200", "--format", "github", str(compose)).stdout.splitlines()
    assert any(line.startswith("::error file=") and ",line=13,col=9," in line for line in lines)
    tree = ET.fromstring(run("--gpus", "8xH200", "--format", "junit", str(compose)).stdout)
    (suite,) = tree
    assert suite.get("failures") == "1"


@pytest.mark.parametrize(
    "words",
    [[], ["no-such-file"], ["--vllm-version", "x", "--", *CARD], ["--gpus", "8xNothing", "--", *CARD], ["."]],
)
def test_a_wrong_call_is_a_usage_error(words: list[str], tmp_path: Path) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_a_config_file_beside_is_read(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text("tensor-parallel-size: 8\nswap-space: 4\n")
    (tmp_path / "start.sh").write_text(
        "#!/bin/sh\nvllm serve mistralai/Mistral-Medium-3.5-128B --host 127.0.0.1 --config engine.yaml\n"
    )
    done = run("--gpus", "8xH200", "--json", "start.sh", cwd=tmp_path)
    (file,) = json.loads(done.stdout)["files"]
    assert [one["code"] for one in file["findings"]] == ["flag-gone"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_repair_keeps_line_ends_and_mark(compose: Path, ends: str, mark: str) -> None:
    compose.write_bytes((mark + COMPOSE.replace("\n", ends)).encode())
    run("--gpus", "8xH200", "--fix", str(compose))
    text = compose.read_bytes().decode()
    assert text.startswith(mark + "services:")
    assert "swap-space" not in text
    assert text.count("\r") == (text.count("\n") if ends == "\r\n" else 0)


def test_a_file_in_another_encoding_is_not_rewritten(compose: Path) -> None:
    data = COMPOSE.replace("the model", "le modèle").encode("latin-1")
    compose.write_bytes(data)
    done = run("--gpus", "8xH200", "--fix", str(compose))
    assert done.returncode == 2 and "not UTF-8" in done.stderr
    assert compose.read_bytes() == data


def test_a_server_without_a_verdict_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    unknown = run("--", *CARD)
    assert unknown.returncode == 0
    assert "cannot be judged: its GPUs are not known" in unknown.stderr
    assert run("--require-verdict", "--", *CARD).returncode == 8
    assert run("--require-verdict", "--gpus", "8xH200", "--", *CARD).returncode == 0
    nothing = run("--require-verdict", "--", "echo", "hello")
    assert nothing.returncode == 8
    assert "vllm serve line" not in nothing.stdout
    assert json.loads(run("--require-verdict", "--json", "--", *CARD).stdout)["ok"] is False


def test_a_verdict_is_required_of_each_text(tmp_path: Path) -> None:
    (tmp_path / "ok.sh").write_text(" ".join([*CARD, "--host", "127.0.0.1"]) + "\n")
    (tmp_path / "none.sh").write_text("echo hello\n")
    assert run("--require-verdict", "--gpus", "8xH200", "ok.sh", cwd=tmp_path).returncode == 0
    both = run("--require-verdict", "--gpus", "8xH200", "ok.sh", "none.sh", cwd=tmp_path)
    assert both.returncode == 8
    assert "no server was found in none.sh" in both.stderr


def test_a_command_without_the_two_dashes_is_told_of_them(tmp_path: Path) -> None:
    for words in (
        CARD,
        ["docker", "run", "--gpus", "all", "x"],
        ["python3", "-m", "vllm.entrypoints.openai.api_server"],
    ):
        done = run("--gpus", "8xH200", *words)
        assert done.returncode == 2
        assert f"m35-plan review --gpus 8xH200 -- {words[0]} {words[1]}" in done.stderr
    (tmp_path / "vllm").write_text("vllm serve x\n")
    (tmp_path / "serve").write_text("vllm serve x\n")
    assert run("vllm", "serve", cwd=tmp_path).returncode == 0


def test_people_read_what_stops_a_start_and_programs_too() -> None:
    refused = [*CARD, "--port", "99999"]
    small = ["vllm", "serve", CARD[2], "--tensor-parallel-size", "1"]
    for words, gpus, said, by in (
        (refused, "8xH200", "does not start", "setting"), (small, "1xH100", "does not fit", "memory"),
    ):  # fmt: skip
        assert said in run("--gpus", gpus, "--", *words).stdout
        (server,) = json.loads(run("--gpus", gpus, "--json", "--", *words).stdout)["files"][0]["servers"]
        assert (server["verdict"], server["stopped_by"]) == ("does-not-fit", by)
    (fine,) = json.loads(run("--gpus", "8xH200", "--json", "--", *CARD).stdout)["files"][0]["servers"]
    assert fine["stopped_by"] is None
