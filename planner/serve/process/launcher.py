"""Starting a server so that it outlives its launcher and can always be found; it never waits for readiness.

Secrets travel in the environment alone: a key on the command line is refused, and what is written down holds
names of secrets, never values.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.errors import InvalidRequest, LaunchFailed
from planner.planning.answer import Plan
from planner.rendering.address import check_host, host_and_port
from planner.serve.process.run import Run, adopt_child, place_run
from planner.serve.process.supervisor import read_stat

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
API_KEY = "VLLM_API_KEY"

_SECRET_NAME = re.compile(r"KEY|TOKEN(?!IZER|S_)|SECRET|PASSW|CREDENTIAL|(?:^|_)AUTH|COOKIE|PRIVATE", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_SECRET_FLAGS = {"--api-key": ("--api-k", API_KEY), "--hf-token": ("--hf-t", "HF_TOKEN")}
"""Flags that carry a key, the shortest form that the engine takes for each, and the variable to use instead."""

_TELLING = re.compile(
    r"^(?:VLLM|CUDA|NVIDIA|HIP|ROCR|ROCM|HSA|NCCL|RCCL|HF|HUGGINGFACE|TORCH|PYTORCH|OMP|MKL|TRITON|SAFETENSORS|LD|"
    r"PYTHON|GPU|GLOO)_|^(?:PATH|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH|TMPDIR|HOME|LANG)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the server listens."""

    host: str
    port: int

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1"
        return f"http://{host_and_port(host, self.port)}"


def is_loopback(host: str) -> bool:
    """Whether `host` means this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("gpu-7")
    (True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def option_value(argv: Sequence[str], name: str) -> str | None:
    """Return the last value given for ``--name`` in `argv`, dashes and underscores alike.

    >>> option_value(["vllm", "serve", "M", "--max_num_seqs=4"], "max-num-seqs")
    '4'
    """
    value = None
    for index, part in enumerate(argv):
        key, mark, inline = part.partition("=")
        if key.startswith("--") and key[2:].replace("_", "-") == name:
            value = inline if mark else argv[index + 1] if index + 1 < len(argv) else None
    return value


def resolve_endpoint(argv: Sequence[str], *, host: str | None = None, port: int | None = None) -> Endpoint:
    """Return where `argv` listens, `host` and `port` winning over it, loopback by default.

    Raises:
        InvalidRequest: for a port or a host that is none.
    """
    text = option_value(argv, "port")
    try:
        number = port if port is not None else int(text) if text else DEFAULT_PORT
    except ValueError:
        number = -1
    if not 0 < number < 65536:
        raise InvalidRequest("port", f"port must be between 1 and 65535, not `{port if port is not None else text}`")
    given = host if host is not None else option_value(argv, "host")
    return Endpoint(host=DEFAULT_HOST if given is None else check_host(given), port=number)


def with_endpoint(argv: Sequence[str], endpoint: Endpoint) -> tuple[str, ...]:
    """Return `argv` that listens at `endpoint` and says so."""
    kept: list[str] = []
    skip = False
    for part in argv:
        if skip:
            skip = False
            continue
        name = part.partition("=")[0]
        if name in ("--host", "--port"):
            skip = "=" not in part
            continue
        kept.append(part)
    return (*kept, "--host", endpoint.host, "--port", str(endpoint.port))


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


def launch(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    plan: Plan | None = None,
    target: str = "local",
    endpoint: Endpoint | None = None,
    run_dir: Path | None = None,
    container: str | None = None,
    docker: str = "docker",
    history_key: str = "",
    run_id: str | None = None,
    end_with_launcher: bool = False,
    scratch: Sequence[Path] = (),
) -> Run:
    """Start `argv` in a session of its own and return its run at once.

    The server is a grandchild: a small supervisor in its own session records it before it exists, writes down how
    it ended and leaves no process behind. Killing the caller, at any moment, changes nothing for the server.

    `env` is added to this process's environment. `plan` is kept in the run directory: as the document that every
    program reads, and whole, so that a failed start can be planned again. For a
    local server without `endpoint` the address is taken from `argv`, loopback and port 8000 by default. `container`
    names the container that `argv` starts. With `end_with_launcher` the server is stopped when this process ends,
    however it ends. The folders `scratch` are deleted after the server's end.

    Raises:
        InvalidRequest: when the command line carries a key.
        LaunchFailed: when it would be exposed without one, or the supervisor cannot be started.
        PlannerError: when the run directory cannot be made.
    """
    environment = {**os.environ, **(env or {})}
    if endpoint is None:
        endpoint = resolve_endpoint(argv)
    if target == "local":
        argv = with_endpoint(argv, endpoint)
    refuse_secrets(argv, environment)
    require_key(endpoint, environment)
    shown, hidden = split_environment(environment)
    me = read_stat(os.getpid())
    record: dict[str, Any] = {
        "schema": 1,
        "id": run_id or new_run_id(),
        "created_at_s": time.time(),
        "target": target,
        "url": endpoint.url,
        "host": endpoint.host,
        "port": endpoint.port,
        "argv": list(argv),
        "container": container,
        "stop_argv": [docker, "stop", "-t", "{grace_s}", container] if container else None,
        "remove_argv": [docker, "rm", "--force", container] if container else None,
        "history_key": history_key or (start_key(plan, target) if plan is not None else _command_key(argv)),
        "launcher_pid": os.getpid(),
        "launcher_start_ticks": me[4] if me else None,
    }
    spawn = {
        "argv": list(argv),
        "cwd": str(Path.cwd()),
        "cleanup": [record["remove_argv"]] if container else [],
        "scratch": [str(folder.absolute()) for folder in scratch],
        "end_with": [record["launcher_pid"], record["launcher_start_ticks"]] if end_with_launcher else None,
    }
    planned = {name: value for name, value in (env or {}).items() if name not in hidden}
    files = {
        "command": _as_shell(argv, planned) + "\n",
        "env.json": json.dumps({"planned": planned, "inherited": shown, "secrets": hidden}, indent=2) + "\n",
        "spawn.json": json.dumps(spawn, indent=2) + "\n",
    }
    if plan is not None:
        from planner.rendering.document import dump_plan, plan_document, to_json_value

        files["plan.json"] = json.dumps(to_json_value(plan_document(plan)), indent=2, ensure_ascii=False) + "\n"
        files["plan.full.json"] = dump_plan(plan) + "\n"
    run = place_run(record, files, directory=run_dir)
    _spawn_supervisor(run, environment)
    return run


def start_key(plan: Plan, target: str) -> str:
    """Return what starts must share to take about as long: model, GPUs, release, layout, features."""
    settings = plan.settings
    parts = [
        plan.model.name, str(plan.gpus), f"vllm {plan.vllm_version}", target, settings.load_format,
        f"tp{settings.tensor_parallel_size} pp{settings.pipeline_parallel_size}",
    ]  # fmt: skip
    parts += ["text" if settings.language_model_only else "vision", "eager" if settings.enforce_eager else "graphs"]
    return " | ".join([*parts, f"draft {settings.speculative_tokens}"])


def _command_key(argv: Sequence[str]) -> str:
    """The same for a command without a plan: everything but its address."""
    return shlex.join(with_endpoint(argv, Endpoint(host="", port=0)))


def new_run_id() -> str:
    """Return a fresh name that sorts by time, such as ``20261123-155214-9f3a``."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _as_shell(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """The command as a person would type it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), shlex.join(argv)])


def _spawn_supervisor(run: Run, environment: Mapping[str, str]) -> None:
    script = Path(__file__).with_name("supervisor.py")
    log = os.open(run.log_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), str(run.directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,
            close_fds=True,
        )
    except OSError as error:
        raise LaunchFailed(f"cannot start a process: {(error.strerror or str(error)).lower()}") from error
    finally:
        os.close(log)
    adopt_child(run.id, process)
