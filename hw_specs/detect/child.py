"""Run a probe where it can hang, crash or print without hurting us: in a child process with a time limit.

The child answers with JSON lines on a pipe of its own, so whatever a vendor library prints goes nowhere. It
names each call before making it; when it dies, the last name says where.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Literal, TextIO, cast

FailureKind = Literal["module-missing", "error", "timeout", "crash", "garbage"]

_MAX_ANSWER_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**16
_REAP_S = 2.0
_START = "import sys; sys.path.append(sys.argv[1]); from hw_specs.detect.{0} import answer; answer(*sys.argv[2:])"

Note = Callable[[str], None]
"""A probe calls it with the name of the vendor function it is about to call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a probe failed."""

    kind: FailureKind
    call: str | None = None
    """Vendor function that was running."""
    error_type: str | None = None
    """Name of the Python exception."""
    code: int | None = None
    """The vendor's error code, or the signal of a crash."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back from a child: a reading or a failure."""

    reading: dict[str, object] | None = None
    failure: Failure | None = None


class ProbeError(Exception):
    """A vendor's error, with its code, on its way out of the child."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Session:
    """One session with a vendor's library, whose optional calls may be missing."""

    def __init__(self, library: Any, note: Note) -> None:
        self._library = library
        self._note = note

    def _maybe(self, name: str, *args: object, **kwargs: object) -> Any:
        """Call and return None where the driver, the wrapper or the device does not offer it.

        Not every such error is the library's own: newer wrappers raise another one for an older driver.
        """
        function: Callable[..., Any] | None = getattr(self._library, name, None)
        if function is None:
            return None
        self._note(name)
        try:
            return function(*args, **kwargs)
        except Exception:  # None says that it is not known
            return None


def run_probes(modules: Sequence[str], *, timeout_s: float) -> list[Outcome]:
    """Run the named probe modules at the same time and return one outcome each, in order.

    Args:
        modules: modules with a function ``probe(note) -> dict``.
        timeout_s: seconds after which a child is killed.
    """
    deadline = time.monotonic() + timeout_s
    try:
        running = [_Child(module) for module in modules]
    except OSError as error:
        failure = Failure(kind="error", error_type="OSError", text=f"no child process can be started: {error.strerror}")
        return [Outcome(failure=failure)] * len(modules)
    # All pipes are read together: a child that waits for a reader would look like one that hangs.
    with DefaultSelector() as selector:
        for child in running:
            selector.register(child.pipe, EVENT_READ, child)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0.0))
            if not ready:
                break
            for key, _ in ready:
                if not key.data.read():
                    selector.unregister(key.fileobj)
    return [child.outcome(timeout_s) for child in running]


def start(half: str, *words: str, stdin: int) -> tuple[subprocess.Popen[bytes], FileIO]:
    """Start a child and return it with the pipe that its answers come through.

    Args:
        half: module of this package whose ``answer`` is the child's half.
        words: what it is called with, before the descriptor to write to.
        stdin: as :class:`subprocess.Popen` takes it.

    Raises:
        OSError: where no process can be started.
    """
    root = str(Path(__file__).resolve().parents[2])
    read_end, write_end = os.pipe()
    try:
        # A new session, so that one signal also ends whatever the library has started.
        process = subprocess.Popen(
            [sys.executable, "-c", _START.format(half), root, *words, str(write_end)],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write_end,),
            start_new_session=True,
        )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return process, FileIO(read_end)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it has started, without waiting for its end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Child:
    """One running probe."""

    def __init__(self, module: str) -> None:
        self._answer = b""
        self._ended = False
        self._process, self.pipe = start("child", module, stdin=subprocess.DEVNULL)

    def read(self) -> bool:
        """Take what is there; return whether more may come."""
        part = self.pipe.read(_CHUNK_BYTES)
        self._answer += part or b""
        self._ended = not part
        return bool(part) and len(self._answer) < _MAX_ANSWER_BYTES

    def outcome(self, timeout_s: float) -> Outcome:
        """End the child, and say what came of it."""
        self.pipe.close()
        if not self._ended:
            kill(self._process)
        # A process stuck in the driver cannot be killed; it is left behind rather than waited for.
        try:
            self._process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            kill(self._process)
        return _understand(self._answer, ended=self._ended, returncode=self._process.returncode, timeout_s=timeout_s)


def _understand(answer: bytes, *, ended: bool, returncode: int | None, timeout_s: float) -> Outcome:
    """Turn a child's bytes and its end into an outcome."""
    call: str | None = None
    for line in answer.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("reading"), dict):
            # The answer is complete: what happens on the way out does not matter any more.
            return Outcome(reading=message["reading"])
        if isinstance(message.get("failure"), dict):
            return Outcome(failure=Failure(**message["failure"]))
        call = str(message.get("call")) if "call" in message else call
    if not ended:
        return Outcome(failure=Failure(kind="timeout", call=call, text=f"{timeout_s:g} s"))
    if returncode is not None and returncode < 0:
        return Outcome(failure=Failure(kind="crash", call=call, code=-returncode, text=_signal_name(-returncode)))
    return Outcome(failure=Failure(kind="crash", call=call, text=f"exit status {returncode}"))


def _signal_name(number: int) -> str:
    try:
        return signal.strsignal(number) or f"signal {number}"
    except ValueError:
        return f"signal {number}"


def answers(descriptor: str) -> TextIO:
    """The child's end of the pipe, for lines of text; nothing that the child starts inherits it."""
    os.set_inheritable(int(descriptor), False)
    return os.fdopen(int(descriptor), "w", encoding="utf-8")


def answer(module: str, descriptor: str) -> None:
    """Run one probe in this process and write what it found to `descriptor`: the child's half. It never returns.

    The process ends without the libraries' own endings, where some of them hang or crash.
    """
    from importlib import import_module

    with answers(descriptor) as pipe:

        def say(message: dict[str, object]) -> None:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

        try:
            probe = cast("Callable[[Note], dict[str, object]]", import_module(module).probe)
            say({"reading": probe(lambda call: say({"call": call}))})
        except ProbeError as error:
            say({"failure": _plain(error.failure)})
        except Exception as error:  # whatever a driver raises: the parent names it, a traceback does not help
            text = " ".join(str(error).split())[:300]
            say({"failure": _plain(Failure(kind="error", error_type=type(error).__name__, text=text))})
    os._exit(0)


def _plain(failure: Failure) -> dict[str, object]:
    return {name: getattr(failure, name) for name in ("kind", "call", "error_type", "code", "text")}
