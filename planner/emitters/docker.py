"""``docker run`` for NVIDIA and AMD; no privileges beyond the devices, no secret values."""

from __future__ import annotations

import shlex

from planner.answer import Plan
from planner.command import serve_command
from planner.emitters.image import ANY_ADDRESS, API_PORT, SECRETS, image
from planner.emitters.shell import wrapped

CACHE_IN_IMAGE = "/root/.cache/huggingface"
HF_CACHE = "${HF_HOME:-$HOME/.cache/huggingface}"
DEVICES = {
    "nvidia": ("--gpus", "all"),
    "amd": ("--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video", "--group-add", "render"),
}
"""What each vendor's runtime needs to reach the GPUs."""


def docker_argv(plan: Plan, *, host: str, port: int, cache: str = HF_CACHE, name: str | None = None) -> tuple[str, ...]:
    """Return ``docker run …``; the port is published on `host`, the server listens inside the container only.

    ``HF_TOKEN`` and ``VLLM_API_KEY`` are passed by name, so their values never stand in the command.
    """
    command = serve_command(plan, host=ANY_ADDRESS, port=API_PORT)
    argv = ["docker", "run", "--rm"]
    if name:
        argv += ["--name", name]
    argv += [*DEVICES[plan.gpus.spec.vendor], "--ipc", "host"]
    argv += ["--publish", f"{host}:{port}:{API_PORT}", "--volume", f"{cache}:{CACHE_IN_IMAGE}"]
    for variable, value in command.env.items():
        argv += ["--env", f"{variable}={value}"]
    for secret in SECRETS:
        argv += ["--env", secret]
    return (*argv, image(plan), *command.engine_args)


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the command over several lines, ready to paste; the cache folder is expanded by the shell."""
    marker = "@CACHE@"
    text = wrapped(docker_argv(plan, host=host, port=port, cache=marker), width=100)
    quoted = shlex.quote(f"{marker}:{CACHE_IN_IMAGE}")
    return text.replace(quoted, f'"{HF_CACHE}:{CACHE_IN_IMAGE}"')
