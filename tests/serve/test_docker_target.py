"""The docker target against a stand-in for the docker client; what it is asked is what the real one would be."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from planner.cli import main
from planner.serve import attach
from tests.ports import own_port

from .conftest import Fake


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Fake) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent / "fakes" / "docker.py"} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER_STATE", str(folder))
    monkeypatch.setenv("FAKE_SERVER", json.dumps(fake.argv()))
    monkeypatch.setenv("HF_TOKEN", "hf_" + "z" * 20)
    return folder / "calls"


def asked(calls: Path, word: str) -> list[list[str]]:
    return [words for line in calls.read_text().splitlines() if (words := json.loads(line))[0] == word]


@pytest.mark.parametrize(("gpus", "device"), [("8xH200", "--gpus"), ("8xMI300X", "/dev/kfd")])
def test_a_container_is_started_followed_and_stopped(calls: Path, fake: Fake, gpus: str, device: str) -> None:
    port = str(own_port())
    assert main(["launch", "--gpus", gpus, "--target", "docker", "--no-check", "--port", port]) == 0
    [started] = asked(calls, "run")
    name = started[started.index("--name") + 1]
    assert device in started and f"127.0.0.1:{port}:8000" in started and "--privileged" not in started
    assert "HF_TOKEN" in started and not any("hf_zzz" in word for word in started)
    run = attach()
    assert run.record.container == name and run.record.target == ("cuda" if gpus == "8xH200" else "rocm")
    run.stop(grace_s=7)
    assert asked(calls, "stop") == [["stop", "-t", "7", name]]
    assert fake.processes() == [] and run.status().state == "stopped"
    assert "hf_zzz" not in "".join(path.read_text() for path in run.directory.iterdir() if path.is_file())


def test_a_client_that_is_killed_does_not_leave_its_container(calls: Path, fake: Fake) -> None:
    port = str(own_port())
    assert main(["launch", "--gpus", "8xH200", "--target", "docker", "--no-check", "--port", port]) == 0
    run = attach()
    client = json.loads((run.directory / "process.json").read_text())["server_pid"]
    os.kill(client, signal.SIGKILL)
    run.stop(grace_s=1)
    assert fake.processes() == []
    assert ["rm", "--force", run.record.container] in asked(calls, "rm")


def test_preflight_asks_docker(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--gpus", "8xH200", "--target", "docker", "--only", "docker"]) == 0
    assert "pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "home", "hub"),
    [
        ({}, "{home}/.cache/huggingface", None),
        ({"HF_HOME": "hf"}, "{cwd}/hf", None),
        ({"HF_HOME": "~/hf"}, "{home}/hf", None),
        ({"HF_HUB_CACHE": "/data/models"}, "{home}/.cache/huggingface", "/data/models"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "~/models"}, "/hf", "{home}/models"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/hf/hub"}, "/hf", None),
    ],
)
def test_the_container_shares_the_cache_that_the_hub_uses(
    variables: dict[str, str], home: str, hub: str | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path / "me"), **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "--gpus", "8xH200", "--target", "docker", "--dry-run", "--json"]) == 0
    argv = json.loads(capsys.readouterr().out)["argv"]
    volumes = [argv[index + 1] for index, word in enumerate(argv) if word == "--volume"]
    places = {"home": str(tmp_path / "me"), "cwd": str(tmp_path)}
    inside = "/root/.cache/huggingface"
    wanted = {home.format(**places) + f":{inside}"} | ({hub.format(**places) + f":{inside}/hub"} if hub else set())
    assert set(volumes) == wanted
