"""One run of a server: what is known of it, whether it lives, and its end. It starts nothing.

A run is a directory. Everything that is known about it can be read from there by any process, at any time, also
after a crash: what was planned (``plan.json``), what was started (``command``, ``env.json`` without secrets), what
it said (``server.log``, ``events.jsonl``), who it is (``process.json``) and how it ended (``exit.json``).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from hw_specs.errors import reason_of
from planner.errors import UnsafePath
from planner.serve.helper import ask_program
from planner.serve.process.ending import POLL_S, Ending, kill_all, terminate, wait_or_kill
from planner.serve.process.listener import listening_inodes, listens
from planner.serve.process.record import RunRecord
from planner.serve.process.sessions import lives, members, recorded_session, server_died, session_at_log
from planner.state import open_own, read_json, read_records, write_atomic, write_json

RunState = Literal["preparing", "running", "stopped", "failed", "ended", "lost", "aborted"]

STOP_GRACE_S = 30.0
"""How long a server may take to end by itself before it is killed."""

SUPERVISOR_START_S = 10.0
"""A supervisor that has not reported by then never will: its launcher died before it could start one."""

_LAST_WORDS_BYTES = 1 << 20
"""How much of the end of a log is looked at for a failure; tracebacks of all ranks take a few hundred KiB."""

_DOCKER_S = 30.0
"""How long the docker client may take for what is asked of it, a server's own time to end not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What a look at the processes says."""

    state: RunState
    pid: int | None
    """The supervisor, leader of the session; None when there is none."""
    exit_code: int | None
    """Of the server, as a shell gives it; None while it runs or when its end was not seen."""
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

    run: str
    """Which one was ended."""
    how: Literal["already ended"] | Ending
    duration_s: float
    note: str = ""
    """What could not be written down of it, and why; the server is gone anyway."""


class Run:
    """A run directory and what can be done with it.

    Raises:
        UnsafePath: when another user owns the directory, or may write it.
        PlannerError: when `directory` holds no run, or a damaged one.
    """

    def __init__(self, directory: Path) -> None:
        self.record = RunRecord.read(directory)
        self.directory = directory

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """Name of the run, sortable by time."""
        return self.record.id

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        return self.record.endpoint.url

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

    def was_seen_ready(self, *, dropped: list[str] | None = None) -> bool:
        """Whether a follower ever saw it ready.

        `dropped` gets a text for every record that is left out because it is damaged.

        Raises:
            UnsafePath: when another user may have written what followers saw.
        """
        return any(record.get("kind") == "server-ready" for record in read_records(self.events_path, dropped=dropped))

    def open_log(self) -> BinaryIO:
        """Open the log for reading.

        Raises:
            UnsafePath: when another user may have written it.
            OSError: when it cannot be read.
        """
        return os.fdopen(open_own(self.log_path), "rb")

    def read_log(self, *, first_bytes: int | None = None) -> bytes:
        """Return the log, or its first part; nothing where it cannot be read.

        Raises:
            UnsafePath: when another user may have written it.
        """
        try:
            with self.open_log() as file:
                return file.read() if first_bytes is None else file.read(first_bytes)
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
        ending = self._read("exit.json")
        if ending is not None:
            return self._ended(ending)
        if process is None:
            return self._unstarted()
        note = "it is gone; its exit status is unknown"
        if remains:
            note = f"its server was killed, and its supervisor as well; {remains} processes are left"
        return RunStatus(state="lost", pid=None, exit_code=None, note=note, remains=remains)

    def listens(self) -> bool:
        """Whether a process of this run listens on its port."""
        session = self._session(self._process())
        return session is not None and listens(members(session), self.record.endpoint.port)

    def port_taken(self) -> bool:
        """Whether another process holds its port; only known of local runs."""
        port = self.record.endpoint.port
        return self.record.target == "local" and bool(listening_inodes(port)) and not self.listens()

    def stop_was_asked(self) -> bool:
        """Whether a stop was requested, so that the way it ended says nothing about a fault."""
        return (self.directory / "stop").exists()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> StopReport:
        """End the server and everything it started: SIGTERM, wait `grace_s`, SIGKILL.

        The signal comes first; what is written down of it may fail on a full disk and ends in the report's note. It
        also prevents the start of a server that was not started yet. Calling it again does no harm.
        """
        begun = time.monotonic()
        faults: list[str] = []

        def report(how: Literal["already ended"] | Ending) -> StopReport:
            took_s = 0.0 if how == "already ended" else round(time.monotonic() - begun, 3)
            return StopReport(run=self.id, how=how, duration_s=took_s, note="; ".join(dict.fromkeys(faults)))

        if not self.status().alive:
            return report("killed" if self.clear_remains() else "already ended")
        session = self._session(self._process())
        if session is None:
            # Not there yet, so a mark must say it: whoever starts the server looks for one.
            self._mark_stop(faults)
            while self.status().state == "preparing":
                time.sleep(POLL_S)
            session = self._session(self._process())
            if session is None or not self.status().alive:
                return report("terminated")
        if self.record.container is not None:
            # Its client ends with the container and would not look like a stop without the mark.
            self._mark_stop(faults)
            self._docker("stop", "-t", str(round(grace_s)), wait_s=grace_s + _DOCKER_S)
        terminate(session)
        self._mark_stop(faults)
        how = wait_or_kill(session, grace_s=grace_s)
        if how == "killed":
            # The supervisor's own clean-up may have been among the killed.
            self._docker("rm", "--force", wait_s=_DOCKER_S)
        if self._read("exit.json") is None:
            self._write_end(faults, exit_code=137 if how == "killed" else None, stopped=True)
        return report(how)

    def clear_remains(self) -> bool:
        """Kill what was left when server and supervisor were both killed; return whether there was anything."""
        status = self.status()
        session = self._session(self._process())
        if status.state != "lost" or session is None:
            return False
        kill_all(session)
        self._docker("rm", "--force", wait_s=_DOCKER_S)
        if status.remains:
            self._write_end([], exit_code=None, stopped=False, error=status.note)
        return status.remains > 0

    def _mark_stop(self, faults: list[str]) -> None:
        """Leave the mark by which others know that the end was asked for."""
        if self.stop_was_asked():
            return
        try:
            write_atomic(self.directory / "stop", f"{time.time():.3f}\n")
        except OSError as error:
            faults.append(f"the stop could not be recorded: {reason_of(error)}")

    def _write_end(self, faults: list[str], *, exit_code: int | None, stopped: bool, error: str = "") -> None:
        ending = {"exit_code": exit_code, "error": error, "stopped": stopped, "ended_at_s": time.time()}
        try:
            write_json(self.directory / "exit.json", ending)
        except OSError as fault:
            faults.append(f"its end could not be recorded: {reason_of(fault)}")

    def _process(self) -> dict[str, Any] | None:
        """What the supervisor recorded; None before it did, empty where the record cannot be read."""
        record = self._read("process.json")
        return {} if record is None and (self.directory / "process.json").exists() else record

    def _read(self, name: str) -> dict[str, Any] | None:
        """A record of the directory; one that another user may have written counts as a damaged one."""
        try:
            return read_json(self.directory / name)
        except UnsafePath:
            return None

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
        note = str(ending.get("error", ""))
        state: RunState = "stopped" if ending.get("stopped") else "ended" if code == 0 else "failed"
        if state == "ended" and self._calm_fault:
            state, note = "failed", note or f"{self._calm_fault}; the server itself ended with exit code 0"
        return RunStatus(state=state, pid=None, exit_code=code, note=note)

    @cached_property
    def _calm_fault(self) -> str:
        """What was wrong with an end with exit code 0, from its log; empty where nothing was or nothing can be read.

        vLLM's API server exits with 0 when its engine process has died, and so does a command that only prints its
        help. The log of a server that has ended does not change: it is read once.
        """
        from planner.serve.log.events import PhaseStarted
        from planner.serve.log.excerpt import HEAD_BYTES
        from planner.serve.log.parser import parse_log

        try:
            with self.open_log() as file:
                size_bytes = os.fstat(file.fileno()).st_size
                head = file.read(HEAD_BYTES)
                file.seek(max(len(head), size_bytes - _LAST_WORDS_BYTES))
                end = file.read(_LAST_WORDS_BYTES) or head[-_LAST_WORDS_BYTES:]
            ready = self.was_seen_ready()
        except (OSError, UnsafePath):
            return ""
        said = [event.phase for event in parse_log(end) if isinstance(event, PhaseStarted)]
        if said[-1:] == ["failed"]:
            return "its engine died"
        if ready or any(isinstance(event, PhaseStarted) and event.phase == "ready" for event in parse_log(head)):
            return ""
        return "it was never ready"

    def _unstarted(self) -> RunStatus:
        alive = lives(self.record.launcher_pid, start_ticks=self.record.launcher_start_ticks)
        young = time.time() - self.record.created_at_s < SUPERVISOR_START_S
        stopped = self.stop_was_asked()
        # A supervisor that is still on its way reads the mark of a stop before it starts anything.
        if (young or not stopped) if alive else (young and not stopped):
            return RunStatus(state="preparing", pid=None, exit_code=None)
        return RunStatus(state="aborted", pid=None, exit_code=None, note="its launcher died before the server started")

    def _docker(self, *words: str, wait_s: float) -> None:
        """Run one docker command on the container of this run, where it has one."""
        if self.record.container is not None:
            argv = ["docker", *words, self.record.container]
            ask_program(argv, timeout_s=wait_s)
