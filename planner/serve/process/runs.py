"""The runs of this machine: find one, list them, make room for a new one, remove an old one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hw_specs.errors import reason_of
from hw_specs.reading import expanded
from planner.errors import PlannerError
from planner.serve.process.ending import POLL_S
from planner.serve.process.record import FILE, RunRecord
from planner.serve.process.run import SUPERVISOR_START_S, Run
from planner.serve.process.scratch import hold, sweep, sweep_once
from planner.serve.process.sessions import reap_children
from planner.state import make_private, require_own_folder, runs_dir, write_atomic

LATEST = "latest"


def list_runs(*, on_damaged: Callable[[PlannerError], None] | None = None) -> list[Run]:
    """Return every run of this machine, newest first; damaged directories are left out and told to `on_damaged`.

    Raises:
        UnsafePath: when another user may write to where runs are kept.
    """
    reap_children()
    sweep_once()
    runs = []
    try:
        require_own_folder(runs_dir())
        entries = list(runs_dir().iterdir())
    except OSError:
        return []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            runs.append(Run(entry.resolve()))
        except (PlannerError, OSError) as error:
            if on_damaged is not None and entry.exists():
                on_damaged(error if isinstance(error, PlannerError) else PlannerError(f"`{entry}`: {error.strerror}"))
    return sorted(runs, key=lambda run: (run.record.created_at_s, run.id), reverse=True)


def attach(name: str | Path = LATEST, *, prefer_running: bool = False) -> Run:
    """Return the run called `name`: an id, the unique beginning of one, a directory, or ``latest``.

    With `prefer_running` the latest is the newest that runs, if any does.

    Raises:
        UnsafePath: when another user owns the run or may write to it.
        PlannerError: when there is no such run, or more than one.
    """
    if name == "":
        raise PlannerError("the name of a run is empty", hint="name its id, its directory or `latest`")
    if isinstance(name, Path) or "/" in name:
        return _at(Path(name))
    runs = list_runs()
    if name == LATEST:
        if not runs:
            raise PlannerError("there is no run on this machine", hint="`m35-plan launch` makes one")
        return next((run for run in runs if prefer_running and run.status().alive), runs[0])
    found = [run for run in runs if run.id == name] or [run for run in runs if run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(f"`{run.id}`" for run in found[:3])
        more = f" and {len(found) - 3} more; `m35-plan runs` lists them" if len(found) > 3 else ""
        raise PlannerError(f"`{name}` names {len(found)} runs", hint=f"one of {some}{more}")
    # A folder here never takes the place of a run: whoever may write to this folder could hide one behind its name.
    if holds_run(Path(name)):
        return _at(Path(name))
    near = ", ".join(f"`{run.id}`" for run in runs[:3])
    raise PlannerError(f"there is no run `{name}`", hint=f"the newest are {near}" if near else "there are none yet")


def holds_run(directory: Path) -> bool:
    """Whether `directory` looks like a run; names that no file can have do not."""
    try:
        return (directory / FILE).is_file()
    except (OSError, ValueError):
        return False


def _at(directory: Path) -> Run:
    try:
        return Run(directory.resolve())
    except (OSError, ValueError) as error:
        raise PlannerError(f"`{directory}` cannot be read: {reason_of(error)}") from None


def remove_run(run: Run) -> None:
    """Delete the directory of a run that has ended.

    Raises:
        PlannerError: when something of it still runs, or it cannot be deleted.
    """
    deadline = time.monotonic() + SUPERVISOR_START_S
    while run.status().alive:
        # A supervisor that comes after the stop reads its mark and goes by itself.
        if run.stop_was_asked() and time.monotonic() < deadline:
            time.sleep(POLL_S)
            continue
        raise PlannerError(f"run `{run.id}` is still running", hint=f"stop it first: `m35-plan stop {run.id}`")
    run.clear_remains()
    link = runs_dir() / run.id
    # Away in one step: a supervisor that is late finds no directory, and without its log it starts nothing.
    trash = run.directory.with_name(f".{run.id}.removed")
    try:
        # The link of a copied directory is the original's.
        if link.is_symlink() and link.resolve() == run.directory:
            link.unlink()
        run.directory.rename(trash)
    except OSError as error:
        raise PlannerError(f"cannot remove `{run.directory}`: {reason_of(error)}") from error
    shutil.rmtree(trash, ignore_errors=True)


def place_run(record: RunRecord, files: Mapping[str, str], *, directory: Path | None) -> Run:
    """Make a run directory appear whole or not at all, findable before anything runs.

    Raises:
        UnsafePath: when another user may write to where runs are kept.
        PlannerError: when `directory` is not empty or cannot be made.
    """
    root = runs_dir()
    make_private(root)
    try:
        home = root / record.id if directory is None else expanded(directory).absolute()
        if directory is not None and home.exists() and any(home.iterdir()):
            raise PlannerError(f"run directory `{home}` is not empty", hint="name a folder that does not exist yet")
        home.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise _cannot_place(directory or root, error) from error
    sweep(home.parent)
    draft = home.parent / f".{record.id}.draft"
    held = None
    try:
        while held is None:
            make_private(draft)
            held = hold(draft)
        os.close(os.open(draft / "server.log", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for name, text in files.items():
            write_atomic(draft / name, text)
        record.write(draft)
        if directory is not None:
            if home.exists():
                home.rmdir()
            (root / record.id).symlink_to(home)
        draft.rename(home)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise _cannot_place(home, error) from error
    finally:
        if held is not None:
            os.close(held)
    return Run(home)


def _cannot_place(home: Path, error: OSError | RuntimeError) -> PlannerError:
    return PlannerError(
        f"cannot make the run directory `{home}`: {reason_of(error)}", hint="name another with `--run-dir`"
    )
