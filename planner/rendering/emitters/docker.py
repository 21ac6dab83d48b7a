"""``docker run`` for NVIDIA and AMD; no privileges beyond the devices, no secret values."""

from __future__ import annotations

import shlex

from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.rendering.address import check_host, host_and_port, is_ip_address
from planner.rendering.command import ServeCommand, serve_command, wrapped
from planner.rendering.emitters.deployment import IN_CONTAINERS, SECRETS, Deployment
from planner.rendering.emitters.image import (
    ANY_ADDRESS,
    gpus_per_node,
    image,
    in_container,
    pin_script,
    pinned_companion,
)
from planner.rendering.emitters.shell import head_lines, node_heading, nodes_of
from planner.rendering.multi_node import require_one_node
from planner.settings import DEFAULT_PORT

READS = IN_CONTAINERS | {"head_address"}
CACHE_IN_IMAGE = "/root/.cache/huggingface"
HF_CACHE = "${HF_HOME:-$HOME/.cache/huggingface}"
AMD_DEVICES = ("--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video")
"""The recipe's; the group `render` is not in every image, and root in the container needs none."""


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
        InvalidRequest: for a plan over several nodes, or a host that is not an IP address.
    """
    return _one(plan, Deployment(host=host, port=port, name=None), cache=cache, hub_cache=hub_cache, container=name)


def _one(
    plan: Plan, deployment: Deployment, *, cache: str, hub_cache: str | None = None, container: str | None = None
) -> tuple[str, ...]:
    require_one_node(
        plan,
        what="one container runs on one",
        hint="`m35-plan --emit docker` prints a command for each node, `--emit lws` a LeaderWorkerSet",
    )
    inside, _ = in_container(plan)
    command = serve_command(inside, host=ANY_ADDRESS, port=DEFAULT_PORT)
    volumes = () if hub_cache is None else ("--volume", f"{hub_cache}:{CACHE_IN_IMAGE}/hub")
    network = ("--publish", published(deployment.host or "127.0.0.1", deployment.port))
    return _argv(plan, command, deployment, network=(*network, *volumes), cache=cache, container=container)


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
    return f"{host_and_port(address, port)}:{DEFAULT_PORT}"


def devices(plan: Plan) -> tuple[str, ...]:
    """What the vendor's runtime needs to reach the planned GPUs.

    Which ones they are, where the machine has more, the engine's own variables say (:attr:`GpuSet.env`).
    """
    if plan.gpus.spec.vendor == "amd":
        return AMD_DEVICES
    some = gpus_per_node(plan) < plan.gpus.count and not plan.gpus.env
    return ("--gpus", str(gpus_per_node(plan)) if some else "all")


def pinned_start(pinned: tuple[str, str]) -> str:
    """The shell's words that make chat work in the image, and then become the server with the words that follow."""
    return f'{{ {pin_script(pinned)}; }} && exec vllm serve "$@"'


def _argv(
    plan: Plan,
    command: ServeCommand,
    deployment: Deployment,
    *,
    network: tuple[str, ...],
    cache: str,
    container: str | None = None,
) -> tuple[str, ...]:
    argv = ["docker", "run", "--rm"]
    if container or deployment.name:
        argv += ["--name", container or str(deployment.name)]
    for label, value in deployment.labels:
        argv += ["--label", f"{label}={value}"]
    argv += [*devices(plan), "--ipc", "host", *network, "--volume", f"{cache}:{CACHE_IN_IMAGE}"]
    for mount in in_container(plan)[1]:
        argv += ["--volume", f"{mount.source}:{mount.target}:ro"]
    for variable, value in {**command.env, **dict(deployment.env)}.items():
        argv += ["--env", f"{variable}={value}"]
    for secret in SECRETS:
        argv += ["--env", secret]
    pinned = pinned_companion(plan)
    if pinned is None:
        return (*argv, image(plan, deployment), *command.engine_args)
    argv += ["--entrypoint", "sh", image(plan, deployment), "-c", pinned_start(pinned), "vllm"]
    return (*argv, *command.engine_args)


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the command over several lines, ready to paste; the cache folder is expanded by the shell.

    Where there are several nodes, each has its own behind a comment. Their containers share the node's network,
    because the engines of all nodes must reach each other on ports of their own choice.
    """
    marker = "@CACHE@"
    texts = head_lines(plan)
    inside, _ = in_container(plan)
    nodes = nodes_of(inside, deployment)
    if len(nodes) == 1:
        return "\n".join([*texts, _text(_one(plan, deployment, cache=marker), marker)])
    for node in nodes:
        assert node.command is not None, "only Ray's workers have no command"
        argv = _argv(plan, node.command, deployment, network=("--network", "host"), cache=marker)
        texts.append(f"{node_heading(node, nodes)}\n{_text(argv, marker)}")
    return "\n".join(texts)


def _text(argv: tuple[str, ...], marker: str) -> str:
    quoted = shlex.quote(f"{marker}:{CACHE_IN_IMAGE}")
    return wrapped(argv, width=100).replace(quoted, f'"{HF_CACHE}:{CACHE_IN_IMAGE}"')
