"""What a start is, from the options that `launch` and `check` share: one plan, one order. It starts nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from planner.cli.gpus_option import resolve_gpus
from planner.cli.kept import known_calibrations
from planner.cli.options import Host, engine_options, gpu_options
from planner.errors import InvalidRequest
from planner.serve.process.start_order import StartOrder

if TYPE_CHECKING:
    from planner.planning.answer import Plan

F = TypeVar("F", bound=Callable[..., Any])


def start_options(command: F) -> F:
    """Add the options that say what is started and where it listens."""
    for option in (
        click.argument("words", nargs=-1, type=click.UNPROCESSED),
        click.option("--port", type=click.IntRange(1, 65535), help="port to listen on; 8000 by default"),
        click.option(
            "--host",
            type=Host(),
            metavar="HOST",
            help="address to listen on; 127.0.0.1 by default, others need VLLM_API_KEY",
        ),
        click.option("--vllm", "program", metavar="PATH", help="the vllm program, if it is not the one on PATH"),
        click.option(
            "--target",
            type=click.Choice(["local", "docker"]),
            default="local",
            help="vLLM of this machine, or its image",
        ),
        engine_options,
        gpu_options,
    ):
        command = option(command)
    return command


def planned_here(gpus: str | None, gpu_memory: str | None, settings: dict[str, Any]) -> Plan:
    """Return the plan of these options, with what was measured on this machine."""
    from planner.planning.choose import make_plan
    from planner.planning.request import PlanRequest

    chosen = resolve_gpus(gpus, gpu_memory=gpu_memory)
    return make_plan(PlanRequest(gpus=chosen, calibrations=known_calibrations(), **settings))


def is_command(words: tuple[str, ...]) -> bool:
    """Whether what comes after ``--`` is a whole command, not flags for the planned one."""
    return bool(words) and not words[0].startswith("-")


def start_order(
    plan: Plan | None,
    words: tuple[str, ...],
    *,
    target: str,
    program: str | None,
    host: str | None,
    port: int | None,
) -> StartOrder:
    """Return what is started: `plan` with `words` behind it, or the command `words` where there is no plan.

    Raises:
        InvalidRequest: for what cannot be started together.
    """
    if plan is None:
        if target != "local":
            raise InvalidRequest("target", "target docker starts a plan, not a command of your own")
        return StartOrder.of_command(words, host=host, port=port)
    if target == "docker":
        return StartOrder.docker(plan, host=host, port=port, extra=words)
    return StartOrder.local(plan, program=program, host=host, port=port, extra=words)
