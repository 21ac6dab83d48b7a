"""What holds AMD's GPUs back, as amdsmi says: a lowered power limit, and heat. It runs in a child process.

It stands apart from the probe that finds GPUs, because the driver takes a tenth of a second for each GPU's answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hw_specs.detect.activity import MOST_W
from hw_specs.detect.amd import AmdSession, library
from hw_specs.detect.child import Note, run_probes

TIMEOUT_S = 15.0
HEAT = {
    "prochot_thrm": "processor hot",
    "socket_thrm": "socket too hot",
    "vr_thrm": "voltage regulator too hot",
    "hbm_thrm": "memory too hot",
}
"""By name in amdsmi's violation status, what it says; the one for the power limit is set under any full load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdLimits:
    """One GPU: what it may draw, and what slows it now."""

    index: int
    pci_bus_id: str
    power_limit_w: float | None
    default_power_limit_w: float | None
    held_back: tuple[str, ...]
    """Of :data:`HEAT`; older GPUs report none."""


def read_limits(*, timeout_s: float = TIMEOUT_S) -> tuple[AmdLimits, ...]:
    """Return what holds each GPU back; none where amdsmi does not answer."""
    (outcome,) = run_probes([__name__], timeout_s=timeout_s)
    found: Any = (outcome.reading or {}).get("gpus", [])
    return tuple(AmdLimits(**{**gpu, "held_back": tuple(gpu["held_back"])}) for gpu in found)


def probe(note: Note) -> dict[str, object]:
    """Return the limits of each GPU: the child's half.

    Raises:
        ProbeError: amdsmi cannot be used at all.
    """
    return _Limits(library(note), note).read()


class _Limits(AmdSession):
    def read(self) -> dict[str, object]:
        self._must("amdsmi_init")
        handles = self._must("amdsmi_get_processor_handles")
        return {"gpus": [self._gpu(index, handle) for index, handle in enumerate(handles)]}

    def _gpu(self, index: int, handle: Any) -> dict[str, object]:
        power = self._maybe("amdsmi_get_power_cap_info", handle) or {}
        status = self._maybe("amdsmi_get_violation_status", handle) or {}
        return {
            "index": index,
            "pci_bus_id": str(self._maybe("amdsmi_get_gpu_device_bdf", handle) or ""),
            "power_limit_w": _watts(power.get("power_cap")),
            "default_power_limit_w": _watts(power.get("default_power_cap")),
            "held_back": [words for what, words in HEAT.items() if _slows(status, what)],
        }


def _slows(status: dict[str, object], what: str) -> bool:
    """Whether a slowdown is on, and its share of the last time is one: a library of another version writes nonsense."""
    share = status.get(f"per_{what}")
    return status.get(f"active_{what}") is True and isinstance(share, int) and 0 < share <= 100


def _watts(value: object) -> float | None:
    """Watts of a figure that some releases give in microwatts; None for one that says nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return None
    return value / 1e6 if value > MOST_W else float(value)
