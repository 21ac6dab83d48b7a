"""What exactly is started, and where: the one value that every start and every check of one goes by.

    order = StartOrder.local(plan)                       # the plan, with the vllm of this machine
    order = StartOrder.docker(plan)                      # the plan, in the engine's image
    order = StartOrder.of_command(["vllm", "serve", …])  # a command of one's own

An order that carries a key on its command line cannot be made. It starts nothing.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from planner.serve.process.endpoint import Endpoint, resolve_endpoint, with_endpoint
from planner.serve.process.engine_argv import refuse_planned, without_options
from planner.serve.process.keys import refuse_secrets

if TYPE_CHECKING:
    from planner.planning.answer import Plan
    from planner.rendering.argv import ReadCommand

Target = Literal["local", "cuda", "rocm"]
"""Where the engine comes from: this machine's own, or an image of its vendor."""

_ONE_NODE_HINT = (
    "`m35-plan --emit shell` prints the command of each node; `m35-plan check` looks at one, `--gpus 8xH200`"
)


def new_run_id() -> str:
    """Return a fresh name that sorts by time, such as ``20261123-155214-9f3a``."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def container_of(run_id: str) -> str:
    """Return what the container of a run is called."""
    return f"m35-{run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """One start: its words, its variables and its address.

    Raises:
        InvalidRequest: when the command line carries a key.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Variables that are added to this process's own."""
    endpoint: Endpoint
    target: Target = "local"
    run_id: str = field(default_factory=new_run_id, compare=False)
    """What the run will be called; one order is one start."""

    def __post_init__(self) -> None:
        refuse_secrets(self.argv, self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """Every variable that the engine will see."""
        return {**os.environ, **self.env}

    @property
    def in_container(self) -> bool:
        """Whether the engine is the one of an image, not of this machine."""
        return self.target != "local"

    @property
    def container(self) -> str | None:
        """Name of the container that is started; None for a program of this machine."""
        return container_of(self.run_id) if self.in_container else None

    @classmethod
    def local(
        cls,
        plan: Plan,
        *,
        edited: ReadCommand | None = None,
        program: str | None = None,
        host: str | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
    ) -> StartOrder:
        """Return how `plan` starts on this machine.

        `edited` wins over the planned words, `host` and `port` over both; `extra` goes to the engine as it is.

        Raises:
            InvalidRequest: for a plan over several nodes, and for an extra word that the plan decides.
        """
        from planner.rendering.command import serve_command
        from planner.rendering.multi_node import require_one_node

        require_one_node(plan, what="this starts one", hint=_ONE_NODE_HINT)
        refuse_planned(extra)
        if edited is not None:
            argv, env = edited.argv, dict(edited.env)
        else:
            planned = serve_command(plan)
            argv, env = planned.argv, dict(planned.env)
        argv = (program or argv[0], *argv[1:], *extra)
        return cls.of_command(argv, env=env, host=host, port=port)

    @classmethod
    def docker(
        cls, plan: Plan, *, host: str | None = None, port: int | None = None, extra: Sequence[str] = ()
    ) -> StartOrder:
        """Return how `plan` starts in the engine's image, reachable from this machine alone unless `host` says more.

        Raises:
            InvalidRequest: for a plan over several nodes, and for an extra word that the plan decides.
        """
        from planner.rendering.emitters.docker import docker_argv
        from planner.serve.process.hub_cache import container_caches

        refuse_planned(extra)
        endpoint = resolve_endpoint(extra, host=host, port=port)
        home, hub = container_caches(os.environ)
        run_id = new_run_id()
        name = container_of(run_id)
        argv = docker_argv(plan, host=endpoint.host, port=endpoint.port, cache=home, hub_cache=hub, name=name)
        # Inside, the server listens where docker publishes; the address that was asked for is the host's.
        inside = without_options(extra, ("host", "port"))
        target: Target = "rocm" if plan.gpus.spec.vendor == "amd" else "cuda"
        return cls(argv=(*argv, *inside), endpoint=endpoint, target=target, run_id=run_id)

    @classmethod
    def of_command(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        host: str | None = None,
        port: int | None = None,
    ) -> StartOrder:
        """Return how `argv` starts on this machine; it is told its address, loopback and port 8000 by default.

        Raises:
            InvalidRequest: for an address that cannot be one.
        """
        endpoint = resolve_endpoint(argv, host=host, port=port)
        return cls(argv=with_endpoint(argv, endpoint), env=dict(env or {}), endpoint=endpoint)
