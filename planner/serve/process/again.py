"""The same start once more: what a running server was started with, read from the processes that live.

Words of a run directory are data, and are run again only while the supervisor that was started for this very directory
lives. Its environment and its folder are the kernel's, so that keys, which are written down nowhere, come along.
"""

from __future__ import annotations

import os
from pathlib import Path

from planner.errors import LaunchFailed
from planner.planning.answer import Plan
from planner.serve.process.launcher import launch
from planner.serve.process.run import Run
from planner.serve.process.start_order import StartOrder, container_of, new_run_id

_PROC = Path("/proc")


def start_again(run: Run, *, plan: Plan | None = None) -> Run:
    """Stop `run`, start the same command at the same address, and return the new run at once.

    `plan` is what the new run is compared with. A variable that is set now and was not at that start is set then.

    Raises:
        LaunchFailed: when the server does not run, was not started by this user's launch, or cannot be started again.
    """
    folder, environment = _start_of(run)
    run_id = new_run_id()
    old, new = container_of(run.id), container_of(run_id)
    order = StartOrder(
        argv=tuple(new if word == old else word for word in run.record.argv),
        env=environment,
        endpoint=run.record.endpoint,
        target=run.record.target,
        run_id=run_id,
    )
    run.stop()
    return launch(order, plan=plan, history_key=run.record.history_key, folder=folder)


def _start_of(run: Run) -> tuple[Path, dict[str, str]]:
    """The folder and the environment of the supervisor of `run`."""
    status = run.status()
    if status.state != "running" or status.pid is None:
        raise LaunchFailed(f"run `{run.id}` does not run, so it cannot be started again")
    process = _PROC / str(status.pid)
    try:
        folder = (process / "cwd").readlink()
        words = _strings(process / "cmdline")
        environment = dict(word.partition("=")[::2] for word in _strings(process / "environ") if "=" in word)
    except OSError as error:
        raise LaunchFailed(f"what started run `{run.id}` cannot be read: {error.strerror}") from None
    if not words or (folder / words[-1]).resolve() != run.directory.resolve():
        raise LaunchFailed(
            f"run `{run.id}` is not the one that its directory tells of",
            hint="stop it and start it as it was started: `m35-plan stop`, `m35-plan launch`",
        )
    return folder, environment


def _strings(path: Path) -> list[str]:
    return [os.fsdecode(word) for word in path.read_bytes().split(b"\0") if word]
