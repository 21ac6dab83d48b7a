"""What schedulers, drivers' tools and clouds list, as people paste it."""

from __future__ import annotations

from typing import Any

import pytest

from hw_specs.inventory import load_hosts
from hw_specs.resolve import gpus_of
from hw_specs.units import MIB

from .inventories import SAMPLES, SLICE, XML, gpus, hosts


def test_slurm_nodes_with_types_states_and_jobs() -> None:
    found = {host.name: host for host in load_hosts(SAMPLES / "slurm.txt")}
    assert {name: gpus(host) for name, host in found.items() if host.report} == {
        "gpu01": "8xH100", "gpu02": "8xH200", "gpu03": "4xA100",
    }  # fmt: skip
    assert found["gpu01"].notes == ("2 of 8 GPUs are allocated to jobs now",)
    assert found["gpu02"].out_of_service == "drain: fan in slot 3"
    assert "may also be" in " ".join(found["gpu03"].notes)
    assert found["cpu01"].no_gpu


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("gpu:nvidia_h100_80gb_hbm3:4(S:0)", "4xH100"),
        ("gpu:a100_3g.20gb:2(S:0)", "1xA100-40GB MIG 3g.20gb"),
        ("gpu:nvidia_b200_3g.90gb:2", "1xB200 MIG 3g.90gb"),
        ("gpu:mi300x:8(S:0-1),shard:mi300x:64", "8xMI300X"),
        ("craynetwork:4,gpu:nvidia_gh200_480gb:4(S:0-3)", "4xGH200-96"),
        ("gpu:h200:4(IDX:0,2-4),gpu:h100:2", "4xH200"),
    ],
)
def test_types_of_slurm(gres: str, expected: str) -> None:
    one_line = f"NodeName=n1 Arch=x86_64 Gres={gres} NodeAddr=n1 State=IDLE ThreadsPerCore=1 Comment=a b c AllocTRES="
    spread = one_line.replace(" Gres", "\n   Gres").replace(" State", "\n   State")
    document = {"nodes": [{"name": "n1", "gres": gres, "state": ["IDLE"]}]}
    for text in (one_line, spread, document):
        [host] = hosts(text).values()
        assert gpus(host) == expected


def test_slurm_without_a_type_asks_the_features_or_says_so() -> None:
    [told] = hosts("NodeName=n1 Gres=gpu:8(S:0-1) ActiveFeatures=ib,h200,rack4 State=IDLE").values()
    assert gpus(told) == "8xH200"
    [untold] = hosts("NodeName=n1 Gres=gpu:8 ActiveFeatures=ib State=IDLE").values()
    assert "not which" in (untold.problem or "")
    [part] = hosts("NodeName=n1 Gres=gpu:3g.40gb:2 ActiveFeatures=h100 State=IDLE").values()
    assert gpus(part) == "1xH100 MIG 3g.40gb"
    [flagged] = hosts(
        {"nodes": [{"name": "n1", "gres": "gpu:h200:8", "state": "idle", "state_flags": ["DRAIN"]}]}
    ).values()
    assert flagged.out_of_service == "drain"
    [unknown] = hosts("NodeName=n1 Gres=gpu:tesla:8 State=IDLE").values()
    assert "tesla" in (unknown.problem or "")
    [away] = hosts("NodeName=n1 Gres=gpu:h200:8 State=DOWN*+DRAIN Reason=(null)").values()
    assert away.out_of_service == "down, drain"


def test_nvidia_smi_xml_has_the_reserve_the_free_memory_and_who_holds_it() -> None:
    [host] = hosts(XML.format(mig="Disabled", slices="")).values()
    assert host.report is not None
    found = gpus_of(host.report)
    assert str(found) == "1xH200"
    assert found.memory_bytes == (143771 - 615) * MIB
    assert found.free_memory_bytes == 138036 * MIB
    assert "python3 (pid 4711)" in found.holders[0]


def test_nvidia_smi_xml_with_mig_lists_the_slices() -> None:
    [host] = hosts(XML.format(mig="Enabled", slices=SLICE.format(0) + SLICE.format(1))).values()
    assert host.report is not None
    found = gpus_of(host.report)
    assert str(found) == "1xH200 MIG 3g.71gb"
    assert dict(found.env) == {"CUDA_VISIBLE_DEVICES": "MIG-0"}


@pytest.mark.parametrize(
    "text",
    [
        "index, name, memory.total [MiB]\n0, NVIDIA H200, 143771 MiB\n1, NVIDIA H200, 143771 MiB\n",
        "memory.free [MiB], name, uuid, memory.total [MiB]\n9, NVIDIA H200, a, 143771\n1, NVIDIA H200, , 143771\n",
        "gpu_name,gpu_bus_id\nNVIDIA H200,00000000:1B:00.0\nNVIDIA H200,00000000:1C:00.0\n",
        "name\nNVIDIA H200\nNVIDIA H200\n",
        "0, NVIDIA H200, 143771 MiB, 5 MiB\n1, NVIDIA H200, 143771 MiB, 5 MiB\n",
        "NVIDIA H200, 5, 143771\nNVIDIA H200, 5, 143771\n",
        "GPU 0: NVIDIA H200 (UUID: GPU-aaaaaaaa-0000-0000-0000-000000000000)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n",
    ],
)
def test_tables_in_any_order_with_and_without_units_and_heads(text: str) -> None:
    [host] = hosts(text).values()
    assert gpus(host) == "2xH200"


def test_a_table_with_a_column_of_hosts_is_about_each() -> None:
    found = hosts("hostname, name, memory.total [MiB]\na, NVIDIA H200, 143771 MiB\nb, NVIDIA L40S, 46068 MiB\n")
    assert {name: gpus(host) for name, host in found.items()} == {"a": "1xH200", "b": "1xL40S"}


def test_a_listing_with_mig() -> None:
    text = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736)\n"
        "  MIG 1g.5gb      Device  1: (UUID: MIG-a28ad590)\n"
    )
    [host] = hosts(text).values()
    assert gpus(host) == "1xA100-40GB MIG 3g.20gb"


@pytest.mark.parametrize(
    "value",
    [
        [
            {
                "gpu": 0,
                "asic": {"market_name": "AMD Instinct MI300X OAM", "device_id": "0x74a1"},
                "vram": {"size": {"value": 196592, "unit": "MB"}},
            }
        ],
        {
            "gpu_data": [
                {"gpu": 0, "asic": {"market_name": "MI300X", "device_id": "0x74a1"}, "vram": {"size": "196592 MB"}}
            ]
        },
        [{"gpu": 0, "bdf": "0000:0c:00.0", "uuid": "67ff74a1-0000-1000-8081-b5b9fd6edd00"}],
        {
            "card0": {
                "Card Series": "AMD Instinct MI300X OAM",
                "Card Model": "0x74a1",
                "VRAM Total Memory (B)": "206141652992",
                "GFX Version": "gfx942",
            },
            "system": {"Driver version": "6.12.12"},
        },
        {"card0": {"Card series": "AMD INSTINCT MI300X", "Card model": "102-G30211-0C", "Device ID": "0x74a1"}},
    ],
)
def test_tools_of_amd_of_old_and_new_releases(value: Any) -> None:
    [host] = hosts(value).values()
    assert host.report is not None
    found = gpus_of(host.report)
    assert str(found) == "1xMI300X"
    assert found.memory_bytes == 196592 * MIB


def test_instances_that_clouds_list() -> None:
    aws = {
        "Reservations": [
            {
                "Instances": [
                    {
                        "InstanceId": "i-1",
                        "InstanceType": "p5.48xlarge",
                        "State": {"Name": "running"},
                        "Tags": [{"Key": "Name", "Value": "a"}],
                    },
                    {"InstanceId": "i-2", "InstanceType": "p4d.24xlarge", "State": {"Name": "stopped"}},
                    {"InstanceId": "i-3", "InstanceType": "m7i.large", "State": {"Name": "running"}},
                    {"InstanceId": "i-4", "InstanceType": "g5g.xlarge", "State": {"Name": "running"}},
                ]
            }
        ]
    }
    found = hosts(aws)
    assert str(found["a"].gpus) == "8xH100"
    assert found["i-2"].out_of_service == "the instance is stopped"
    assert found["i-3"].no_gpu
    assert "T4g" in (found["i-4"].problem or "")
    google = [{"name": "g", "machineType": "https://x/zones/z/machineTypes/a3-ultragpu-8g", "status": "RUNNING"}]
    assert str(hosts(google)["g"].gpus) == "8xH200"
    azure = [{"name": "z", "hardwareProfile": {"vmSize": "Standard_ND96isr_H100_v5"}}]
    assert str(hosts(azure)["z"].gpus) == "8xH100"
