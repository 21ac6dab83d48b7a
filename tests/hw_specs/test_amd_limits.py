"""What holds AMD's GPUs back, through the vendor's own package over a stub driver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hw_specs.detect.amd_limits import HEAT, read_limits

GPU = "gpu name=AMD Instinct MI300X; total_mib=196592"


def test_limits_and_heat_are_read_gpu_by_gpu(machine: Callable[..., None]) -> None:
    slowed = "".join(f"{GPU}; power_cap=600000000; slowed={flag}\n" for flag in range(7))
    machine(text=slowed)
    found = read_limits(timeout_s=30)
    assert [gpu.held_back for gpu in found] == [
        ("processor hot",), (), ("socket too hot",), ("voltage regulator too hot",), ("memory too hot",), (), (),
    ]  # fmt: skip
    assert {word for gpu in found for word in gpu.held_back} == set(HEAT.values())
    assert {(gpu.power_limit_w, gpu.default_power_limit_w) for gpu in found} == {(600.0, 750.0)}
    assert len({gpu.pci_bus_id for gpu in found}) == len(found)


@pytest.mark.parametrize("share", ["0", "101"])
def test_a_flag_whose_share_makes_no_sense_is_not_believed(share: str, machine: Callable[..., None]) -> None:
    machine(text=f"{GPU}; slowed=2; slowed_percent={share}\n")
    assert read_limits(timeout_s=30)[0].held_back == ()


@pytest.mark.parametrize("how", ["hang", "crash"])
def test_a_driver_that_hangs_or_crashes_tells_nothing(how: str, machine: Callable[..., None]) -> None:
    machine(text=f"{GPU}\nfail call=amdsmi_get_violation_status; how={how}\n")
    assert read_limits(timeout_s=2.0) == ()


def test_an_old_library_tells_what_it_knows(machine: Callable[..., None]) -> None:
    machine(text=f"{GPU}; power_cap=600\nfail call=amdsmi_get_violation_status; code=2\n")
    (gpu,) = read_limits(timeout_s=30)
    assert (gpu.power_limit_w, gpu.held_back) == (600.0, ())
    machine(None)
    assert read_limits(timeout_s=30) == ()
