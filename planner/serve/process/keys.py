"""Keys travel in the environment alone: one on a command line is refused, and no value is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from planner.errors import InvalidRequest, LaunchFailed
from planner.rendering.secrets import API_KEY, HF_TOKEN
from planner.serve.process.endpoint import Endpoint

_SECRET_NAME = re.compile(r"KEY|TOKEN(?!IZER|S_)|SECRET|PASSW|CREDENTIAL|(?:^|_)AUTH|COOKIE|PRIVATE", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_SECRET_FLAGS = {"--api-key": ("--api-k", API_KEY), "--hf-token": ("--hf-t", HF_TOKEN)}
"""Flags that carry a key, the shortest form that the engine takes for each, and the variable to use instead."""

_TELLING = re.compile(
    r"^(?:VLLM|CUDA|NVIDIA|HIP|ROCR|ROCM|HSA|NCCL|RCCL|HF|HUGGINGFACE|TORCH|PYTORCH|OMP|MKL|TRITON|SAFETENSORS|LD|"
    r"PYTHON|GPU|GLOO)_|^(?:PATH|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH|TMPDIR|HOME|LANG)$"
)


def split_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what may be written down of an environment, and the names of its secrets."""
    secret = {name for name, value in environment.items() if value and _SECRET_NAME.search(name)}
    values = [environment[name] for name in secret if len(environment[name]) >= 8]
    shown = {}
    for name in sorted(environment):
        value = environment[name]
        leaks = _URL_WITH_PASSWORD.search(value) or any(hidden in value for hidden in values)
        if name in secret or leaks:
            secret.add(name)
        elif _TELLING.search(name):
            shown[name] = value
    return shown, sorted(secret)


def refuse_secrets(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raise when `argv` carries a key: every user of the machine can read a command line.

    Raises:
        InvalidRequest: with the way to pass it instead.
    """
    for part in argv:
        for name, (least, variable) in _SECRET_FLAGS.items():
            typed = part.partition("=")[0].replace("_", "-")
            if typed.startswith(least) and name.startswith(typed):
                field = name[2:].replace("-", "_")
                raise InvalidRequest(
                    field,
                    f"{field} must not be on the command line, where everyone can read it",
                    hint=f"export it as {variable}",
                )
        if _URL_WITH_PASSWORD.search(part):
            raise InvalidRequest(
                "argv",
                "the command line contains an address with a password, and everyone can read it",
                hint="pass the address by environment or in a file",
            )
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= 8 and any(value in part for part in argv):
            raise InvalidRequest("argv", f"the command line contains the value of {name}", hint="leave it out")


def require_key(endpoint: Endpoint, environment: Mapping[str, str]) -> None:
    """Raise when the server would be open to other machines without a key.

    Raises:
        LaunchFailed: with both ways out.
    """
    if endpoint.exposed and not environment.get(API_KEY, "").strip():
        raise LaunchFailed(
            f"`--host {endpoint.host}` opens the server to other machines, but {API_KEY} is not set",
            hint=f"`export {API_KEY}=$(openssl rand -hex 24)`, or leave `--host` out",
        )
