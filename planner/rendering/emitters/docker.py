"""``docker run`` for NVIDIA and AMD; no privileges beyond the devices, no secret values."""

from __future__ import annotations

import shlex

from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.rendering.address import check_host, host_and_port, is_ip_address
from planner.rendering.command import ServeCommand, serve_command
from planner.rendering.emitters.image import ANY_ADDRESS, API_PORT, SECRETS, image
from planner.rendering.emitters.shell import node_heading, wrapped
from planner.rendering.multi_node import node_commands, require_one_node

CACHE_IN_IMAGE = "/root/.cache/huggingface"
HF_CACHE = "${HF_HOME:-$HOME/.cache/huggingface}"
DEVICES = {
    "nvidia": ("--gpus", "all"),
    "amd": ("--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video", "--group-add", "render"),
}
"""What each vendor's runtime needs to reach the GPUs."""


def docker_argv(
    plan: Plan,
    *,
    host: str,
    port: int,
    cache: str = HF_CACHE,
    hub_cache: str | None = None,
    name: str | None = None,
) -> tuple[str, ...]:
    """Return ``docker run …``; the port is published on `host`, the server listens inside the container only.

    `cache` is the hub's folder on the host, `hub_cache` its downloaded files where those lie elsewhere.

    ``HF_TOKEN`` and ``VLLM_API_KEY`` are passed by name, so their values never stand in the command.

    Raises:
        InvalidRequest: for a plan over several nodes, or a host that is no IP address.
    """
    require_one_node(
        plan,
        what="one container runs on one",
        hint="`m35-plan --emit docker` prints a command for each node, `--emit lws` a LeaderWorkerSet",
    )
    command = serve_command(plan, host=ANY_ADDRESS, port=API_PORT)
    volumes = () if hub_cache is None else ("--volume", f"{hub_cache}:{CACHE_IN_IMAGE}/hub")
    network = ("--publish", published(host, port))
    return _argv(plan, command, network=(*network, *volumes), cache=cache, name=name)


def published(host: str, port: int) -> str:
    """Return ``ADDRESS:PORT:PORT`` as ``docker run --publish`` and Compose read it.

    Raises:
        InvalidRequest: for a host name, which Docker refuses.
    """
    address = "127.0.0.1" if host == "localhost" else check_host(host)
    if not is_ip_address(address):
        raise InvalidRequest(
            "host",
            f"docker publishes a port on an IP address, and `{host}` is a name",
            hint="give the address of one of the machine's network cards, or 0.0.0.0 for all",
        )
    return f"{host_and_port(address, port)}:{API_PORT}"


def _argv(
    plan: Plan, command: ServeCommand, *, network: tuple[str, ...], cache: str, name: str | None = None
) -> tuple[str, ...]:
    argv = ["docker", "run", "--rm"]
    if name:
        argv += ["--name", name]
    argv += [*DEVICES[plan.gpus.spec.vendor], "--ipc", "host", *network, "--volume", f"{cache}:{CACHE_IN_IMAGE}"]
    for variable, value in command.env.items():
        argv += ["--env", f"{variable}={value}"]
    for secret in SECRETS:
        argv += ["--env", secret]
    return (*argv, image(plan), *command.engine_args)


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the command over several lines, ready to paste; the cache folder is expanded by the shell.

    Where there are several nodes, each has its own behind a comment. Their containers share the node's network,
    because the engines of all nodes must reach each other on ports of their own choice.
    """
    marker = "@CACHE@"
    nodes = node_commands(plan, host=host, port=port)
    if len(nodes) == 1:
        return _text(docker_argv(plan, host=host, port=port, cache=marker), marker)
    texts = []
    for node in nodes:
        assert node.command is not None, "only Ray's workers have no command"
        argv = _argv(plan, node.command, network=("--network", "host"), cache=marker)
        texts.append(f"{node_heading(node)}\n{_text(argv, marker)}")
    return "\n".join(texts)


def _text(argv: tuple[str, ...], marker: str) -> str:
    quoted = shlex.quote(f"{marker}:{CACHE_IN_IMAGE}")
    return wrapped(argv, width=100).replace(quoted, f'"{HF_CACHE}:{CACHE_IN_IMAGE}"')
