"""The parent of one server: records that it runs, how it ended, and leaves no process behind.

It is started as a script in a session of its own, needs nothing but the standard library, and outlives whoever
launched it. It writes ``process.json`` *before* the server exists, so there is no moment at which a server runs
that nobody can find. It never restarts anything.

    python -I -S supervisor.py RUN_DIR
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
"""How often a supervisor looks for the launcher that its server shall not outlive."""


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


def _write(path: Path, document: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2) + "\n")
    draft.replace(path)


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that they can be found and reaped."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _clear_remains() -> None:
    """End what the server left: it may have died without taking its workers along."""
    me = os.getpid()
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        deadline = time.monotonic() + wait_s
        signalled: set[int] = set()
        while (rest := [pid for pid in family(me, root=me) if pid != me]) and time.monotonic() < deadline:
            _signal_all([pid for pid in rest if pid not in signalled], number)
            signalled.update(rest)
            time.sleep(_POLL_S)
            _reap()


def main(run_dir: str) -> int:
    """Run the server of `run_dir` to its end and record it."""
    folder = Path(run_dir)
    spawn = json.loads((folder / "spawn.json").read_text(encoding="utf-8"))
    me = os.getpid()
    stop_asked = False
    ended = False

    def on_terminate(_number: int, _frame: object) -> None:
        nonlocal stop_asked
        # Once the server has ended, what still runs is our own clean-up.
        if not stop_asked and not ended:
            stop_asked = True
            _signal_all([pid for pid in family(me, root=me) if pid != me], signal.SIGTERM)

    gone_at: float | None = None

    def on_watch(_number: int, _frame: object) -> None:
        nonlocal gone_at
        stat = read_stat(spawn["end_with"][0])
        if stat is not None and stat[0] not in "ZX" and stat[4] == spawn["end_with"][1]:
            return
        gone_at = time.monotonic() if gone_at is None else gone_at
        on_terminate(signal.SIGTERM, None)
        if time.monotonic() - gone_at > GRACE_S:
            _signal_all([pid for pid in family(me, root=me) if pid != me], signal.SIGKILL)

    signal.signal(signal.SIGTERM, on_terminate)
    if spawn["end_with"]:
        signal.signal(signal.SIGALRM, on_watch)
        signal.setitimer(signal.ITIMER_REAL, _WATCH_S, _WATCH_S)
    # Handlers that do nothing, not SIG_IGN: the server would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    _adopt_orphans()
    stat = read_stat(me)
    process: dict[str, Any] = {
        "pid": me,
        "start_ticks": stat[4] if stat else None,
        "boot_id": boot_id(),
        "started_at_s": time.time(),
        "server_pid": None,
    }
    _write(folder / "process.json", process)
    status: int | None = None
    error = ""
    if (folder / "stop").exists() or stop_asked:
        error = "stopped before it started"
    else:
        log = os.open(folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            server = subprocess.Popen(
                spawn["argv"], cwd=spawn["cwd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True
            )
        except OSError as failure:
            error = f"cannot start `{spawn['argv'][0]}`: {failure.strerror}"
            status = 127 if isinstance(failure, FileNotFoundError) else 126
            os.write(log, f"m35-plan: {error}\n".encode())
        else:
            stat = read_stat(server.pid)
            born = {"server_pid": server.pid, "server_start_ticks": stat[4] if stat else None}
            _write(folder / "process.json", process | born)
            if (folder / "stop").exists():
                # Asked while the server was being born: the asker may have looked too early to find it.
                on_terminate(signal.SIGTERM, None)
            while True:
                pid, code = os.waitpid(-1, 0)
                if pid == server.pid:
                    server.returncode = os.waitstatus_to_exitcode(code)
                    status = server.returncode if server.returncode >= 0 else 128 - server.returncode
                    break
        finally:
            os.close(log)
    ended = True
    signal.setitimer(signal.ITIMER_REAL, 0)
    _clear_remains()
    for command in spawn["cleanup"]:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    for scratch in spawn["scratch"]:
        shutil.rmtree(scratch, ignore_errors=True)
    stopped = stop_asked or (folder / "stop").exists()
    _write(folder / "exit.json", {"exit_code": status, "error": error, "stopped": stopped, "ended_at_s": time.time()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
