"""What the GPUs of this machine do right now: use, memory, power. A light look for those who look every few seconds.

It opens the driver's library once and asks in this process, so it belongs into a thread. What a driver does not report
is None, and a machine without a driver has no GPUs here. It judges nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

KFD = "/dev/kfd"
"""The device that every AMD GPU computes through."""
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
    """Looks at the GPUs as often as it is asked."""

    def __init__(self) -> None:
        self._readers: list[Callable[[], list[GpuActivity]]] | None = None

    def read(self) -> tuple[GpuActivity, ...]:
        """Return every GPU whose driver answers; never raises."""
        if self._readers is None:
            self._readers = [reader for reader in (_nvidia(), _amd()) if reader is not None]
        found: list[GpuActivity] = []
        for reader in self._readers:
            with contextlib.suppress(Exception):  # a driver that goes away is no GPU
                found += reader()
        return tuple(found)


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
    if not os.path.exists(KFD):  # noqa: PTH110 - importing pathlib costs more than it saves
        return None
    try:
        # Without its library the wrapper prints while it is imported, which is nobody's answer.
        with contextlib.redirect_stdout(io.StringIO()):
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
