"""Real commands of ours, made to fail or to die at a chosen change of their files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from planner.state import read_records

HERE = Path(__file__).parent
SERVER = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(600)"


@cache
def shim() -> Path:
    """Compile the library that is preloaded, once a process.

    Raises:
        FileNotFoundError: without a C compiler.
    """
    library = Path(mkdtemp(prefix="m35-test-shim-")) / "shim.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *options, "-o", str(library), str(HERE / "shim.c"), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Place:
    """A state folder of its own."""

    root: Path

    @property
    def runs(self) -> Path:
        """Where the runs are."""
        return self.root / "m35-plan" / "runs"

    @property
    def store(self) -> Path:
        """The store of calibrations."""
        return self.root / "m35-plan" / "calibration.jsonl"

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of a command here."""
        return {**os.environ, "XDG_STATE_HOME": str(self.root), "TMPDIR": str(self.root), **more}

    def run(self, *argv: str, at: int = 0, how: str = "", log: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, with the change number `at` hit where it is not 0."""
        more = {}
        if at or log:
            more = {
                "LD_PRELOAD": str(shim()), "FAULTS_UNDER": str(self.root), "FAULTS_AT": str(at), "FAULTS_HOW": how,
                "FAULTS_LOG": str(log or ""),
            }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "planner", *argv], capture_output=True, text=True, check=False, timeout=120,
            stdin=subprocess.DEVNULL, env=self.env(**more), cwd=HERE.parents[1],
        )  # fmt: skip

    def plain(self, *argv: str) -> str:
        """Run one command that must not fail, and return its output."""
        done = self.run(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def servers(self) -> list[int]:
        """Return the processes that were started from here and are no command of ours."""
        mark = f"XDG_STATE_HOME={self.root}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
                if SERVER.encode() in words and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


LAUNCH = ("launch", "--no-check", "--detach", "--", sys.executable, "-c", SERVER)
LOG = HERE.parent / "fixtures" / "logs" / "reconstructed" / "v2-8xh200-0.33.0.log"
KEEP = ("calibrate", str(LOG), "--gpus", "8xH200")

PROGRAM = f"""#!/bin/sh
case "$1" in
  serve) exec {sys.executable} -c "{SERVER}" "$@" ;;
  bench)
    sleep 0.3
    while [ $# -gt 1 ]; do
      case "$1" in --result-dir) folder=$2 ;; --result-filename) name=$2 ;; esac
      shift
    done
    echo '{{"completed": 4, "output_throughput": 900.0, "mean_ttft_ms": 400.0}}' > "$folder/$name" ;;
esac
"""
"""A `vllm` that serves until it is asked to end, and whose benchmark takes a moment."""

HOWS = {
    "full": str(errno.ENOSPC), "read-only": str(errno.EROFS), "broken": str(errno.EIO), "short": "short",
    "killed": "kill", "killed-late": "late",
}  # fmt: skip
"""What may happen to a change, and how the preloaded library is told."""


@dataclass(frozen=True)
class Kind:
    """A command that changes something, what must be there before it, and what must hold after it in any case."""

    argv: Callable[[Place], tuple[str, ...]]
    before: Callable[[Place], object] = lambda place: None
    after: Callable[[Place], object] = lambda place: None


def records(place: Place) -> int:
    """Return how many calibrations can be read."""
    return len([line for line in place.plain("calibrate", "--list").splitlines()[1:] if line])


def expect_two(place: Place) -> None:
    """Assert that what was kept before is kept."""
    assert records(place) >= 2


def vllm(place: Place) -> str:
    """Return the path of `PROGRAM`, made executable there."""
    program = place.root / "vllm"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return str(program)


def bench(place: Place) -> tuple[str, ...]:
    """Return a benchmark that is kept."""
    plan = ("--plan", str(place.root / "plan.json"), "--vllm", str(place.root / "vllm"))
    return ("bench", "http://127.0.0.1:9", *plan, "--keep")


def two_benchmarks(place: Place) -> None:
    """Keep two benchmarks, and what another one needs."""
    vllm(place)
    (place.root / "plan.json").write_text(place.plain("--gpus", "8xH200", "--json"))
    place.plain(*bench(place))
    place.plain(*bench(place))


def expect_two_benchmarks(place: Place) -> None:
    """Assert that what was kept before is kept."""
    place.plain("--gpus", "8xH200", "--concurrency", "8", "--prompt-tokens", "1000")
    assert len(read_records(place.root / "m35-plan" / "benchmarks.jsonl")) >= 2


def expect_ends(place: Place) -> None:
    """Assert that every server can be found and stopped."""
    place.plain("runs")
    place.run("stop", "--all")
    assert place.servers() == []


KINDS = {
    "calibrate": Kind(
        argv=lambda _: KEEP, before=lambda place: [place.plain(*KEEP), place.plain(*KEEP)], after=expect_two
    ),
    "launch": Kind(argv=lambda _: LAUNCH, after=expect_ends),
    "stop": Kind(argv=lambda _: ("stop", "latest"), before=lambda place: place.plain(*LAUNCH), after=expect_ends),
    "bench": Kind(argv=bench, before=two_benchmarks, after=expect_two_benchmarks),
    "remove": Kind(
        argv=lambda _: ("runs", "--remove", "latest"),
        before=lambda place: [place.plain(*LAUNCH), place.plain("stop", "latest")],
        after=lambda place: place.plain("runs"),
    ),
}  # fmt: skip


def try_once(kind: Kind, place: Place, *, at: int, how: str) -> tuple[bool, str]:
    """Hit one change of a command; return whether it was reached, and what is wrong."""
    place.root.chmod(0o700)
    kind.before(place)
    done = place.run(*kind.argv(place), at=at, how=how)
    if "Traceback" in done.stderr:
        return True, done.stderr[-600:]
    try:
        kind.after(place)
        if kind.argv(place) == LAUNCH:
            # The next one finds its way.
            place.plain(*LAUNCH)
            expect_ends(place)
        left = list(place.runs.glob(".*")) if place.runs.is_dir() else []
        assert not left, f"left behind: {left}"
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return True, f"{type(error).__name__}: {error}"[:600]
    return done.returncode != 0, ""
