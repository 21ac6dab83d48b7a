"""Detection with the real nvidia-ml-py and amdsmi over stub drivers: what is found, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hw_specs import DetectionReport, get_gpu
from hw_specs.detect.host import Host
from hw_specs.units import GIB, MIB

Detect = Callable[..., DetectionReport]


@pytest.mark.parametrize(
    ("scenario", "expected", "engine_mib", "linked"),
    [
        ("8xh200", "8xH200", 143771 - 615, True),
        ("4xb200", "4xB200", 183359 - 728, True),
        ("4xh100-nvl", "4xH100-NVL", 95830 - 496, False),
        ("1xmi300x", "1xMI300X", 196592, None),
        ("8xmi300x", "8xMI300X", 196592, True),
        ("8xmi325x", "8xMI325X", 262128, True),
    ],
)
def test_a_homogeneous_machine(
    detect: Detect, scenario: str, expected: str, engine_mib: int, linked: bool | None
) -> None:
    report = detect(scenario)
    gpus = report.gpu_set
    assert gpus is not None
    assert str(gpus) == expected
    assert gpus.memory_bytes == engine_mib * MIB
    assert gpus.linked is linked
    assert gpus.origin == "detected"
    assert gpus.env == ()
    assert report.selection.left_out == ()
    assert {gpu.matched_by for gpu in report.gpus} == {"pci-id"}


def test_every_fact_of_an_nvidia_gpu(detect: Detect) -> None:
    report = detect("8xh200")
    gpu = report.gpus[3]
    assert (gpu.index, gpu.name, gpu.architecture, gpu.pci_device_id) == (3, "NVIDIA H200", "9.0", 0x2335)
    assert gpu.uuid.startswith("GPU-")
    assert gpu.pci_bus_id == "00000000:48:00.0"
    assert gpu.driver_total_bytes == 143771 * MIB
    assert gpu.free_bytes == gpu.engine_total_bytes
    assert (gpu.ecc, gpu.mig_enabled, gpu.active_links) == (True, False, 18)
    driver = report.drivers[0]
    assert (driver.driver_version, driver.runtime) == ("580.159.04", "CUDA 13.0")
    assert len(report.links) == 28
    assert {link.kind for link in report.links} == {"nvlink"}


def test_every_fact_of_an_amd_gpu(detect: Detect) -> None:
    report = detect("8xmi300x")
    gpu = report.gpus[3]
    assert (gpu.index, gpu.architecture, gpu.pci_device_id, gpu.compute_units) == (3, "gfx942", 0x74A1, 304)
    assert (gpu.compute_partition, gpu.memory_partition, gpu.partition) == ("SPX", "NPS1", None)
    assert gpu.engine_index == 4
    assert (gpu.used_bytes, gpu.free_bytes) == (283 * MIB, (196592 - 283) * MIB)
    assert gpu.ecc is True
    assert report.drivers[0].driver_version == "6.14.14"
    assert {(link.kind, link.hops) for link in report.links} == {("xgmi", 1)}


def test_memory_held_by_another_process(detect: Detect) -> None:
    gpus = detect("1xh200-busy").gpu_set
    assert gpus is not None
    assert gpus.free_memory_bytes == (143771 - 615 - 40960) * MIB
    assert gpus.holders == ("python3 (pid 4242) holds 40.00 GiB on GPU 0",)


def test_free_memory_is_that_of_the_busiest_gpu(detect: Detect) -> None:
    gpus = detect("8xh200-busy").gpu_set
    assert gpus is not None
    assert gpus.memory_bytes - (gpus.free_memory_bytes or 0) == 40 * GIB


def test_the_gpus_that_nobody_holds_are_known_apart(detect: Detect) -> None:
    gpus = detect("8xh200-busy").gpu_set
    assert gpus is not None
    assert gpus.unheld is not None
    assert gpus.unheld.holders == ()
    assert 0 < gpus.unheld.count < 8
    assert dict(gpus.unheld.env)["CUDA_VISIBLE_DEVICES"].count(",") == gpus.unheld.count - 1
    for name in ("8xmi300x", "1xh200-busy"):
        other = detect(name).gpu_set
        assert other is not None
        assert other.unheld is None, "all are held, or none is"


def test_memory_held_out_of_sight(detect: Detect) -> None:
    text = "gpu name=NVIDIA H200; device=0x2335; used_mib=40960\n"
    gpus = detect(text=text).gpu_set
    assert gpus is not None
    assert gpus.holders == ("processes that cannot be seen from here hold 40.00 GiB on GPU 0",)


def test_the_name_of_a_process_cannot_steer_a_terminal(detect: Detect) -> None:
    text = "gpu name=NVIDIA H200; device=0x2335; used_mib=4096\nprocess gpu=0; pid=7; mib=4096; name=a\x1b[31mb\n"
    gpus = detect(text=text).gpu_set
    assert gpus is not None
    assert gpus.holders == ("a?[31mb (pid 7) holds 4.00 GiB on GPU 0",)


def test_a_mixed_host_plans_for_the_largest_homogeneous_set(detect: Detect) -> None:
    selection = detect("mixed").selection
    assert str(selection.gpu_set) == "2xH100"
    assert selection.gpu_set is not None
    assert selection.gpu_set.linked is True
    assert dict(selection.gpu_set.env) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2,3"}
    assert [left.gpu.label for left in selection.left_out] == ["0", "1"]
    assert all("another kind" in left.reason for left in selection.left_out)


def test_bridged_pairs_are_not_one_fabric(detect: Detect) -> None:
    selection = detect("4xh100-nvl").selection
    assert selection.gpu_set is not None
    assert not selection.gpu_set.fully_connected
    assert any("4 of 6 pairs" in warning for warning in selection.warnings)


def test_a_mig_slice_is_planned_as_what_it_is(detect: Detect) -> None:
    report = detect("mig")
    selection = report.selection
    gpus = selection.gpu_set
    assert gpus is not None
    assert str(gpus) == "1xH200 MIG 3g.71gb"
    assert gpus.memory_bytes == 71424 * MIB
    assert gpus.spec.compute_units == 60
    assert gpus.spec.bf16_flops_per_s == pytest.approx(989e12 * 60 / 132)
    assert gpus.spec.bandwidth_bytes_per_s == pytest.approx(4.8e12 * 4 / 8)
    assert dict(gpus.env)["CUDA_VISIBLE_DEVICES"].startswith("MIG-")
    assert [gpu.label for gpu in report.gpus] == ["0", "0.0", "0.2", "0.3", "1"]
    reasons = {left.gpu.label: left.reason for left in selection.left_out}
    assert "only its slices" in reasons["0"]
    assert set(reasons) == {"0", "0.2", "0.3", "1"}


def test_a_whole_gpu_beside_a_sliced_one(detect: Detect) -> None:
    gpus = detect("mig-and-whole").gpu_set
    assert gpus is not None
    assert str(gpus) == "1xH200"
    assert dict(gpus.env)["CUDA_VISIBLE_DEVICES"] == "1"


def test_amd_partitions_are_planned_as_what_they_are(detect: Detect) -> None:
    gpus = detect("mi300x-cpx-nps4").gpu_set
    assert gpus is not None
    assert str(gpus) == "8xMI300X CPX/NPS4"
    assert gpus.memory_bytes == 24574 * MIB
    assert gpus.spec.bandwidth_bytes_per_s == round(5.3e12 / 8)


def test_partitions_that_share_one_memory_are_not_counted_eight_times(detect: Detect) -> None:
    selection = detect("mi300x-cpx-nps1").selection
    assert selection.gpu_set is not None
    assert selection.gpu_set.memory_bytes == 196592 * MIB // 8
    assert any("share one memory" in warning for warning in selection.warnings)


def test_a_renamed_card_is_recognised_by_what_it_is(detect: Detect) -> None:
    report = detect("cloud-alias")
    assert (report.gpus[0].catalogue_id, report.gpus[0].matched_by) == ("b200-sxm", "totals")
    assert any("NVIDIA L20A" in warning for warning in report.selection.warnings)


def test_a_relative_of_a_catalogue_entry(detect: Detect) -> None:
    gpus = detect("h100-pcie").gpu_set
    assert gpus is not None
    assert gpus.spec.name == "H100-PCIe"
    assert gpus.spec.bandwidth_bytes_per_s == 2 * 10**12


def test_an_unknown_card_is_planned_from_what_its_driver_reports(detect: Detect) -> None:
    report = detect("unknown")
    gpus = report.gpu_set
    assert gpus is not None
    assert report.gpus[0].catalogue_id is None
    assert gpus.count == 2
    assert gpus.memory_bytes == (120000 - 500) * MIB
    assert gpus.spec.bandwidth_bytes_per_s == 5120 // 8 * 2619 * 10**6 * 2
    assert gpus.spec.fp8_kind == "e4m3fn"
    assert gpus.spec.facts["bf16_flops_per_s"].basis == "assumed"
    assert any("not in the catalogue" in warning for warning in report.selection.warnings)


def test_a_gpu_that_does_not_tell_its_memory(detect: Detect) -> None:
    report = detect("no-memory")
    assert report.gpu_set is None
    assert "--gpu-memory" in report.selection.left_out[0].reason


def test_an_old_driver_without_the_second_memory_call(detect: Detect) -> None:
    report = detect("old-driver")
    assert report.gpu_set is not None
    assert report.gpu_set.memory_bytes == get_gpu("H200").engine_memory_bytes
    assert any("reserve" in warning for warning in report.selection.warnings)


def test_one_lost_gpu_does_not_hide_the_others(detect: Detect) -> None:
    report = detect("lost")
    assert str(report.gpu_set) == "2xH200"
    problem = next(one for one in report.problems if one.kind == "device")
    assert problem.message == "GPU 1 has fallen off the bus"


@pytest.mark.parametrize(
    ("scenario", "settings", "expected", "env"),
    [
        ("8xh200", {"CUDA_VISIBLE_DEVICES": "0,1"}, "2xH200", {"CUDA_VISIBLE_DEVICES": "0,1"}),
        ("8xh200", {"CUDA_VISIBLE_DEVICES": "GPU-5a000002"}, "1xH200", {"CUDA_VISIBLE_DEVICES": "2"}),
        ("8xh200", {"CUDA_VISIBLE_DEVICES": ""}, None, {}),
        ("mixed", {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "2xL40S", {}),
        ("mig", {"CUDA_VISIBLE_DEVICES": "MIG-6b000001"}, "1xH200 MIG 1g.18gb", {}),
        # HIP numbers these GPUs in the opposite order of amdsmi.
        ("8xmi300x", {"HIP_VISIBLE_DEVICES": "0,1,2,3"}, "4xMI300X", {"HIP_VISIBLE_DEVICES": "0,1,2,3"}),
        ("8xmi300x", {"ROCR_VISIBLE_DEVICES": "4,5,6,7", "HIP_VISIBLE_DEVICES": "1"}, "1xMI300X", {}),
        ("8xmi300x", {"CUDA_VISIBLE_DEVICES": "0"}, "1xMI300X", {"HIP_VISIBLE_DEVICES": "0"}),
    ],
)
def test_visibility(
    machine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    settings: dict[str, str],
    expected: str | None,
    env: dict[str, str],
) -> None:
    from hw_specs import detect_gpus

    machine(scenario)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    selection = detect_gpus().selection
    assert selection.gpu_set is None if expected is None else str(selection.gpu_set) == expected
    assert any("hidden by" in left.reason for left in selection.left_out)
    if selection.gpu_set is not None:
        assert env.items() <= dict(selection.gpu_set.env).items()
    if "ROCR_VISIBLE_DEVICES" in settings and selection.gpu_set is not None:
        assert [gpu.engine_index for gpu in selection.chosen] == [5]
        assert dict(selection.gpu_set.env) == settings


def test_amd_gpus_without_access_to_the_kernel_driver(detect: Detect) -> None:
    report = detect("1xmi300x", host=Host(hostname="h", kfd=True, kfd_usable=False))
    assert str(report.gpu_set) == "1xMI300X"
    assert any("/dev/kfd" in problem.message for problem in report.problems)
