"""What exactly a launch starts, from a plan and where it shall run; it starts nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.planning.answer import Plan
from planner.rendering.argv import ReadCommand
from planner.rendering.command import serve_command
from planner.rendering.multi_node import require_one_node
from planner.serve.preflight.checkpoint import hub_cache
from planner.serve.process.launcher import DEFAULT_HOST, DEFAULT_PORT, Endpoint, resolve_endpoint, with_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """Everything that :func:`planner.serve.launch` and the preflight need."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(hash=False)
    endpoint: Endpoint
    target: str
    """``local``, ``cuda`` or ``rocm``."""
    container: str | None = None


def local_order(
    plan: Plan, *, edited: ReadCommand | None = None, program: str | None = None, port: int | None = None
) -> LaunchOrder:
    """Return how `plan` starts on this machine; `edited` wins over the planned words, `port` over both.

    Raises:
        InvalidRequest: for a plan over several nodes.
    """
    require_one_node(plan, what="this starts one", hint="the targets `shell` and `docker` give each node its command")
    if edited is not None:
        argv, env = edited.argv, dict(edited.env)
    else:
        planned = serve_command(plan)
        argv, env = planned.argv, dict(planned.env)
    endpoint = resolve_endpoint(argv, port=port)
    return LaunchOrder(
        argv=with_endpoint((program or argv[0], *argv[1:]), endpoint), env=env, endpoint=endpoint, target="local"
    )


def docker_order(plan: Plan, *, run_id: str, port: int | None = None) -> LaunchOrder:
    """Return how `plan` starts in the engine's image, reachable from this machine alone.

    Raises:
        InvalidRequest: for a plan over several nodes.
    """
    from planner.rendering.emitters.docker import docker_argv

    endpoint = Endpoint(host=DEFAULT_HOST, port=port or DEFAULT_PORT)
    home, hub = docker_caches(os.environ)
    container = f"m35-{run_id}"
    return LaunchOrder(
        argv=docker_argv(plan, host=endpoint.host, port=endpoint.port, cache=home, hub_cache=hub, name=container),
        env={},
        endpoint=endpoint,
        target="rocm" if plan.gpus.spec.vendor == "amd" else "cuda",
        container=container,
    )


def docker_caches(environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the hub's folder on this machine, which a container shares, and its cache where that lies elsewhere.

    Both are absolute: docker takes a relative path for the name of a volume.
    """
    cache = hub_cache(environment).absolute()
    # Without its own two variables the cache lies in the hub's folder, where a login leaves its token, too.
    plain = {name: value for name, value in environment.items() if not name.endswith("HUB_CACHE")}
    home = hub_cache(plain).absolute().parent
    return str(home), None if cache == home / "hub" else str(cache)
