"""Keys travel in the environment alone: one on a command line is refused, and no value is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hw_specs.errors import shown
from hw_specs.reading import UnreadableInput, read_text
from planner.errors import InvalidRequest, LaunchFailed
from planner.rendering.secrets import API_KEY, HF_TOKEN, is_secret_name, secrets_in, secrets_of
from planner.serve.process.endpoint import Endpoint
from planner.serve.process.engine_argv import SERVE, option_value

_SECRET_FLAGS = {"--api-key": ("--api-k", API_KEY), "--hf-token": ("--hf-t", HF_TOKEN)}
"""Flags that carry a key, the shortest form that the engine takes for each, and the variable to use instead."""

_TELLING = re.compile(
    r"^(?:VLLM|CUDA|NVIDIA|HIP|ROCR|ROCM|HSA|NCCL|RCCL|HF|HUGGINGFACE|TORCH|PYTORCH|OMP|MKL|TRITON|SAFETENSORS|LD|"
    r"PYTHON|GPU|GLOO)_|^(?:PATH|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH|TMPDIR|HOME|LANG)$"
)


def split_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what may be written down of an environment, and the names of its secrets."""
    secret = {name for name, value in environment.items() if value and is_secret_name(name)}
    values = secrets_of(environment).values()
    kept = {}
    for name in sorted(environment):
        value = environment[name]
        leaks = secrets_in(value) or any(hidden in value for hidden in values)
        if name in secret or leaks:
            secret.add(name)
        elif _TELLING.search(name):
            kept[name] = value
    return kept, sorted(secret)


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
    for where, _ in secrets_in("\n".join(argv)):
        if where == "an address":
            what, hint = "an address with a password", "pass the address by environment or in a file"
        elif where in ("a header", "a token", "a user's password"):
            what, hint = where, "pass it by environment or in a file"
        else:
            what = f"a value for {shown(where)}"
            hint = "export it, and leave it out here: a server gets every variable of this shell; docker, `-e NAME`"
        raise InvalidRequest(
            "argv", f"the command line contains {what}, and everyone on this machine can read it", hint=hint
        )
    for name, value in secrets_of(environment).items():
        if any(value in part for part in argv):
            raise InvalidRequest("argv", f"the command line contains the value of {name}", hint="leave it out")
    _refuse_in_files(argv)


def _refuse_in_files(argv: Sequence[str]) -> None:
    """Raise for a configuration file of the engine that holds a key: the engine prints its settings into its log."""
    name = option_value(argv, "config") if SERVE in argv else None
    if not name:
        return
    try:
        text = read_text(name, errors="replace")
    except UnreadableInput:
        # The engine will say what is wrong with it.
        return
    found = secrets_in(text)
    if found:
        raise InvalidRequest(
            "config",
            f"config `{shown(name)}` holds a value for {shown(found[0][0])}, which the engine prints into its log",
            hint=f"take it out and export it, as {API_KEY} or {HF_TOKEN}",
        )


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
