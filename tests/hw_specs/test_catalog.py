"""The data files are complete, consistent, sourced, and every name means exactly one GPU."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

import hw_specs
from hw_specs import BadFacts, BadGpuString, UnknownGpu, get_gpu, list_gpus, parse_gpus
from hw_specs.allreduce import AllreduceTables, Kernel, load_allreduce, load_allreduce_thresholds
from hw_specs.catalog import _load, names, normalise
from hw_specs.instances import find_instance
from hw_specs.mig import mig_slice
from hw_specs.record import read_value
from hw_specs.tables import read_compiled, read_data, read_toml
from hw_specs.units import GIB, MIB

DATA = Path(hw_specs.__file__).parent / "data"
NO_GPU_FILES = {"names", "lookalikes", "architectures", "mig", "instances", "vgpu", "partitions", "resources"}
SPECS = list_gpus()
ids = [spec.id for spec in SPECS]


def test_every_data_file_is_reachable_by_name_and_every_name_has_a_file() -> None:
    stems = {path.stem for path in DATA.glob("*.toml")} - NO_GPU_FILES
    assert stems == set(ids) == set(names().values())


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_what_people_and_drivers_write_means_this_gpu(spec: hw_specs.GpuSpec) -> None:
    for name in (spec.id, spec.name, spec.name.lower(), f"{spec.vendor}/{spec.name}", *spec.driver_names):
        assert get_gpu(name) is spec


def spellings(name: str) -> set[str]:
    """How tools write one product name: drivers, labels of clusters, types of Slurm, people."""
    words = name.replace("/", " ").split()
    written = {name, "-".join(words), "_".join(words), "_".join(words).lower(), f"{'-'.join(words)}-SHARED"}
    return written | {one.upper() for one in written} | {one.lower() for one in written}


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_every_spelling_of_every_name_means_this_gpu(spec: hw_specs.GpuSpec) -> None:
    known = [name for name, gpu_id in names().items() if gpu_id == spec.id]
    for name in (spec.name, *spec.driver_names, *spec.names, *known):
        for written in spellings(name):
            assert get_gpu(written) is spec, written
            assert parse_gpus(f"1 x {written}", 64 * GIB).spec is spec, written
    for name in spec.driver_names:
        joined = "".join(name.split())
        assert get_gpu(joined) is spec, joined


@pytest.mark.parametrize(
    ("written", "name", "gib"),
    [
        ("H100 MIG 1g.10gb", "H100 MIG 1g.10gb", 9.75),
        ("H100-MIG-1g.10gb+me", "H100 MIG 1g.10gb+me", 9.75),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me", "H100 MIG 1g.10gb+me", 9.75),
        ("nvidia_h100_80gb_hbm3_3g.40gb", "H100 MIG 3g.40gb", 39.5),
        ("NVIDIA-H200-MIG-3g.71gb-SHARED", "H200 MIG 3g.71gb", 69.75),
        ("nvidia_b200_3g.90gb", "B200 MIG 3g.90gb", 89.18),
        ("a100_3g.20gb", "A100-40GB MIG 3g.20gb", 19.62),
        ("a100_1g.10gb", "A100 MIG 1g.10gb", 9.50),
        ("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", "A100-40GB MIG 1c.3g.20gb", 19.62),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb-me", "RTX-PRO-6000 MIG 1g.24gb-me", 23.62),
    ],
)
def test_a_mig_profile_names_a_slice_of_its_card(written: str, name: str, gib: float) -> None:
    spec = get_gpu(written)
    assert spec.name == name
    assert spec.engine_memory_bytes == spec.driver_memory_bytes == pytest.approx(gib * GIB, rel=0.001)
    assert parse_gpus(name).spec == spec
    with pytest.raises(BadGpuString, match="MIG slices in one server"):
        parse_gpus(f"2x{name}")


@pytest.mark.parametrize("name", ["h100-3g.20gb", "l40s-1g.12gb", "rtx-4090-1g.6gb", "h200-5g.90gb", "1g.10gb"])
def test_a_profile_that_the_card_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(UnknownGpu):
        get_gpu(name)


def test_every_instance_type_is_a_whole_node_of_a_known_card_or_says_which_card_is_not_known() -> None:
    for cloud in read_toml("instances.toml")["cloud"]:
        assert cloud["source"]
        assert cloud["basis"] in ("exact", "measured", "assumed")
        for name in cloud["types"]:
            found = find_instance(name)
            assert found is not None
            if found.count is None or found.gpu not in ids:
                with pytest.raises(UnknownGpu, match=re.escape(found.gpu)):
                    parse_gpus(name)
                continue
            gpus = parse_gpus(f"2x{name.upper()}")
            assert (gpus.nodes, gpus.count, gpus.spec.id) == (2, found.count, found.gpu)


def test_an_instance_type_brings_its_own_count() -> None:
    with pytest.raises(BadGpuString) as caught:
        parse_gpus("2x8xp5.48xlarge")
    assert caught.value.hint == "write `2xp5.48xlarge`"


def test_names_are_stored_normalised() -> None:
    assert [name for name in names() if normalise(name) != name] == []


def test_product_names_and_pci_ids_are_unique() -> None:
    assert len({spec.name for spec in SPECS}) == len(SPECS)
    pairs = [(spec.vendor, device_id) for spec in SPECS for device_id in spec.pci_device_ids]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize(
    ("name", "called", "memory_gib"),
    [
        ("GRID A100D-80C", "A100D-80C", 79.15),
        ("NVIDIA A100-40C", "A100-40C", 39.39),
        ("8xnvidia_h100xm-80c", "H100XM-80C", 79.18),
        ("L40S-24Q", "L40S-24Q", 23.68),
        ("NVIDIA H200X-1-18C", "H200 MIG 1g.18gb", 16.00),
        ("NVIDIA RTX Pro 6000 Blackwell DC-2-48Q", "RTX-PRO-6000 MIG 2g.48gb", 47.38),
        ("MI300X-CPX", "MI300X CPX", 24.00),
        ("64xAMD Instinct MI300X CPX NPS4", "MI300X CPX/NPS4", 24.00),
        ("MI300X SPX/NPS1", "MI300X", 191.98),
    ],
)
def test_a_virtual_gpu_and_a_partition_are_a_part_of_their_card(name: str, called: str, memory_gib: float) -> None:
    gpus = parse_gpus(name)
    assert gpus.spec.name == called
    assert gpus.memory_bytes / GIB == pytest.approx(memory_gib, abs=0.01)
    assert parse_gpus(str(gpus)) == gpus


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_no_part_is_larger_than_its_card(spec: hw_specs.GpuSpec) -> None:
    for text in ("1g.10gb", "1g.18gb", "1g.24gb", "3g.40gb", "3g.71gb", "4g.24gb", "4g.96gb", "7g.80gb", "7g.141gb"):
        part = mig_slice(spec, text)
        assert part is None or part.engine_memory_bytes <= spec.engine_memory_bytes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gfx942", "name the card: `MI300A`, `MI300X`, `MI308X`, `MI325X`"),
        ("gfx90a", "name the card: `MI210`, `MI250X`"),
        ("sm_103a", "name the card: `B300`, `GB300`"),
        ("gfx1100", "no card of it"),
        ("mig-3g.40gb", "write the card in front of it: `A800 MIG 3g.40gb`, `A100 MIG 3g.40gb`, `H100 MIG 3g.40gb`"),
        ("mig-9g.99gb", "lists a card's profiles"),
        ("A100-40B", "C and Q types run CUDA"),
        ("H100 CPX", "AMD divides"),
        ("MI210 DPX", "AMD divides"),
    ],
)
def test_a_name_of_no_card_says_what_it_is(name: str, said: str) -> None:
    with pytest.raises(UnknownGpu) as caught:
        parse_gpus(name)
    assert said in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["gh200", "rtx-6000", "h2000", ""])
def test_ambiguous_and_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownGpu) as caught:
        get_gpu(name)
    assert caught.value.hint


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(UnknownGpu) as caught:
        get_gpu("MI300Y")
    assert "`MI300X`" in (caught.value.hint or "")


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_every_number_has_a_source(spec: hw_specs.GpuSpec) -> None:
    raw = tomllib.loads((DATA / f"{spec.id}.toml").read_text())
    numbers = {key for key, value in raw.items() if isinstance(value, int) and not isinstance(value, bool)}
    covered = {"engine_memory_high_bytes": "engine_memory_low_bytes"}
    for key in sorted(numbers | {"link"}):
        fact = spec.facts[covered.get(key, key)]
        assert fact.source
        assert fact.basis in ("exact", "derived", "measured", "assumed")


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_numbers_are_plausible(spec: hw_specs.GpuSpec) -> None:
    assert spec.engine_memory_low_bytes <= spec.engine_memory_bytes <= spec.engine_memory_high_bytes
    if spec.engine_memory_bytes:
        assert spec.engine_memory_bytes <= spec.driver_memory_bytes
        assert spec.driver_memory_bytes - spec.engine_memory_bytes < 2 * GIB
        assert spec.driver_memory_bytes % MIB == 0
        shared = spec.id == "gb10"  # with the CPU: firmware decides
        assert spec.engine_memory_high_bytes - spec.engine_memory_low_bytes < (4 * GIB if shared else GIB)
    else:
        assert spec.facts["engine_memory_bytes"].source == "none"
    assert spec.vendor != "amd" or spec.engine_memory_bytes == spec.driver_memory_bytes
    assert 0.2e12 < spec.bandwidth_bytes_per_s < 30e12
    assert (spec.fp8_flops_per_s is None) == (spec.fp8_kind in ("weight-only", "none"))
    assert (spec.fp8_kind == "e4m3fnuz") == (spec.architecture == "gfx942")
    if spec.fp8_flops_per_s:
        assert 1.9 < spec.fp8_flops_per_s / spec.bf16_flops_per_s < 4.5
    for measured, peak in (
        (spec.measured_bf16_flops_per_s, spec.bf16_flops_per_s),
        (spec.measured_fp8_flops_per_s, spec.fp8_flops_per_s),
    ):
        assert measured is None or (peak is not None and 0.5 * peak < measured < peak)
    assert spec.link.domain_gpus >= 1
    if spec.link.bytes_per_s and spec.link.pair_bytes_per_s:
        assert spec.link.pair_bytes_per_s <= spec.link.bytes_per_s


def test_known_totals() -> None:
    """Public start-up logs: `Free memory on device (x/y GiB)`."""
    seen = {"h200-sxm": 139.80, "mi300x": 191.98, "b200-sxm": 178.35, "h100-nvl": 93.10, "mi325x": 255.98}
    for gpu, total_gib in seen.items():
        assert round(get_gpu(gpu).engine_memory_bytes / GIB, 2) == total_gib


def test_the_public_surface_is_what_it_says() -> None:
    assert list(hw_specs.__all__) == sorted(hw_specs.__all__)
    for name in hw_specs.__all__:
        assert getattr(hw_specs, name) is not None
    assert set(hw_specs.__all__) <= set(dir(hw_specs))
    with pytest.raises(AttributeError):
        _ = hw_specs.nothing_of_that_name


def test_allreduce_tables_are_sorted_and_grow() -> None:
    files = {path.stem for path in (DATA / "allreduce").glob("*.json")} - {"thresholds"}
    assert files <= set(ids)
    for gpu in files:
        assert json.loads(read_data(f"allreduce/{gpu}.json"))["gpu"] == gpu
        for kernel in get_args(Kernel):
            table = load_allreduce(gpu, kernel=kernel)
            if table is None:
                continue
            assert table.source.startswith(("ai-dynamo/", "https://"))
            for tensor_parallel_size, row in table.us_by_tp.items():
                assert tensor_parallel_size in (2, 4, 8)
                assert list(row) == sorted(row)
                assert row[max(row)] > row[min(row)] > 0
    assert load_allreduce("mi300x") is None


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"surprise": 1}, "surprise"),
        ({"source": 1}, "source"),
        ({"kernel": "other"}, "kernel"),
        ({"us_by_tp": {"two": {}}}, "us_by_tp.two"),
        ({"us_by_tp": {"2": {"256": "4.4"}}}, "us_by_tp.2.256"),
    ],
)
def test_a_change_of_an_allreduce_tables_shape_is_named(change: dict[str, Any], key: str) -> None:
    name = "allreduce/h200-sxm.json"
    with pytest.raises(BadFacts, match=r"hw_specs/data/allreduce/h200-sxm\.json") as caught:
        tables = json.loads(read_data(name))
        tables["tables"][1] |= change
        read_value(tables, AllreduceTables, name, folder="hw_specs/data")
    assert caught.value.key == f"tables.1.{key}"


def test_allreduce_thresholds() -> None:
    thresholds = load_allreduce_thresholds()
    assert thresholds.fusion_max_bytes["9.0"][8] == MIB // 2


@pytest.mark.parametrize(
    ("printed", "gpu_id"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000-workstation"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition", "rtx-pro-6000-max-q"),
        ("NVIDIA-A100-SXM4-40GB", "a100-sxm-40gb"),
        ("nvidia_a100-sxm4-80gb", "a100-sxm"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("NVIDIA-H100-80GB-HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("AMD_Instinct_MI300X_OAM", "mi300x"),
        ("AMD Instinct MI250X / MI250", "mi250x"),
    ],
)
def test_names_as_drivers_and_cluster_labels_print_them(printed: str, gpu_id: str) -> None:
    assert get_gpu(printed).id == gpu_id


def test_an_unlisted_card_is_told_the_way_out() -> None:
    with pytest.raises(UnknownGpu) as caught:
        hw_specs.parse_gpus("2xRTX6000")
    assert "`RTX6000`" in str(caught.value)
    assert "--gpu-memory" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("max_gpus_per_node = 8", 'max_gpus_per_node = "8"'), "`max_gpus_per_node`"),
        (("max_gpus_per_node = 8", "max_gpus_per_nodes = 8"), "max_gpus_per_nodes"),
        (("domain_gpus = 8", "domain_gpu = 8"), "domain_gpu"),
        (('fp8_kind = "e4m3fn"', 'fp8_kind = "e4m3fn"\nprice = 3'), "price"),
        (("[facts]", "[facts]\nnames = ['x']"), "`facts.names`"),
        (("[facts]", "[fact]"), "`fact` is not a known key"),
        (("[link]", "[lnk]"), "`lnk` is not a known key"),
        (("names =", "nams ="), "`driver_nams` is not a known key"),
    ],
)
def test_a_wrong_key_or_type_in_a_file_is_named(
    change: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DATA / "h100-sxm.toml").read_text(encoding="utf-8")
    assert change[0] in text
    monkeypatch.setattr("hw_specs.catalog.read_toml", lambda _name: tomllib.loads(text.replace(*change)))
    with pytest.raises(BadFacts, match=r"hw_specs/data/h100-sxm\.toml") as caught:
        _load.__wrapped__("h100-sxm")
    assert said in str(caught.value)


def test_a_data_file_that_was_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways to the same values: parsed, from the module beside it as in a wheel, parsed again once it is newer."""
    package = tmp_path / "with_data"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    toml, module = package / "data" / "one.toml", package / "data" / "one.toml.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("with_data")
    toml.write_text("a = 1\n[b]\nc = [1.5, 'x', inf]\n")
    os.utime(toml, (1000, 1000))
    assert read_compiled("with_data", "data/one.toml") == {"a": 1, "b": {"c": [1.5, "x", math.inf]}}
    assert read_compiled("with_data", "data/one.toml") == {"a": 1, "b": {"c": [1.5, "x", math.inf]}}
    module.write_text("VALUES = {'a': 2}\n")
    os.utime(module, (1000, 1000))
    assert read_compiled("with_data", "data/one.toml") == {"a": 2}
    toml.write_text("a = 3\n")
    assert read_compiled("with_data", "data/one.toml") == {"a": 3}
    with pytest.raises(FileNotFoundError):
        read_compiled("with_data", "data/two.toml")
    del sys.modules["with_data"]
