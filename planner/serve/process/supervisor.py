"""The parent of one server: records that it runs, how it ended, and leaves no process behind.

It is started as a script in a session of its own, needs nothing but the standard library, and outlives whoever
launched it. What to start comes through its standard input and never from a file: a run directory is data. It writes
``process.json`` *before* the server exists, so there is no moment at which a server runs that cannot be found. It
never restarts anything, and no full disk keeps it from ending what it started.

    python -I -S supervisor.py RUN_DIR < ORDER
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRACE_S = 3.0
"""How long left-over processes may take to end after the server did."""

_POLL_S = 0.05

_WATCH_S = 0.5
"""How often a supervisor looks for the launcher that its server must not outlive."""


def read_stat(pid: int) -> tuple[str, int, int, int, int] | None:
    """Return state, parent, group, session and start time (clock ticks after boot) of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name may hold spaces and brackets; everything after the last bracket is plain.
    fields = text[text.rfind(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def boot_id() -> str:
    """Return what distinguishes this boot from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def family(session: int, *, root: int | None = None) -> list[int]:
    """Return the living processes of a session or group, and the descendants of `root`, `root` itself excluded."""
    stats: dict[int, tuple[str, int, int, int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))) is not None:
            stats[int(entry.name)] = stat
    wanted = {pid for pid, stat in stats.items() if session in (stat[2], stat[3])}
    if root is not None:
        wanted.add(root)
        grown = True
        while grown:
            more = {pid for pid, stat in stats.items() if stat[1] in wanted} - wanted
            wanted |= more
            grown = bool(more)
        wanted.discard(root)
    return sorted(pid for pid in wanted if pid in stats and stats[pid][0] not in "ZX")


class Supervisor:
    """One server's parent: :meth:`run` goes through its steps in order."""

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self.folder = folder
        self.order = order
        """``argv`` and ``cwd`` of the server, ``cleanup`` commands, ``scratch`` folders, ``end_with`` a process."""
        self.me = os.getpid()
        self.stop_asked = False
        self.ended = False
        """Whether the server is over, so that what still runs is our own clean-up."""
        self.status: int | None = None
        self.error = ""
        self._gone_at: float | None = None

    def run(self) -> int:
        """Run the server to its end and record it."""
        self.listen()
        # Without this record the server could not be found, so it is not started where it cannot be written.
        self.announce()
        try:
            if self.stop_wanted:
                self.error = "stopped before it started"
            else:
                self.serve()
        finally:
            self.ended = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.clean_up()
            self.record_end()
        return 0

    @property
    def stop_wanted(self) -> bool:
        """Whether a stop was requested, by signal or by mark."""
        return self.stop_asked or (self.folder / "stop").exists()

    def listen(self) -> None:
        """Take the signals that mean something, and become the parent of orphans."""
        signal.signal(signal.SIGTERM, lambda *_: self.ask_to_stop())
        if self.order["end_with"]:
            signal.signal(signal.SIGALRM, lambda *_: self.look_for_launcher())
            signal.setitimer(signal.ITIMER_REAL, _WATCH_S, _WATCH_S)
        # Handlers that do nothing, not SIG_IGN: the server would inherit that.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        with contextlib.suppress(OSError, AttributeError, ImportError):
            import ctypes

            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    def announce(self, server: int | None = None) -> None:
        """Record which process this is, and which the server."""
        stat = read_stat(self.me)
        record: dict[str, Any] = {
            "pid": self.me,
            "start_ticks": stat[4] if stat else None,
            "boot_id": boot_id(),
            "started_at_s": time.time(),
            "server_pid": server,
        }
        if server is not None and (stat := read_stat(server)) is not None:
            record["server_start_ticks"] = stat[4]
        self._write("process.json", record)

    def serve(self) -> None:
        """Start the server and wait for its end."""
        log = os.open(
            self.folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        argv = self.order["argv"]
        try:
            server = subprocess.Popen(
                argv, cwd=self.order["cwd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True
            )
        except OSError as failure:
            self.error = f"cannot start `{argv[0]}`: {failure.strerror}"
            self.status = 127 if isinstance(failure, FileNotFoundError) else 126
            with contextlib.suppress(OSError):
                os.write(log, f"m35-plan: {self.error}\n".encode())
            return
        finally:
            os.close(log)
        with contextlib.suppress(OSError):
            self.announce(server.pid)
        if self.stop_wanted:
            # Asked while the server was being born: the signal may have come too early to reach it.
            self.stop_asked = False
            self.ask_to_stop()
        while True:
            pid, code = os.waitpid(-1, 0)
            if pid == server.pid:
                server.returncode = os.waitstatus_to_exitcode(code)
                self.status = server.returncode if server.returncode >= 0 else 128 - server.returncode
                return

    def ask_to_stop(self) -> None:
        """Pass a request to stop on to the whole family, once."""
        if not self.stop_asked and not self.ended:
            self.stop_asked = True
            self._signal(self._family(), signal.SIGTERM)

    def look_for_launcher(self) -> None:
        """End the server where the process that it must not outlive is gone."""
        pid, start_ticks = self.order["end_with"]
        stat = read_stat(pid)
        if stat is not None and stat[0] not in "ZX" and stat[4] == start_ticks:
            return
        self._gone_at = time.monotonic() if self._gone_at is None else self._gone_at
        self.ask_to_stop()
        if time.monotonic() - self._gone_at > GRACE_S:
            self._signal(self._family(), signal.SIGKILL)

    def clean_up(self) -> None:
        """End what the server left: it may have died without taking its workers along."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + GRACE_S
            signalled: set[int] = set()
            while (rest := self._family()) and time.monotonic() < deadline:
                self._signal([pid for pid in rest if pid not in signalled], number)
                signalled.update(rest)
                time.sleep(_POLL_S)
                self._reap()
        for command in self.order["cleanup"]:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        for scratch in self.order["scratch"]:
            shutil.rmtree(scratch, ignore_errors=True)

    def record_end(self) -> None:
        """Write down how it ended, where that can be written."""
        ending = {
            "exit_code": self.status, "error": self.error, "stopped": self.stop_wanted, "ended_at_s": time.time()
        }  # fmt: skip
        with contextlib.suppress(OSError):
            self._write("exit.json", ending)

    def _family(self) -> list[int]:
        return [pid for pid in family(self.me, root=self.me) if pid != self.me]

    @staticmethod
    def _signal(pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    @staticmethod
    def _reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _write(self, name: str, document: dict[str, Any]) -> None:
        draft = self.folder / f".{name}.{self.me}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2) + "\n")
            draft.replace(self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise


if __name__ == "__main__":
    sys.exit(Supervisor(Path(sys.argv[1]), json.loads(sys.stdin.buffer.read())).run())
