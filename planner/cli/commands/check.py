"""``m35-plan check``: would the start succeed on this machine? It changes nothing and downloads nothing."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.measured_here import known_calibrations
from planner.cli.options import Host, engine_options, gpu_options
from planner.cli.output import write, write_json
from planner.cli.preflight_table import result_text
from planner.serve.preflight import CheckResult, Situation, run_preflight
from planner.serve.process.launcher import resolve_endpoint, with_endpoint


@click.command(short_help="check this machine before a start")
@gpu_options
@engine_options
@click.option(
    "--target", type=click.Choice(["local", "docker"]), default="local", help="check for vLLM here, or its image"
)
@click.option("--vllm", "program", metavar="PATH", help="the vllm program, if it is not the one on PATH")
@click.option("--host", type=Host(), metavar="HOST", help="address the server will listen on")
@click.option("--port", type=click.IntRange(1, 65535), help="port the server will listen on")
@click.option("--only", multiple=True, metavar="CHECK", help="run this check alone (repeatable)")
@click.option("--skip", multiple=True, metavar="CHECK", help="leave this check out (repeatable)")
@click.option("--strict", is_flag=True, help="exit with 5 for warnings and unknowns, too")
@click.option("--json", "as_json", is_flag=True, help="print the results as JSON")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(
    gpus: str | None,
    gpu_memory: str | None,
    target: str,
    program: str | None,
    host: str | None,
    port: int | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    strict: bool,
    as_json: bool,
    words: tuple[str, ...],
    **settings: Any,
) -> int:
    """Check engine, GPUs, disk, checkpoint and the rest for the start that `launch` with the same options would make.

    A whole command behind `--` is checked without a plan. Exit code 0: nothing failed, 5: a check failed.
    """
    plan = None
    elsewhere = False
    env: dict[str, str] = {}
    if words and not words[0].startswith("-"):
        argv: tuple[str, ...] = words
        endpoint = resolve_endpoint(argv, host=host, port=port)
        argv = with_endpoint(argv, endpoint)
    else:
        from planner.planning.choose import plan as make_plan
        from planner.planning.request import PlanRequest
        from planner.rendering.command import serve_command
        from planner.rendering.multi_node import require_one_node
        from planner.serve.preflight.passthrough import refuse_planned

        refuse_planned(words)
        chosen = resolve_gpus(gpus, gpu_memory=gpu_memory)
        plan = make_plan(PlanRequest(gpus=chosen, calibrations=known_calibrations(), **settings))
        require_one_node(plan, what="this checks one", hint="check each node alone, as in `--gpus 8xH200`")
        elsewhere = chosen.origin == "snapshot"
        endpoint = resolve_endpoint(words, host=host, port=port)
        planned = serve_command(plan, host=endpoint.host, port=endpoint.port)
        argv, env = (program or planned.argv[0], *planned.argv[1:], *words), dict(planned.env)
    kind = "local"
    if target == "docker" and plan is not None:
        from planner.rendering.emitters.docker import docker_argv
        from planner.serve.preflight.start_order import docker_caches

        home, hub = docker_caches(os.environ)
        kind = {"nvidia": "cuda"}.get(plan.gpus.spec.vendor, "rocm")
        argv = (*docker_argv(plan, host=endpoint.host, port=endpoint.port, cache=home, hub_cache=hub), *words)
    situation = Situation(argv=argv, env=env, plan=plan, endpoint=endpoint, target=kind, elsewhere=elsewhere)
    results: list[CheckResult] = []
    for result in run_preflight(situation, only=only, skip=skip):
        results.append(result)
        if not as_json:
            write(result_text(result))
    counts = {status: sum(r.status == status for r in results) for status in ("pass", "warn", "fail", "unknown")}
    if as_json:
        write_json({"ok": not counts["fail"], "counts": counts, "checks": [dataclasses.asdict(r) for r in results]})
    else:
        write("\n" + ", ".join(f"{number} {status}" for status, number in counts.items() if number))
    bad = counts["fail"] + (counts["warn"] + counts["unknown"] if strict else 0)
    return ExitCode.LAUNCH_FAILED if bad else ExitCode.OK
