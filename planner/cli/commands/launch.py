"""``m35-plan launch``: check, start, follow until ready or failed. The server outlives it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.diagnostics import narrate, say
from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.measured_here import known_calibrations
from planner.cli.options import Host, engine_options, gpu_options
from planner.cli.output import write, write_json
from planner.errors import InvalidRequest
from planner.serve.process.launcher import (
    DEFAULT_HOST,
    Endpoint,
    launch,
    new_run_id,
    refuse_secrets,
    require_key,
    resolve_endpoint,
    with_endpoint,
)

if TYPE_CHECKING:
    from planner.planning.answer import Plan


@click.command(short_help="check, start and follow a server")
@gpu_options
@engine_options
@click.option("--target", type=click.Choice(["local", "docker"]), default="local", help="run vLLM here, or its image")
@click.option("--vllm", "program", metavar="PATH", help="the vllm program, if it is not the one on PATH")
@click.option(
    "--host",
    type=Host(),
    metavar="HOST",
    help=f"address to listen on; {DEFAULT_HOST} by default, others need VLLM_API_KEY",
)
@click.option("--port", type=click.IntRange(1, 65535), help="port to listen on; 8000 by default")
@click.option("--run-dir", type=click.Path(path_type=Path), help="directory of this run, instead of one of our own")
@click.option(
    "--timeout", multiple=True, metavar="[PHASE=]SECONDS", help="time limit of a phase, or of the whole start"
)
@click.option("--no-check", is_flag=True, help="start even if a preflight check fails")
@click.option("--force", is_flag=True, help="start even if the plan does not fit")
@click.option("--detach", is_flag=True, help="return as soon as it is started")
@click.option("--stay", is_flag=True, help="go on watching after it is ready; Ctrl-C stops the server")
@click.option("--dry-run", is_flag=True, help="print what would be started, and stop")
@click.option("--json", "as_json", is_flag=True, help="print every event as a JSON line")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(
    gpus: str | None,
    gpu_memory: str | None,
    target: str,
    program: str | None,
    host: str | None,
    port: int | None,
    run_dir: Path | None,
    timeout: tuple[str, ...],
    no_check: bool,
    force: bool,
    detach: bool,
    stay: bool,
    dry_run: bool,
    as_json: bool,
    words: tuple[str, ...],
    **settings: Any,
) -> int:
    """Start the planned server and follow it until it is ready.

    What stands behind `--` goes to vLLM: `m35-plan launch --gpus 8xH200 -- --served-model-name m35`. A whole command
    there, `-- vllm serve MODEL ...`, is started as it is, without a plan.

    The server goes on when this command ends; `m35-plan runs`, `attach` and `stop` find it. Exit code 0: ready,
    3: the plan does not fit, 5: it failed (and why), 7: a phase made no progress.
    """
    from planner.cli.watching import read_limits, watch

    limits = read_limits(timeout)
    run_id = new_run_id()
    plan: Plan | None = None
    env: dict[str, str] = {}
    container: str | None = None
    if words and not words[0].startswith("-"):
        if target != "local":
            raise InvalidRequest("target", "target docker starts a plan, not a command of your own")
        argv: tuple[str, ...] = words
        endpoint = resolve_endpoint(argv, host=host, port=port)
    else:
        plan = _plan(gpus, gpu_memory, settings)
        if not plan.feasible and not force:
            say("error", f"the plan does not fit: {plan.reasons[0] if plan.reasons else plan.verdict}")
            say("hint", "`m35-plan` with the same options shows the levers; --force starts it all the same")
            return ExitCode.DOES_NOT_FIT
        endpoint = resolve_endpoint(words, host=host, port=port)
        container = f"m35-{run_id}" if target == "docker" else None
        argv, env = _command(plan, endpoint, words, container=container, program=program)
    kind = target if target == "local" or plan is None else {"nvidia": "cuda"}.get(plan.gpus.spec.vendor, "rocm")
    if kind == "local":
        argv = with_endpoint(argv, endpoint)
    refuse_secrets(argv, {**os.environ, **env})
    if dry_run:
        return _show(argv, env, endpoint, as_json=as_json)
    require_key(endpoint, os.environ)
    if not no_check and not _checks_pass(argv, env, plan, endpoint, kind):
        return ExitCode.LAUNCH_FAILED
    run = launch(
        argv, env=env, plan=plan, target=kind, endpoint=endpoint, run_dir=run_dir, container=container, run_id=run_id
    )
    if detach:
        if as_json:
            write_json({"run": run.id, "directory": str(run.directory), "url": run.url})
        else:
            write(run.id)
        return ExitCode.OK
    narrate(f"run {run.id} in {run.directory}")
    return watch(run, limits=limits, until="end" if stay else "ready", json_lines=as_json, stop_on_timeout=True)


def _plan(gpus: str | None, gpu_memory: str | None, settings: dict[str, Any]) -> Plan:
    from planner.planning.choose import plan
    from planner.planning.request import PlanRequest

    chosen = resolve_gpus(gpus, gpu_memory=gpu_memory)
    return plan(PlanRequest(gpus=chosen, calibrations=known_calibrations(), **settings))


def _command(
    plan: Plan, endpoint: Endpoint, extra: tuple[str, ...], *, container: str | None, program: str | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argv of the target with the user's own flags, and its environment."""
    from planner.serve.preflight.passthrough import refuse_planned

    refuse_planned(extra)
    if container is not None:
        from planner.rendering.emitters.docker import docker_argv
        from planner.serve.preflight.start_order import docker_caches

        home, hub = docker_caches(os.environ)
        argv = docker_argv(plan, host=endpoint.host, port=endpoint.port, cache=home, hub_cache=hub, name=container)
        return (*argv, *extra), {}
    from planner.rendering.command import serve_command
    from planner.rendering.multi_node import require_one_node

    require_one_node(plan, what="this starts one", hint="`--emit shell` prints the command of each node")
    planned = serve_command(plan, host=endpoint.host, port=endpoint.port)
    return (program or planned.argv[0], *planned.argv[1:], *extra), dict(planned.env)


def _show(argv: tuple[str, ...], env: dict[str, str], endpoint: Endpoint, *, as_json: bool) -> int:
    if as_json:
        write_json({"argv": list(argv), "env": env, "url": endpoint.url})
    else:
        write(" ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), shlex.join(argv)]))
    return ExitCode.OK


def _checks_pass(argv: tuple[str, ...], env: dict[str, str], plan: Plan | None, endpoint: Endpoint, kind: str) -> bool:
    """Run the preflight; show what is not well."""
    from planner.cli.preflight_table import result_text
    from planner.serve.preflight import Situation, run_preflight

    failed = 0
    for result in run_preflight(Situation(argv=argv, env=env, plan=plan, endpoint=endpoint, target=kind)):
        if result.status in ("fail", "warn"):
            narrate(result_text(result))
        failed += result.status == "fail"
    if failed:
        say("error", f"{failed} preflight check{'s' if failed > 1 else ''} failed")
        say("hint", "--no-check starts it all the same; `m35-plan check` shows every check")
    return not failed
