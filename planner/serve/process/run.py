"""One run of a server: its directory, its processes, its end; it starts nothing.

A run is a directory. Everything that is known about it can be read from there by any process, at any time, also
after a crash: what was planned (``plan.json``), what was started (``command``, ``env.json`` without secrets), what
it said (``server.log``, ``events.jsonl``), who it is (``process.json``) and how it ended (``exit.json``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from planner.errors import PlannerError
from planner.serve.process.listener import listening_inodes, listens
from planner.serve.process.sessions import lives, members, recorded_session, server_died, session_at_log
from planner.state import make_private, read_json, runs_dir, write_atomic, write_json

RunState = Literal["preparing", "running", "stopped", "failed", "ended", "lost", "aborted"]

_LATEST_S = 1e11
"""No launch was later: a time beyond the year 5000 is a damaged record."""

STOP_GRACE_S = 30.0
"""How long a server may take to end by itself before it is killed."""

_SUPERVISOR_START_S = 10.0
"""A supervisor that has not reported by then never will: its launcher died before it could start one."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What a look at the processes says."""

    state: RunState
    pid: int | None
    """The supervisor, leader of the session; None when there is none."""
    exit_code: int | None
    """Of the server, as a shell gives it; None while it runs or when nobody saw its end."""
    note: str = ""
    remains: int = 0
    """Processes that were left when server and supervisor were killed; `Run.stop` ends them."""

    @property
    def alive(self) -> bool:
        """Whether anything of the run still runs or is about to."""
        return self.state in ("preparing", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a stop went."""

    how: Literal["already ended", "terminated", "killed"]
    took_s: float


class Run:
    """A run directory and what can be done with it.

    Raises:
        PlannerError: when `directory` holds no run.
    """

    def __init__(self, directory: Path) -> None:
        record = read_json(directory / "run.json")
        if record is None and not (directory / "run.json").exists():
            raise PlannerError(
                f"`{directory}` is not a run directory", hint="`m35-plan runs` lists the runs of this machine"
            )
        if record is None or (wrong := _wrong_key(record)) is not None:
            what = "is no JSON object" if record is None else f"has no usable `{wrong}`"
            raise PlannerError(
                f"the run directory `{directory}` is damaged: its run.json {what}",
                hint="its server.log is still readable: `m35-plan diagnose` takes the file",
            )
        self.directory = directory
        self.record: dict[str, Any] = record

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """Name of the run, sortable by time."""
        return str(self.record["id"])

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        return str(self.record["url"])

    @property
    def created_at_s(self) -> float:
        """Unix time of the launch."""
        return float(self.record["created_at_s"])

    @property
    def target(self) -> str:
        """``local``, ``cuda`` or ``rocm``."""
        return str(self.record["target"])

    @property
    def argv(self) -> tuple[str, ...]:
        """What was started."""
        return tuple(self.record["argv"])

    @property
    def log_path(self) -> Path:
        """The server's own output, both streams."""
        return self.directory / "server.log"

    @property
    def events_path(self) -> Path:
        """What followers saw, one JSON object a line."""
        return self.directory / "events.jsonl"

    @property
    def plan_document(self) -> dict[str, Any] | None:
        """The plan as it was when the server was started; None for a command without a plan."""
        return read_json(self.directory / "plan.json")

    @property
    def history_key(self) -> str:
        """Runs with the same key take about as long to start."""
        return str(self.record.get("history_key", ""))

    def read_log(self, *, last_bytes: int | None = None) -> bytes:
        """Return the log, or its last part."""
        try:
            with self.log_path.open("rb") as file:
                if last_bytes is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - last_bytes))
                return file.read()
        except OSError:
            return b""

    def status(self) -> RunStatus:
        """Look at the processes and the records."""
        process = self._process()
        pid = self._session(process)
        remains = 0
        if pid is not None and (running := members(pid)):
            if not server_died(process or {}, pid):
                return RunStatus(state="running", pid=pid, exit_code=None)
            remains = len(running)
        # Read after the processes were seen gone: the record is the last thing a supervisor writes.
        ending = read_json(self.directory / "exit.json")
        if ending is not None:
            return self._ended(ending)
        if process is None:
            return self._unstarted()
        note = "its processes are gone, nobody saw how"
        if remains:
            note = f"its server was killed, and its supervisor as well; {remains} processes are left"
        return RunStatus(state="lost", pid=None, exit_code=None, note=note, remains=remains)

    def listens(self) -> bool:
        """Whether a process of this run listens on its port."""
        session = self._session(self._process())
        return session is not None and listens(members(session), int(self.record["port"]))

    def usurped(self) -> bool:
        """Whether its port is held by a process of somebody else; only known of local runs."""
        port = int(self.record["port"])
        return self.target == "local" and bool(listening_inodes(port)) and not self.listens()

    def stop_was_asked(self) -> bool:
        """Whether somebody asked us to stop it, so that the way it ended says nothing about a fault."""
        return (self.directory / "stop").exists()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> StopReport:
        """End the server and everything it started: SIGTERM, wait `grace_s`, SIGKILL.

        It also prevents the start of a server that was not started yet. Calling it again does no harm.
        """
        begun = time.monotonic()
        if not self.status().alive:
            if self.clear_remains():
                return StopReport(how="killed", took_s=time.monotonic() - begun)
            return StopReport(how="already ended", took_s=0.0)
        write_atomic(self.directory / "stop", f"{time.time():.3f}\n")
        while self.status().state == "preparing":
            time.sleep(_POLL_S)
        if not self.status().alive:
            return StopReport(how="terminated", took_s=time.monotonic() - begun)
        session = self._session(self._process())
        if session is None:
            return StopReport(how="terminated", took_s=time.monotonic() - begun)
        self._ask_docker("stop_argv", grace_s)
        self._terminate(session)
        if self._wait_gone(session, grace_s):
            how: Literal["terminated", "killed"] = "terminated"
        else:
            how = "killed"
            self._kill_all(session)
            # The supervisor's own clean-up may have been among the killed.
            self._ask_docker("remove_argv", 30.0)
        if read_json(self.directory / "exit.json") is None:
            write_json(
                self.directory / "exit.json",
                {
                    "exit_code": 137 if how == "killed" else None,
                    "error": "",
                    "stopped": True,
                    "ended_at_s": time.time(),
                },
            )
        return StopReport(how=how, took_s=time.monotonic() - begun)

    def clear_remains(self) -> bool:
        """Kill what was left when server and supervisor were both killed; return whether there was anything."""
        status = self.status()
        session = self._session(self._process())
        if status.state != "lost" or session is None:
            return False
        self._kill_all(session)
        self._ask_docker("remove_argv", 30.0)
        if status.remains:
            ending = {"exit_code": None, "error": status.note, "stopped": False, "ended_at_s": time.time()}
            write_json(self.directory / "exit.json", ending)
        return status.remains > 0

    def _kill_all(self, session: int) -> None:
        for number in range(3):
            # The supervisor goes last: it writes down how the server ended.
            spare = {session} if number == 0 else set()
            self._kill([pid for pid in members(session) if pid not in spare])
            if self._wait_gone(session, 5.0):
                break

    def _process(self) -> dict[str, Any] | None:
        """What the supervisor recorded; None before it did, empty where the record cannot be read."""
        path = self.directory / "process.json"
        record = read_json(path)
        return {} if record is None and path.exists() else record

    def _session(self, process: dict[str, Any] | None) -> int | None:
        """The session's id if its leader is still the process that was recorded, or gone and its group not empty."""
        if process is None:
            return None
        try:
            return recorded_session(process)
        except ValueError:
            # A damaged record hides no server.
            return session_at_log(self.log_path)

    def _ended(self, ending: dict[str, Any]) -> RunStatus:
        code = ending.get("exit_code")
        code = code if isinstance(code, int) else None
        state: RunState = "stopped" if ending.get("stopped") else "ended" if code == 0 else "failed"
        return RunStatus(state=state, pid=None, exit_code=code, note=str(ending.get("error", "")))

    def _unstarted(self) -> RunStatus:
        alive = lives(self.record["launcher_pid"], start_ticks=self.record["launcher_start_ticks"])
        young = time.time() - self.created_at_s < _SUPERVISOR_START_S
        stopped = self.stop_was_asked()
        # A supervisor that is still on its way reads the mark of a stop before it starts anything.
        if (young or not stopped) if alive else (young and not stopped):
            return RunStatus(state="preparing", pid=None, exit_code=None)
        return RunStatus(state="aborted", pid=None, exit_code=None, note="its launcher died before the server started")

    def _ask_docker(self, key: str, grace_s: float) -> None:
        """Run the docker command that the record holds for `key`, where the run is a container."""
        command = self.record.get(key)
        if command:
            argv = [part.replace("{grace_s}", str(round(grace_s))) for part in command]
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=grace_s + 30, check=False)

    def _terminate(self, session: int) -> None:
        if lives(session):
            # The supervisor passes it on to the whole family, once.
            self._kill([session], signal.SIGTERM)
        else:
            self._kill(members(session), signal.SIGTERM)

    @staticmethod
    def _kill(pids: list[int], number: int = signal.SIGKILL) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _wait_gone(self, session: int, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while members(session):
            reap_children()
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def _wrong_key(record: dict[str, Any]) -> str | None:
    """The first entry of a ``run.json`` that no launch writes like that."""

    def words(value: object) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)

    def whole(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    created = record.get("created_at_s")
    fits = {
        **{name: bool(record.get(name)) and isinstance(record[name], str) for name in ("id", "target", "url")},
        "created_at_s": isinstance(created, (int, float)) and 0 <= created < _LATEST_S,
        "port": whole(record.get("port")) and record["port"] < 1 << 16,
        "argv": words(record.get("argv")),
        "launcher_pid": whole(record.get("launcher_pid")),
        "launcher_start_ticks": record.get("launcher_start_ticks") is None or whole(record["launcher_start_ticks"]),
        **{name: record.get(name) is None or words(record[name]) for name in ("stop_argv", "remove_argv")},
    }
    return next((name for name, right in fits.items() if not right), None)


_CHILDREN: dict[str, subprocess.Popen[bytes]] = {}
"""Supervisors that this process started: somebody must collect them when they end."""


def adopt_child(run_id: str, process: subprocess.Popen[bytes]) -> None:
    """Remember a supervisor of ours."""
    _CHILDREN[run_id] = process


def reap_children() -> None:
    """Collect the supervisors of ours that ended."""
    for run_id, process in list(_CHILDREN.items()):
        if process.poll() is not None:
            del _CHILDREN[run_id]


def list_runs(*, on_damaged: Callable[[PlannerError], None] | None = None) -> list[Run]:
    """Return every run of this machine, newest first; damaged directories are left out and told to `on_damaged`."""
    reap_children()
    runs = []
    try:
        entries = list(runs_dir().iterdir())
    except OSError:
        return []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            runs.append(Run(entry.resolve()))
        except PlannerError as error:
            if on_damaged is not None and entry.exists():
                on_damaged(error)
    return sorted(runs, key=lambda run: (run.created_at_s, run.id), reverse=True)


def attach(name: str | Path = "latest", *, prefer_running: bool = False) -> Run:
    """Return the run called `name`: an id, the unique beginning of one, a directory, or ``latest``.

    With `prefer_running` the latest is the newest that runs, if any does.

    Raises:
        PlannerError: when there is no such run, or more than one.
    """
    if name == "":
        raise PlannerError("the name of a run is empty", hint="name its id, its directory or `latest`")
    if isinstance(name, Path) or "/" in name or (Path(name) / "run.json").is_file():
        return Run(Path(name).resolve())
    runs = list_runs()
    if name == "latest":
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
    near = ", ".join(f"`{run.id}`" for run in runs[:3])
    raise PlannerError(f"there is no run `{name}`", hint=f"the newest are {near}" if near else "there are none yet")


def remove_run(run: Run) -> None:
    """Delete the directory of a run that has ended.

    Raises:
        PlannerError: when something of it still runs.
    """
    deadline = time.monotonic() + _SUPERVISOR_START_S
    while run.status().alive:
        # A supervisor that comes after the stop reads its mark and goes by itself.
        if run.stop_was_asked() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            continue
        raise PlannerError(f"run `{run.id}` is still running", hint=f"stop it first: `m35-plan stop {run.id}`")
    run.clear_remains()
    link = runs_dir() / run.id
    if link.is_symlink():
        link.unlink()
    # Away in one step: a supervisor that is late finds no directory, and without its log it starts nothing.
    grave = run.directory.with_name(f".{run.id}.removed")
    try:
        run.directory.rename(grave)
    except OSError as error:
        raise PlannerError(f"cannot remove `{run.directory}`: {(error.strerror or str(error)).lower()}") from error
    shutil.rmtree(grave, ignore_errors=True)


def place_run(record: dict[str, Any], files: dict[str, str], *, directory: Path | None) -> Run:
    """Make a run directory appear whole or not at all, findable before anything runs.

    Raises:
        PlannerError: when `directory` is not empty or cannot be made.
    """
    root = runs_dir()
    make_private(root)
    home = root / record["id"] if directory is None else directory.expanduser().absolute()
    if directory is not None and home.exists() and any(home.iterdir()):
        raise PlannerError(f"run directory `{home}` is not empty", hint="name a folder that does not exist yet")
    make_private(home.parent)
    draft = home.parent / f".{record['id']}.draft"
    make_private(draft)
    try:
        (draft / "server.log").touch(mode=0o600)
        for name, text in files.items():
            write_atomic(draft / name, text)
        write_json(draft / "run.json", record)
        if directory is not None:
            if home.exists():
                home.rmdir()
            (root / record["id"]).symlink_to(home)
        draft.rename(home)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise PlannerError(
            f"cannot make the run directory `{home}`: {(error.strerror or str(error)).lower()}",
            hint="name another one with `--run-dir`",
        ) from error
    return Run(home)
