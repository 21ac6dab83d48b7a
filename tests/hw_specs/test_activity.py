"""What GPUs do right now, through the vendors' own packages over stub drivers; they may hang, crash and print."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields

import pytest

from hw_specs.detect import activity
from hw_specs.detect.activity import ActivityReader, GpuActivity
from hw_specs.units import GIB

MIB = 1 << 20
H200 = "name=NVIDIA H200; device=0x2335; total_mib=143771; reserved_mib=615; cc=9.0"
MI300X = "name=AMD Instinct MI300X; used_mib=100000; use_percent=88; power_w=612"


@pytest.fixture
def look(machine: Callable[..., None]) -> Callable[..., list[GpuActivity]]:
    def run(text: str | None = None, **kwargs: str) -> list[GpuActivity]:
        machine(text=text, **kwargs) if text else machine(None)
        with ActivityReader(timeout_s=30) as reader:
            reader.read()
            return list(reader.read())

    return run


@pytest.mark.parametrize("how", ["hang", "crash"])
@pytest.mark.parametrize(
    ("gpu", "call"),
    [
        (H200, "nvmlInitWithFlags"),
        (H200, "nvmlDeviceGetUtilizationRates"),
        (MI300X, "amdsmi_init"),
        (MI300X, "amdsmi_get_gpu_activity"),
    ],
)
def test_a_driver_that_hangs_or_crashes_is_left_alone_for_a_while(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, gpu: str, call: str, how: str
) -> None:
    machine(text=f"gpu {gpu}\nfail call={call}; how={how}\n")
    with ActivityReader(timeout_s=1.0) as reader:
        assert reader.read() == ()
        begun = time.monotonic()
        assert all(reader.read() == () for _ in range(100)), "nothing is asked now"
        assert time.monotonic() - begun < 0.5
        # The driver is mended meanwhile.
        machine(text=f"gpu {gpu}\n")
        monkeypatch.setattr(reader, "_timeout_s", 30.0)
        monkeypatch.setattr(reader, "_not_before_s", 0.0)
        assert len(reader.read()) == 1


def test_where_no_process_can_be_started_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(activity, "start", refused)
    assert ActivityReader().read() == ()


def test_an_nvidia_gpu_tells_use_memory_and_power(look: Callable[..., list[GpuActivity]]) -> None:
    busy, quiet = look(f"gpu {H200}; used_mib=130000; use_percent=97; power_w=652\ngpu {H200}; limit_w=500\n")
    assert busy == GpuActivity(
        vendor="nvidia", index=0, use_fraction=0.97, used_bytes=130000 * MIB, total_bytes=143771 * MIB, power_w=652.0,
        power_limit_w=700.0,
    )  # fmt: skip
    assert (quiet.index, quiet.used_bytes, quiet.use_fraction) == (1, 0, 0.0), "what the driver keeps is not used"
    assert (quiet.power_w, quiet.power_limit_w) == (75.0, 500.0)


def test_what_a_driver_does_not_tell_is_not_known(look: Callable[..., list[GpuActivity]]) -> None:
    (gpu,) = look(f"gpu {H200}; use_percent=none; power_w=none; limit_w=none; no_memory=1\n")
    assert {getattr(gpu, field.name) for field in fields(gpu)} == {"nvidia", 0, None}
    (lost,) = look(f"gpu {H200}; used_mib=7\nfail call=nvmlDeviceGetUtilizationRates; code=15\n")
    assert (lost.use_fraction, lost.used_bytes) == (None, 7 * MIB)


def test_an_amd_gpu_tells_use_memory_and_power(look: Callable[..., list[GpuActivity]]) -> None:
    busy, watts, silent = look(
        f"gpu {MI300X}\ngpu gfx=0x942; power_w=65535; average_w=300; limit=750\n"
        "gpu gfx=0x942; power_w=0xffffffff; average_w=0xffffffff; use_percent=65535\n"
    )
    assert busy == GpuActivity(
        vendor="amd", index=0, use_fraction=0.88, used_bytes=100000 * MIB, total_bytes=196592 * MIB, power_w=612.0,
        power_limit_w=750.0,
    )  # fmt: skip
    assert (watts.power_w, watts.power_limit_w) == (300.0, 750.0)
    assert (silent.power_w, silent.use_fraction) == (None, None)


def test_without_a_driver_there_is_nothing(look: Callable[..., list[GpuActivity]]) -> None:
    assert look() == []


def test_the_dashboard_shows_what_the_driver_told(look: Callable[..., list[GpuActivity]]) -> None:
    from tests.tui.stage import metrics_page
    from tui import news
    from tui.serving import Serving, take
    from tui.widgets.dashboard import dashboard_lines

    gpus = tuple(look(f"gpu {H200}; used_mib=130000; use_percent=97; power_w=652\n" * 8))
    seen = take(Serving(), news.MetricsRead(metrics_page(1), at_s=1.0, alive=True, gpus=gpus))
    text = "\n".join(line.plain for line in dashboard_lines(seen, width=120))
    assert text.count(f"{130000 * MIB / GIB:.1f}") == 8
    assert text.count("652 W of 700") == 8 and text.count(" 97 ") == 8
