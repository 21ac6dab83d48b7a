"""Every change of every kind of command fails once; every kind of process is killed many times. Prints what survived.

python -m tests.faults.report changes [KIND...]          every change of files × every way to fail
python -m tests.faults.report kills [NUMBER] [KIND...]   NUMBER kills at random moments per kind (200)

Ctrl-C ends a run and prints what it found so far.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.harness import HOWS, KINDS, LAUNCH, Kind, Place, expect_ends, try_once, vllm

MOST_CHANGES = 80


@contextmanager
def fresh() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="m35-test-place-") as folder:
        yield Place(Path(folder))


def every_change(kinds: list[str]) -> None:
    def one(task: tuple[str, str, int]) -> tuple[str, str]:
        kind, how, at = task
        with fresh() as place:
            return kind, try_once(KINDS[kind], place, at=at, how=HOWS[how])[1]

    tasks = []
    for kind in kinds or KINDS:
        with fresh() as place:
            KINDS[kind].before(place)
            log = place.root / "log"
            place.run(*KINDS[kind].argv(place), log=log)
            changes = len([line for line in log.read_text().splitlines() if not line.endswith("/log")])
            expect_ends(place)
        tasks += [(kind, how, at) for how in HOWS for at in range(1, min(changes, MOST_CHANGES) + 1)]
    report(tasks, one)


def killed_command(kind: Kind) -> str:
    """Kill a command at a random moment of its life."""
    with fresh() as place:
        kind.before(place)
        whole_s = 0.9
        command = subprocess.Popen(
            [sys.executable, "-m", "planner", *kind.argv(place)], env=place.env(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(random.uniform(0.05, whole_s))
        command.send_signal(signal.SIGKILL)
        command.wait()
        return what_is_wrong(kind, place)


def what_is_wrong(kind: Kind, place: Place) -> str:
    try:
        if kind.after is not expect_ends:
            kind.after(place)
        expect_ends(place)
        left = [*(place.runs.glob(".*") if place.runs.is_dir() else ()), *place.root.glob("m35-*-*")]
        assert not left, f"left behind: {left}"
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return ""


def killed_wizard() -> str:
    """Kill the wizard at a random moment between its first screen and a while after its launch of a server."""
    with fresh() as place:
        steps = [(b"EAGLE", b"\x1b5"), (b"launch", b"l"), (b"start anyway", b"\x1b[B\r")]
        main, side = pty.openpty()
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        argv = [sys.executable, "-m", "tui", "--gpus", "8xH200", "--vllm", vllm(place), "--fresh"]
        env = place.env(TERM="xterm-256color", COLUMNS="", LINES="")
        wizard = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
        os.close(side)
        try:
            seen, deadline = b"", time.monotonic() + random.uniform(0.3, 4.0)
            while (left := deadline - time.monotonic()) > 0:
                if select.select([main], [], [], left)[0]:
                    seen += os.read(main, 1 << 16)
                if steps and steps[0][0] in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen):
                    os.write(main, steps.pop(0)[1])
                    seen = b""
        finally:
            wizard.kill()
            wizard.wait()
            os.close(main)
        return what_is_wrong(KINDS["launch"], place)


def killed_process(which: str) -> str:
    """Kill the supervisor, the server or both, at a random moment after a launch."""
    with fresh() as place:
        place.plain(*LAUNCH)
        deadline = time.monotonic() + 20
        while not (servers := place.servers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not servers:
            return "no server came"
        time.sleep(random.uniform(0, 0.3))
        parent = int(Path(f"/proc/{servers[0]}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in {"supervisor": [parent], "server": servers, "both": [parent, *servers]}[which]:
            os.kill(pid, signal.SIGKILL)
        return what_is_wrong(KINDS["launch"], place)


KILLS: dict[str, Callable[[], str]] = {
    **{kind: (lambda kind=kind: killed_command(KINDS[kind])) for kind in KINDS},  # type: ignore[misc]
    "rehearse": lambda: killed_command(Kind(argv=lambda _: ("rehearse", "--gpus", "8xH200"))),
    "wizard": killed_wizard,
    "verify": lambda: killed_command(Kind(argv=lambda _: ("verify", "http://127.0.0.1:9"))),
    **{which: (lambda which=which: killed_process(which)) for which in ("supervisor", "server", "both")},  # type: ignore[misc]
}


def every_kill(number: int, kinds: list[str]) -> None:
    # Kind by kind in turns: a run that is ended early says the same of each.
    tasks = [(kind, kind, index) for index in range(number) for kind in kinds or KILLS]
    report(tasks, lambda task: (task[0], KILLS[task[0]]()))


def report(tasks: list[tuple[str, str, int]], one: Callable[[tuple[str, str, int]], tuple[str, str]]) -> None:
    tries: dict[str, int] = {}
    wrong: dict[str, list[str]] = {}
    try:
        for task in tasks:
            kind, fault = one(task)
            tries[kind] = tries.get(kind, 0) + 1
            if fault:
                wrong.setdefault(kind, []).append(fault)
                print(task, fault, flush=True)
    except KeyboardInterrupt:
        print("ended early", flush=True)
    for kind, count in tries.items():
        print(f"{kind:<12} {count:>5} tries {count - len(wrong.get(kind, [])):>5} survived", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="which", required=True)
    changes = which.add_parser("changes", help="every change of files, made to fail in every way")
    changes.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *KINDS], default=[], help=", ".join(KINDS))
    kills = which.add_parser("kills", help="kills at random moments")
    kills.add_argument("number", nargs="?", type=int, default=200, help="of each kind")
    kills.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *KILLS], default=[], help=", ".join(KILLS))
    given = parser.parse_args()
    if given.which == "changes":
        every_change(given.kinds)
    else:
        every_kill(given.number, given.kinds)
