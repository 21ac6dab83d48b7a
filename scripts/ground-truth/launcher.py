"""Starts ``vllm`` commands, forked from a process that has imported the engine or one by one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
READY_S = 180.0


@dataclass
class Process:
    """A started command, its own process group."""

    pid: int
    popen: subprocess.Popen[bytes] | None = None
    code: int | None = None

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        if self.popen is not None:
            self.code = self.popen.poll()
        return self.code

    def kill(self) -> None:
        """Kill it and its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass
class Launcher:
    """Starts ``vllm`` commands: forked from a process that has imported the engine, or one by one."""

    python: str
    work: Path
    environment: Mapping[str, str]
    """For the zygote: what every run's processes get."""
    plain: bool
    zygote: subprocess.Popen[str] | None = None
    one_order: threading.Lock = field(default_factory=threading.Lock)
    processes: dict[int, Process] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)

    def open(self) -> None:
        """Start the zygote and wait for it; without one every run imports the engine itself."""
        if self.plain:
            return
        environment = os.environ | dict(self.environment)
        # The probe decides per run: the copy that is forked gets its own file and switches.
        for name in [key for key in environment if key.startswith("M35_PROBE")]:
            environment.pop(name)
        command = [self.python, str(HERE / "zygote.py")]
        log = (self.work / "zygote.log").open("ab")
        self.zygote = subprocess.Popen(
            command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True, bufsize=1,
        )  # fmt: skip
        assert self.zygote.stdout is not None
        threading.Thread(target=self._listen, args=(self.zygote.stdout,), daemon=True).start()
        until = time.monotonic() + READY_S
        while not self.ready.wait(timeout=0.2):
            # One that died will not answer: waiting for it costs the machine's time.
            if self.zygote.poll() is not None or time.monotonic() > until:
                print(f"zygote is not ready (exit code {self.zygote.returncode}), runs start one by one", flush=True)
                self.plain = True
                return

    def _listen(self, stream: TextIO) -> None:
        for line in stream:
            if not line.startswith("{"):
                continue
            message = json.loads(line)
            if message.get("ready"):
                print(f"zygote ready: {message}", flush=True)
                self.ready.set()
            with self.news:
                if "pid" in message:
                    self.processes[message["pid"]] = Process(message["pid"])
                    self.answers.append(message["pid"])
                elif "exited" in message and message["exited"] in self.processes:
                    self.processes[message["exited"]].code = message["code"]
                self.news.notify_all()

    def start(self, argv: list[str], *, env: dict[str, str], log: Path) -> Process:
        """Start ``vllm`` with `argv`, its output appended to `log`."""
        if self.plain:
            with log.open("ab") as stream:
                popen = subprocess.Popen(
                    [self.python, "-m", "vllm.entrypoints.cli.main", *argv],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=os.environ | env,
                    start_new_session=True,
                )  # fmt: skip
            return Process(popen.pid, popen)
        assert self.zygote is not None
        assert self.zygote.stdin is not None
        with self.one_order:
            self.zygote.stdin.write(json.dumps({"argv": ["vllm", *argv], "env": env, "log": str(log)}) + "\n")
            self.zygote.stdin.flush()
            with self.news:
                if not self.news.wait_for(lambda: bool(self.answers), timeout=30):
                    raise RuntimeError("the zygote did not answer")
                return self.processes[self.answers.pop(0)]

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            if process.code is None:
                process.kill()
        if self.zygote is not None:
            self.zygote.kill()
