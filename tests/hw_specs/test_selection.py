"""Laws of the selection, of matching, and of the trip through JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs import BadSnapshot, DetectionReport, M35Error, NoGpuFound, get_gpu, resolve_gpus
from hw_specs.detect.devices import PairLink
from hw_specs.detect.match import match
from hw_specs.detect.snapshot import from_json, to_document
from hw_specs.resolve import gpus_of, report_in
from hw_specs.units import GIB, MIB, gib
from planner.planning.fleet import plan_fleet
from tests.hw_specs.devices import REAL, device, report, reports


@given(reports())
def test_every_device_is_chosen_or_left_out_with_a_reason(machine: DetectionReport) -> None:
    selection = machine.selection
    both = [*selection.chosen, *(left.gpu for left in selection.left_out)]
    assert sorted(map(repr, both)) == sorted(map(repr, machine.gpus))
    assert all(left.reason for left in selection.left_out)
    assert (selection.gpu_set is None) == (not selection.chosen)


@given(reports())
def test_what_is_chosen_is_alike_and_can_be_used(machine: DetectionReport) -> None:
    selection = machine.selection
    gpus = selection.gpu_set
    if gpus is None:
        return
    chosen = selection.chosen
    assert gpus.count == len(chosen)
    assert len({(gpu.vendor, gpu.catalogue_id, gpu.partition) for gpu in chosen}) == 1
    assert all(gpu.hidden_by is None and gpu.engine_total_bytes for gpu in chosen)
    assert 0 < gpus.memory_bytes <= min(gpu.engine_total_bytes or 0 for gpu in chosen)
    assert chosen[0].slice_index is None or gpus.count == 1
    assert gpus.spec.bandwidth_bytes_per_s > 0
    assert gpus.spec.bf16_flops_per_s > 0
    assert all("\n" not in text for text in (*selection.warnings, *gpus.holders))


@given(reports())
@settings(max_examples=50)
def test_json_and_back_is_the_same_machine(machine: DetectionReport) -> None:
    back = from_json(json.dumps(to_document(machine)))
    assert back.origin == "snapshot"
    assert dataclasses.replace(back, origin="detected") == machine
    assert (back.gpu_set is None) == (machine.gpu_set is None)


@given(reports(), st.data())
@settings(max_examples=50)
def test_a_damaged_snapshot_is_refused_in_words(machine: DetectionReport, data: st.DataObject) -> None:
    document = to_document(machine)
    junk = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2) | st.just({"a": 1})
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(junk)
    try:
        gpus_of(from_json(json.dumps(document)))
    except M35Error as error:
        assert error.hint
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"schema_version": 99, "gpus": []}',
        "[" * 5000,
        '{"schema_version": 1, "gpus": ' + "[" * 700 + "]" * 700 + "}",
    ],
)
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(BadSnapshot) as caught:
        from_json(text)
    assert caught.value.hint


HOSTILE: dict[str, dict[str, object]] = {
    "gpus.0.engine_total_bytes": {"engine_total_bytes": -1},
    "gpus.0.driver_total_bytes": {"driver_total_bytes": 2**41 + 1},
    "gpus.0.free_bytes": {"free_bytes": 2**40},
    "gpus.0.used_bytes": {"used_bytes": -5},
    "gpus.0.index": {"index": -1},
    "gpus.0.engine_index": {"engine_index": 10**9},
    "gpus.0.compute_units": {"compute_units": -132},
    "gpus.0.cores": {"cores": 10**30},
    "gpus.0.bandwidth_bytes_per_s": {"bandwidth_bytes_per_s": 10**18},
    "gpus.0.processes.0.used_bytes": {"processes": [{"pid": 1, "used_bytes": 2**60}]},
    "gpus.0.processes.0.pid": {"processes": [{"pid": -1}]},
    "`gpus`": {"engine_total_bytes": 1, "free_bytes": 1},
}


@pytest.mark.parametrize("place", HOSTILE)
def test_numbers_that_cannot_be_true_are_refused(place: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(to_document(report(device(0), device(1)))))
    document["gpus"][0].update(HOSTILE[place])
    with pytest.raises(BadSnapshot) as caught:
        from_json(json.dumps(document))
    assert place in str(caught.value)
    assert caught.value.hint
    path = tmp_path / "host.json"
    path.write_text(json.dumps(document))
    [row] = plan_fleet([path], settings={})
    assert row.unreadable
    assert row.problem
    assert place in row.problem


def test_more_devices_than_a_host_has_are_refused() -> None:
    with pytest.raises(BadSnapshot, match="257 devices"):
        from_json(json.dumps(to_document(report(*(device(index) for index in range(257))))))


def test_a_link_between_impossible_devices_is_refused() -> None:
    link = PairLink(vendor="nvidia", a=-1, b=1, kind="nvlink")
    with pytest.raises(BadSnapshot, match=r"links\.0\.a"):
        from_json(json.dumps(to_document(report(device(0), links=(link,)))))


def test_a_version_is_quoted_fit_for_one_line() -> None:
    with pytest.raises(BadSnapshot) as caught:
        from_json(json.dumps({"schema_version": "1\n\x1b[2J", "gpus": []}))
    assert str(caught.value).isprintable()


def test_a_list_of_hosts_holds_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text('- {host: "a\\e[2J\\nb", gpus: 8xH200}\n- {host: [x], gpus: 8xH200}\n- {host: c, gpus: {a: 1}}\n')
    good, *bad = plan_fleet([path], settings={})
    assert good.host.isprintable()
    assert good.feasible
    for row in bad:
        assert "plain text" in (row.problem or "")


def test_a_snapshot_cannot_steer_a_terminal() -> None:
    document = to_document(report(device(0, name="NVIDIA \x1b]0;owned\x07 H200")))
    with pytest.raises(BadSnapshot, match="control characters"):
        from_json(json.dumps(document))


def test_a_snapshot_file_is_planned_from(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(to_document(report(*(device(index) for index in range(4))))))
    gpus = resolve_gpus(f"@{path}")
    assert str(gpus) == "4xH200"
    assert gpus.origin == "snapshot"
    assert resolve_gpus(f"@{path}", memory_override_bytes=gib(100)).memory_bytes == 100 * GIB
    with pytest.raises(BadSnapshot):
        report_in(tmp_path / "missing.json")
    with pytest.raises(BadSnapshot):
        report_in(tmp_path)
    with pytest.raises(BadSnapshot):
        resolve_gpus("@")


def test_what_a_table_shows_as_missing_is_held(tmp_path: Path) -> None:
    table = tmp_path / "gpus.csv"
    rows = [
        f"{index}, NVIDIA H100 80GB HBM3, 81559 MiB, {free} MiB" for index, free in enumerate((20000, 80900, 80900))
    ]
    table.write_text("\n".join(["index, name, memory.total [MiB], memory.free [MiB]", *rows]) + "\n")
    gpus = report_in(table).gpu_set
    assert gpus is not None
    assert gpus.held
    assert gpus.unheld is not None
    assert (gpus.count, gpus.unheld.count, gpus.unheld.held) == (3, 2, False)


def test_a_snapshot_without_gpus_says_whose() -> None:
    with pytest.raises(NoGpuFound) as caught:
        gpus_of(dataclasses.replace(report(), hostname="node-9", origin="snapshot"))
    assert "node-9" in str(caught.value)


def test_a_size_from_the_user_makes_a_silent_card_usable() -> None:
    silent = report(device(0, driver_total_bytes=None, engine_total_bytes=None))
    with pytest.raises(NoGpuFound):
        gpus_of(silent)
    assert gpus_of(silent, memory_override_bytes=gib(120)).memory_bytes == 120 * GIB


def test_the_set_with_the_most_memory_wins() -> None:
    machine = report(*(device(index, "l40s") for index in range(4)), device(4, "h200-sxm"), device(5, "h200-sxm"))
    assert str(machine.gpu_set) == "2xH200"


@pytest.mark.parametrize(
    ("kinds", "linked"),
    [(["nvlink"] * 3, True), (["nvlink", "pcie", "pcie"], False), (["nvlink"] * 2, None), ([], None)],
)
def test_one_slow_pair_is_enough(kinds: list[str], linked: bool | None) -> None:
    pairs = [(0, 1), (0, 2), (1, 2)]
    links = tuple(
        PairLink(vendor="nvidia", a=a, b=b, kind=kind)  # type: ignore[arg-type]
        for (a, b), kind in zip(pairs, kinds, strict=False)
    )
    gpus = report(*(device(index) for index in range(3)), links=links).gpu_set
    assert gpus is not None
    assert gpus.linked is linked


@pytest.mark.parametrize("spec", REAL, ids=[spec.id for spec in REAL])
def test_every_product_is_recognised_by_its_id_whatever_it_is_called(spec: object) -> None:
    from hw_specs import GpuSpec

    assert isinstance(spec, GpuSpec)
    for device_id in spec.pci_device_ids:
        found = match(device(0, spec.id, name="Renamed By A Cloud", pci_device_id=device_id))
        assert (found.spec, found.by, found.notes) == (spec, "pci-id", ())


@pytest.mark.parametrize(
    ("name", "total_mib", "architecture", "expected", "by"),
    [
        # three products share this total: only the name is left to tell them apart
        ("NVIDIA H200 NVL", 143771, "9.0", "h200-nvl", "name"),
        ("NVIDIA M403", 143771, "9.0", None, "unknown"),
        ("NVIDIA L20D", 275040, "10.3", "b300-sxm", "totals"),
        # a name alone is not believed against the memory
        ("NVIDIA H200", 40000, "9.0", None, "unknown"),
        # another product with an L40S's architecture and total
        ("NVIDIA RTX 5880 Ada Generation", 46068, "8.9", None, "unknown"),
        ("NVIDIA L40S", 46068, "8.9", "l40s", "name"),
    ],
)
def test_without_a_known_id(name: str, total_mib: int, architecture: str, expected: str | None, by: str) -> None:
    unknown = device(0, name=name, pci_device_id=0x9999, driver_total_bytes=total_mib * MIB, architecture=architecture)
    found = match(unknown)
    assert (found.spec.id if found.spec else None, found.by) == (expected, by)


def test_a_virtual_gpu_is_noticed() -> None:
    found = match(device(0, driver_total_bytes=40000 * MIB))
    assert found.spec is get_gpu("h200-sxm")
    assert any("virtual GPU" in note for note in found.notes)


def test_a_real_machine() -> None:
    """Snapshots of a real H100, idle and with 10 GiB held by torch, which saw total and free as given here."""
    folder = Path(__file__).parent / "snapshots"
    torch_total_bytes, torch_free_bytes = 85_017_493_504, 73_727_672_320
    idle, busy = (report_in(folder / f"h100-{state}.json").gpu_set for state in ("idle", "busy"))
    assert idle is not None
    assert busy is not None
    assert idle.memory_bytes == busy.memory_bytes == torch_total_bytes == get_gpu("H100").engine_memory_bytes
    assert idle.free_memory_bytes == torch_total_bytes
    assert busy.free_memory_bytes == torch_free_bytes
    assert busy.holders == ("python3 (pid 491) holds 10.51 GiB on GPU 0",)


def test_a_real_h200_is_what_nvidia_smi_and_torch_say() -> None:
    """nvidia-smi: 143,771 MiB in all, 616 MiB of it reserved, 143,156 MiB free, ECC on, MIG off, driver 580.159.04."""
    report = report_in(Path(__file__).parent / "snapshots" / "h200-idle.json")
    (gpu,) = report.gpus
    torch_total_bytes = 150_109_880_320
    assert gpu.driver_total_bytes is not None
    assert gpu.driver_total_bytes // MIB == 143_771
    assert -(-(gpu.driver_total_bytes - torch_total_bytes) // MIB) == 616
    assert gpu.free_bytes == torch_total_bytes and round(torch_total_bytes / MIB) == 143_156
    assert (gpu.ecc, gpu.mig_enabled, gpu.matched_by) == (True, False, "pci-id")
    assert report.drivers[0].driver_version == "580.159.04"
    assert report.gpu_set is not None and str(report.gpu_set) == "1xH200"
    assert report.gpu_set.memory_bytes == torch_total_bytes == get_gpu("H200").engine_memory_bytes
