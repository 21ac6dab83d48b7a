"""Starting a server so that it outlives its launcher and can always be found; it never waits for readiness."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hw_specs.errors import reason_of
from planner.errors import LaunchFailed
from planner.planning.answer import Plan
from planner.serve.process.endpoint import Endpoint, with_endpoint
from planner.serve.process.keys import require_key, split_environment
from planner.serve.process.record import RunRecord
from planner.serve.process.run import Run
from planner.serve.process.runs import place_run
from planner.serve.process.sessions import adopt_child
from planner.serve.process.start_order import StartOrder
from planner.serve.process.supervisor import read_stat
from planner.serve.process.witness import WITNESS, counters
from planner.state import open_own


def launch(
    order: StartOrder,
    *,
    plan: Plan | None = None,
    run_dir: Path | None = None,
    history_key: str = "",
    end_with_launcher: bool = False,
    scratch: Sequence[Path] = (),
    folder: Path | None = None,
) -> Run:
    """Start `order` in a session of its own and return its run at once.

    The server is a grandchild: a small supervisor in its own session records it before it exists, writes down how
    it ended and leaves no process behind. Killing the caller, at any moment, changes nothing for the server.

    `plan` is kept in the run directory: as the document that every program reads, and whole, so that a failed start
    can be planned again. With `end_with_launcher` the server is stopped when this process ends, however it ends. The
    folders `scratch` are deleted after the server's end. `folder` is where it works, the current one by default.

    Raises:
        LaunchFailed: when it would be exposed without a key, or the supervisor cannot be started.
        PlannerError: when the run directory cannot be made.
    """
    environment = order.environment
    require_key(order.endpoint, environment)
    try:
        folder = folder or Path.cwd()
    except FileNotFoundError:
        raise LaunchFailed("the working folder was deleted", hint="change to another one: `cd`") from None
    shown, hidden = split_environment(environment)
    me = read_stat(os.getpid())
    record = RunRecord(
        id=order.run_id,
        created_at_s=time.time(),
        target=order.target,
        endpoint=order.endpoint,
        argv=order.argv,
        history_key=history_key or (start_key(plan, order.target) if plan is not None else _command_key(order)),
        launcher_pid=os.getpid(),
        launcher_start_ticks=me[4] if me else None,
    )
    spawn = {
        "argv": list(order.argv),
        "cwd": str(folder),
        "cleanup": [["docker", "rm", "--force", order.container]] if order.container else [],
        "scratch": [str(path.absolute()) for path in scratch],
        "end_with": [record.launcher_pid, record.launcher_start_ticks] if end_with_launcher else None,
    }
    planned = {name: value for name, value in order.env.items() if name not in hidden}
    files = {
        "command": _as_shell(order.argv, planned) + "\n",
        WITNESS: counters(),
        "env.json": json.dumps({"planned": planned, "inherited": shown, "secrets": hidden}, indent=2) + "\n",
    }
    if plan is not None:
        from planner.rendering.document import plan_document, to_json_value

        files["plan.json"] = json.dumps(to_json_value(plan_document(plan)), indent=2, ensure_ascii=False) + "\n"
    run = place_run(record, files, directory=run_dir)
    _spawn_supervisor(run, spawn, environment)
    return run


def start_key(plan: Plan, target: str) -> str:
    """Return what starts must share to take about as long: model, GPUs, release, layout, features."""
    settings = plan.settings
    parts = [
        plan.model.name, str(plan.gpus), f"vllm {plan.vllm_version}", target, settings.load_format,
        f"tp{settings.tensor_parallel_size} pp{settings.pipeline_parallel_size}",
    ]  # fmt: skip
    parts += ["text" if settings.language_model_only else "vision", "eager" if settings.enforce_eager else "graphs"]
    return " | ".join([*parts, f"draft {settings.num_speculative_tokens}"])


def _command_key(order: StartOrder) -> str:
    """The same for a command without a plan: everything but its address."""
    return shlex.join(with_endpoint(order.argv, Endpoint(host="", port=0)))


def _as_shell(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """The command as a person would type it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), shlex.join(argv)])


def _spawn_supervisor(run: Run, spawn: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Start the parent of the server; what to start goes through its standard input, whole before it exists."""
    script = Path(__file__).with_name("supervisor.py")
    try:
        with (
            os.fdopen(os.memfd_create("m35-start"), "w+b") as order,
            os.fdopen(open_own(run.log_path, os.O_WRONLY | os.O_APPEND), "ab") as log,
        ):
            order.write(json.dumps(spawn).encode())
            order.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(run.directory)],
                stdin=order,
                stdout=log,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise LaunchFailed(f"cannot start a process: {reason_of(error)}") from error
    adopt_child(run.id, process)
