"""Secrets: refused or passed by environment, and in no output and no file of ours."""

from __future__ import annotations

import json
import os
import shlex
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import home
from planner.cli import main
from planner.errors import InvalidRequest
from planner.rendering.secrets import concealed, is_secret_name, is_value, secrets_in
from planner.serve.process.keys import refuse_secrets, split_environment

PLANTED = "s3cr3tV4lue9Qx"
HUB = "hf_" + "aBcDeFgHiJkLmNoPqRsT"

COMMANDS = [
    ["env", f"VLLM_API_KEY={PLANTED}", "vllm", "serve", "M"],
    ["env", "-i", f"AWS_SECRET_ACCESS_KEY={PLANTED}", "vllm", "serve", "M"],
    ["docker", "run", "-e", f"HF_TOKEN={PLANTED}", "vllm/vllm-openai"],
    ["docker", "run", f"-eHF_TOKEN={PLANTED}", "vllm/vllm-openai"],
    ["docker", "run", f"--env=HF_TOKEN={PLANTED}", "vllm/vllm-openai"],
    ["docker", "run", "--build-arg", f"MY_PASSWORD={PLANTED}", "x"],
    ["podman", "run", "--env", f"HUGGING_FACE_HUB_TOKEN={PLANTED}", "x"],
    ["bash", "-c", f"VLLM_API_KEY={PLANTED} vllm serve M"],
    ["bash", "-c", f"export HF_TOKEN='{PLANTED}'; exec vllm serve M"],
    ["sh", "-c", f"vllm serve M --api-key {PLANTED}"],
    ["vllm", "serve", "M", "--api-key", PLANTED],
    ["vllm", "serve", "M", f"--api-key={PLANTED}"],
    ["vllm", "serve", "M", f"--api_key={PLANTED}"],
    ["vllm", "serve", "M", "--api-k", PLANTED],
    ["vllm", "serve", "M", "--hf-token", PLANTED],
    ["vllm", "serve", "M", "--hf-token", HUB],
    ["proxy", "--header", f"Authorization: Bearer {PLANTED}"],
    ["proxy", "-H", f"X-Api-Key: {PLANTED}"],
    ["proxy", "--header", f"Cookie: session={PLANTED}"],
    ["proxy", "--upstream", f"http://user:{PLANTED}@host/"],
    ["proxy", "--upstream", f"https://{PLANTED}{PLANTED}@host/"],
    ["bash", "-c", f"curl -u user:{PLANTED} http://host; vllm serve M"],
    ["vllm", "serve", "M", "--kv-transfer-config", json.dumps({"access_token": PLANTED})],
    ["vllm", "serve", "M", "--middleware", HUB],
]


def run(
    *argv: str, state: Path, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(state), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "planner", *argv], input=stdin, capture_output=True, text=True, timeout=120,
        check=False, env=environment,
    )  # fmt: skip


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs a command in this process, which is ten times as fast as one of its own, and holds no secret else."""

    def run_here(*argv: str, state: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            for name, value in {"XDG_STATE_HOME": str(state), **(env or {})}.items():
                patched.setenv(name, value)
            home._own_secrets.cache_clear()
            code = main([*argv])
        home._own_secrets.cache_clear()
        return subprocess.CompletedProcess(argv, code, *capsys.readouterr())

    return run_here


def expect_nowhere(done: subprocess.CompletedProcess[str], state: Path, *secrets: str) -> None:
    for secret in secrets or (PLANTED, HUB):
        assert secret not in done.stdout
        assert secret not in done.stderr
        for path in state.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: " ".join(argv)[:60].replace(PLANTED, "X").replace(HUB, "H"))
def test_a_command_with_a_secret_is_refused(argv: list[str], tmp_path: Path, here: Here) -> None:
    done = here("launch", "--detach", "--no-check", "--", *argv, state=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "hint:" in done.stderr
    expect_nowhere(done, tmp_path)


@given(
    name=st.sampled_from(["HF_TOKEN", "MY_API_KEY", "DB_PASSWORD", "APP_SECRET", "GITHUB_TOKEN", "PRIVATE_KEY"]),
    value=st.text(string.ascii_letters + string.digits + "-_+", min_size=9, max_size=40).filter(
        lambda text: is_value(text) and not is_secret_name(text)
    ),
    form=st.sampled_from(["env {}", "docker run -e {} x", "--env={}", "bash -c '{} vllm serve'", "export {}", "{};x"]),
)
def test_every_assignment_is_found(name: str, value: str, form: str) -> None:
    text = form.format(f"{name}={value}")
    assert any(value in found for _, found in secrets_in(text))
    with pytest.raises(InvalidRequest) as raised:
        refuse_secrets(shlex.split(text), {})
    assert value not in str(raised.value) + str(raised.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8 --max-num-batched-tokens 8192",
        "vllm serve M --tokenizer-mode mistral --ssl-keyfile key.pem --enable-auto-tool-choice --tool-call-parser x",
        'vllm serve M --speculative-config \'{"num_speculative_tokens": 3, "model": "a/b"}\'',
        "vllm serve M --return-tokens-as-token-ids --allow-credentials --long-prefill-token-threshold 2048",
        "docker run -e HF_TOKEN -e VLLM_API_KEY --env-file secrets.env -u 1000:1000 vllm/vllm-openai --model M",
        "docker run --user vllm:vllm -e NVIDIA_VISIBLE_DEVICES=all image",
        "HF_TOKEN=${HF_TOKEN} VLLM_API_KEY=$(cat /run/secrets/key) vllm serve M --api-key $VLLM_API_KEY",
        "secretKeyRef: {name: vllm-secrets, key: HF_TOKEN}",
        "curl http://127.0.0.1:8000/v1/models",
        "num_key_value_heads: 8\nbos_token_id: 1\ntokenizer: mistral\nmax_tokens: 512",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert secrets_in(text) == []
    assert concealed(text) == text


def test_a_configuration_file_with_a_key_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(f"model: M\napi-key: {PLANTED}\n")
    done = run("launch", "--detach", "--no-check", "--", "vllm", "serve", "--config", str(config), state=tmp_path / "s")
    assert done.returncode == 2 and "config" in done.stderr
    expect_nowhere(done, tmp_path / "s")


def test_variables_are_named_and_their_values_kept_nowhere() -> None:
    shown, hidden = split_environment({
        "VLLM_LOGGING_LEVEL": "DEBUG", "HF_HOME": f"/x/{HUB}", "VLLM_X": f"Bearer {PLANTED}", "HF_TOKEN": PLANTED,
        "NCCL_NET": f"https://u:{PLANTED}@h", "CUDA_X": PLANTED,
    })  # fmt: skip
    assert shown == {"VLLM_LOGGING_LEVEL": "DEBUG"}
    assert hidden == ["CUDA_X", "HF_HOME", "HF_TOKEN", "NCCL_NET", "VLLM_X"]


FAILED_LOG = f"""\
INFO 11-23 10:00:00 [api_server.py:1] vLLM API server version 0.33.0
INFO 11-23 10:00:00 [utils.py:1] non-default args: {{'model': 'M', 'api_key': ['{HUB}']}}
Traceback (most recent call last):
  File "x.py", line 1, in <module>
requests.exceptions.HTTPError: 401 Client Error: Authorization: Bearer {PLANTED} for url: https://u:{PLANTED}@hub/{HUB}
"""


def test_no_output_shows_a_secret(tmp_path: Path, here: Here) -> None:
    """Every command that reads or repeats what people wrote, with secrets planted in it."""
    log = tmp_path / "failed.log"
    log.write_text(FAILED_LOG)
    script = tmp_path / "serve.sh"
    script.write_text(
        f"#!/bin/bash\nexport HF_TOKEN={HUB}\nexport VLLM_API_KEY={PLANTED}\n"
        "vllm serve mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8 --swap-space 4\n"
    )
    compose = tmp_path / "compose.yaml"
    compose.write_text(
        "services:\n  engine:\n    image: vllm/vllm-openai:v0.33.0\n    environment:\n"
        f"      HF_TOKEN: {HUB}\n      VLLM_API_KEY: {PLANTED}\n"
        "    command: [mistralai/Mistral-Medium-3.5-128B, --tensor-parallel-size, '8', --swap-space, '4']\n"
    )
    state = tmp_path / "state"
    own = {"VLLM_API_KEY": PLANTED, "HF_TOKEN": HUB}
    commands = [
        ["diagnose", str(log)], ["diagnose", str(log), "--json"],
        *(["review", str(one), "--gpus", "8xH200", *words] for one in (script, compose)
          for words in ([], ["--json"], ["--format", "sarif"], ["--format", "junit"], ["--diff"])),
        ["--gpus", "8xH200", "--emit", "docker", "--env", f"MY_TOKEN={PLANTED}"],
        ["--gpus", "8xH200", "--emit", "kubernetes", "--env", f"X={HUB}"],
        ["verify", f"http://user:{PLANTED}@127.0.0.1:1"], ["bench", f"http://user:{PLANTED}@127.0.0.1:1", "--print"],
        ["--gpus", HUB], ["--model", HUB], ["stop", HUB], ["attach", HUB], ["--api-key", HUB], [HUB], ["fleet", HUB],
        ["--gpus", "8xH200", "--json", "--model", f"/{HUB}"],
    ]  # fmt: skip
    for argv in commands:
        expect_nowhere(here(*argv, state=state), state)
        expect_nowhere(here(*argv, state=state, env=own), state)


def test_what_comes_back_to_its_owner_is_whole(tmp_path: Path) -> None:
    text = f"HF_TOKEN={HUB} vllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --swap-space 4\n"
    done = run("review", "--gpus", "8xH200", "--fix", "-", state=tmp_path, stdin=text)
    assert HUB in done.stdout and "swap-space" not in done.stdout
    assert HUB not in done.stderr
