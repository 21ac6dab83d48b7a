"""What the GPUs of this machine do right now: use, memory, power. A light look for those who look every few seconds.

A child process opens the driver's library once and answers as often as it is asked, each time within a limit: a call
that hangs, crashes or prints hurts nobody else. What a driver does not report is None, and a machine without a driver
has no GPUs here. It judges nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from select import select
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from hw_specs.detect.child import answers, kill, start

if TYPE_CHECKING:
    from io import FileIO

TIMEOUT_S = 3.0
"""After which a look is given up; the first one also loads the library."""
PAUSE_S = 30.0
"""How long nothing is asked after a child was lost: a driver that hangs does so again."""
MOST_W = 1e4
"""No GPU draws ten kilowatts: a larger figure is in microwatts, or says that it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuActivity:
    """One GPU at one moment."""

    vendor: Literal["nvidia", "amd"]
    index: int
    """As the driver counts."""
    use_fraction: float | None
    """Share of the last sample period in which a kernel ran."""
    used_bytes: int | None
    """Held by processes; what the driver keeps for itself is not among it."""
    total_bytes: int | None
    power_w: float | None
    power_limit_w: float | None


class ActivityReader:
    """Looks at the GPUs as often as it is asked, from any thread."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._asking = Lock()
        self._child: tuple[subprocess.Popen[bytes], FileIO] | None = None
        self._not_before_s = 0.0

    def __enter__(self) -> ActivityReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self) -> tuple[GpuActivity, ...]:
        """Return every GPU whose driver answers in time; never raises."""
        with self._asking:
            if time.monotonic() < self._not_before_s:
                return ()
            try:
                if self._child is None:
                    self._child = start("activity", stdin=subprocess.PIPE)
                    # One that waits for its driver would not see that its parent has ended.
                    atexit.register(self.close)
                answer = self._answer(*self._child)
            except OSError:
                answer = None
            if answer is None:
                self._not_before_s = time.monotonic() + PAUSE_S
                self.close()
                return ()
            return tuple(GpuActivity(**gpu) for gpu in json.loads(answer))

    def _answer(self, process: subprocess.Popen[bytes], pipe: FileIO) -> bytes | None:
        """Ask, and return the line that comes in time; None where none does."""
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        deadline, answer = time.monotonic() + self._timeout_s, b""
        while not answer.endswith(b"\n"):
            if not select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            part = pipe.read(1 << 16)
            if not part:
                return None
            answer += part
        return answer

    def close(self) -> None:
        """End the child; the next look starts another."""
        if self._child is None:
            return
        (process, pipe), self._child = self._child, None
        atexit.unregister(self.close)
        assert process.stdin is not None
        for end in (process.stdin, pipe):
            with contextlib.suppress(OSError):
                end.close()
        kill(process)
        # One that is stuck in the driver cannot be killed; it is left behind rather than waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)


def answer(descriptor: str) -> None:
    """Write a line with every GPU for every line that comes in: the child's half. It ends with its parent."""
    with answers(descriptor) as pipe:
        readers = [reader for reader in (_nvidia(), _amd()) if reader is not None]
        for _ in sys.stdin:
            found: list[GpuActivity] = []
            for reader in readers:
                with contextlib.suppress(Exception):  # a driver that goes away is no GPU
                    found += reader()
            pipe.write(json.dumps([dataclasses.asdict(gpu) for gpu in found]) + "\n")
            pipe.flush()
    # Without the libraries' own endings, where some of them hang or crash.
    os._exit(0)


def _maybe(function: Callable[..., Any] | None, *args: object) -> Any:
    """Call, and return None where the driver or the wrapper does not offer it."""
    if function is None:
        return None
    try:
        return function(*args)
    except Exception:  # None says that it is not known
        return None


def _nvidia() -> Callable[[], list[GpuActivity]] | None:
    """A reader of NVML; None where it cannot be used."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # neither wrapper nor driver: detection says why
        return None

    def read() -> list[GpuActivity]:
        found = []
        # The first form of the memory's figures counts as used what the driver keeps for itself.
        form = getattr(pynvml, "nvmlMemory_v2", None)
        for index, handle in enumerate(handles):
            use = _maybe(getattr(pynvml, "nvmlDeviceGetUtilizationRates", None), handle)
            memory = _maybe(pynvml.nvmlDeviceGetMemoryInfo, handle, form) if form is not None else None
            memory = memory if memory is not None else _maybe(pynvml.nvmlDeviceGetMemoryInfo, handle)
            power = _maybe(getattr(pynvml, "nvmlDeviceGetPowerUsage", None), handle)
            limit = _maybe(getattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit", None), handle)
            found.append(
                GpuActivity(
                    vendor="nvidia",
                    index=index,
                    use_fraction=use.gpu / 100 if use is not None else None,
                    used_bytes=int(memory.used) if memory is not None else None,
                    total_bytes=int(memory.total) if memory is not None else None,
                    # NVML speaks of milliwatts.
                    power_w=power / 1000 if power is not None else None,
                    power_limit_w=limit / 1000 if limit is not None else None,
                )
            )
        return found

    return read


def _amd() -> Callable[[], list[GpuActivity]] | None:
    """A reader of AMD SMI; None where it cannot be used."""
    try:
        import amdsmi

        amdsmi.amdsmi_init()
        handles = list(amdsmi.amdsmi_get_processor_handles())
        memory_kind = amdsmi.AmdSmiMemoryType.VRAM
    except Exception:  # neither wrapper nor driver: detection says why
        return None

    def read() -> list[GpuActivity]:
        found = []
        for index, handle in enumerate(handles):
            use = _maybe(getattr(amdsmi, "amdsmi_get_gpu_activity", None), handle) or {}
            power = _maybe(getattr(amdsmi, "amdsmi_get_power_info", None), handle) or {}
            known = (_number(power.get(name)) for name in ("current_socket_power", "average_socket_power"))
            watts = next((figure for figure in known if figure is not None and figure < MOST_W), None)
            limit = _number(power.get("power_limit"))
            gfx = _number(use.get("gfx_activity"))
            found.append(
                GpuActivity(
                    vendor="amd",
                    index=index,
                    use_fraction=gfx / 100 if gfx is not None else None,
                    used_bytes=_maybe(amdsmi.amdsmi_get_gpu_memory_usage, handle, memory_kind),
                    total_bytes=_maybe(amdsmi.amdsmi_get_gpu_memory_total, handle, memory_kind),
                    power_w=watts,
                    # Some releases give microwatts, others watts.
                    power_limit_w=limit / 1e6 if limit is not None and limit > MOST_W else limit,
                )
            )
        return found

    return read


def _number(value: object) -> float | None:
    """A figure; libraries write ``N/A`` where they know none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
