"""Checks of AMD GPUs' own health, from sysfs and amdsmi."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw_specs.detect.amd_limits import AmdLimits
from planner.serve.preflight import gpu_health

from .test_preflight_health import amd_gpu, dmesg
from .test_preflight_host import check, subject


def test_amd_s_counters_are_read_and_their_absence_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dmesg(tmp_path, "", monkeypatch)
    for errors, status in ((0, "pass"), (2, "warn")):
        monkeypatch.setattr(gpu_health, "_PCI", amd_gpu(tmp_path / str(errors), errors=errors))
        result = check("gpu_health", subject({}, gpus="8xMI300X"))
        assert result is not None and result.status == status
    assert result.seen.startswith("AMD GPU 0: 2 uncorrectable errors in umc")
    monkeypatch.setattr(gpu_health, "_PCI", tmp_path / "nothing")
    for gpus in ("8xMI300X", "8xH200"):
        result = check("gpu_health", subject({"PATH": str(tmp_path)}, gpus=gpus))
        assert result is not None and result.status == "skip"


@pytest.mark.parametrize(
    ("limit", "heat", "status", "words"),
    [
        (750.0, (), "pass", "amdsmi tells of no slowdown of 2 GPUs"),
        (700.0, (), "pass", "AMD GPU 0 may draw 700 W of its usual 750 W, and 1 more GPUs likewise"),
        (400.0, (), "warn", "400 W of its usual 750 W"),
        (750.0, ("memory too hot",), "warn", "AMD GPU 0 is held back: memory too hot"),
    ],
)
def test_what_amdsmi_tells_of_power_and_heat_is_judged(
    limit: float, heat: tuple[str, ...], status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dmesg(tmp_path, "", monkeypatch)
    gpus = [
        AmdLimits(
            index=index, pci_bus_id=f"0000:{index}b:00.0", power_limit_w=limit, default_power_limit_w=750.0,
            held_back=heat,
        )
        for index in range(2)
    ]  # fmt: skip
    monkeypatch.setattr(gpu_health, "_PCI", tmp_path / "nothing")
    monkeypatch.setattr(gpu_health, "read_limits", lambda: tuple(gpus))
    result = check("gpu_health", subject({}, gpus="2xMI300X"))
    assert result is not None and result.status == status and words in result.seen
