"""What clusters and hosts print becomes hosts with GPUs: each format, what it leaves open, and any damage to it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs.errors import BadSnapshot, M35Error, NoGpuFound
from hw_specs.inventory import load_hosts, read_hosts
from hw_specs.inventory.host import Host
from hw_specs.resolve import gpus_of, resolve_gpus
from hw_specs.units import MIB

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "examples/clusters"


def hosts(value: Any) -> dict[str, Host]:
    content = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return {host.name: host for host in read_hosts(content, name="host")}


def gpus(host: Host) -> str:
    assert host.report is not None, host
    return str(gpus_of(host.report))


def node(labels: dict[str, str], capacity: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Node",
        "metadata": {"name": "n1", "labels": labels},
        "spec": spec,
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def product(name: str, count: int, memory_mib: int, **more: str) -> dict[str, str]:
    return {
        "nvidia.com/gpu.product": name,
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.memory": str(memory_mib),
    } | {key.replace("__", "/"): value for key, value in more.items()}


# Kubernetes


def test_a_cluster_is_read_node_by_node_and_what_is_not_known_is_named() -> None:
    found = {host.name: host for host in load_hosts(SAMPLES / "nodes.json")}
    assert {name: gpus(host) for name, host in found.items() if host.report} == {
        "h200-1": "8xH200", "h200-2": "7xH200", "h200-3": "8xH200", "h100-shared": "8xH100",
        "h200-mig": "1xH200 MIG 3g.71gb", "mi300x-1": "8xMI300X", "cloud-1": "8xH200",
    }  # fmt: skip
    assert found["control-1"].no_gpu
    assert "NVIDIA-X900" in (found["odd-1"].problem or "")
    assert "--gpu-memory" in (found["odd-1"].hint or "")
    assert found["h200-3"].out_of_service == "cordoned"
    assert "1 of 8 GPUs are not allocatable" in " ".join(found["h200-2"].notes)
    assert "team=vision:NoSchedule" in " ".join(found["h100-shared"].notes)
    assert "offered 4 times" in " ".join(found["h100-shared"].notes)
    assert found["h200-1"].notes == ()


def test_json_yaml_single_objects_and_typed_lists_say_the_same() -> None:
    whole = json.loads((SAMPLES / "nodes.json").read_text())
    expected = load_hosts(SAMPLES / "nodes.json")
    bare = [{key: value for key, value in item.items() if key != "kind"} for item in whole["items"]]
    for other in (
        yaml.safe_dump(whole),
        json.dumps({"kind": "NodeList", "items": bare}),
        "---\n".join(yaml.safe_dump(item) for item in whole["items"]),
        "WARNING: version difference\n" + json.dumps(whole),
        "\ufeff" + json.dumps(whole),
    ):
        assert read_hosts(other.encode(), name="nodes") == expected
    assert read_hosts(json.dumps(whole).encode("utf-16"), name="nodes") == expected
    assert [host.name for host in read_hosts(json.dumps(whole["items"][1]).encode())] == ["h200-1"]


@pytest.mark.parametrize(
    ("labels", "capacity", "expected"),
    [
        (product("NVIDIA-A100-SXM4-40GB", 8, 40960), {"nvidia.com/gpu": "8"}, "8xA100-40GB"),
        (product("NVIDIA-A100-80GB-PCIe", 4, 81920), {"nvidia.com/gpu": "4"}, "4xA100-PCIe"),
        (product("NVIDIA-GH200-480GB", 1, 97871), {"nvidia.com/gpu": "1"}, "1xGH200-96"),
        (product("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", 8, 97887), {"nvidia.com/gpu": "8"}, "8xRTX-PRO-6000"),
        (
            product("NVIDIA-B200", 8, 183359, **{"nvidia.com__gpu.replicas": "4"}),
            {"nvidia.com/gpu.shared": "32"},
            "8xB200",
        ),
        (
            product("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 14, 9984, **{"nvidia.com__mig.strategy": "single"}),
            {"nvidia.com/gpu": "14"},
            "1xH100 MIG 1g.10gb",
        ),
        (
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
            {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb.me": "1", "nvidia.com/mig-3g.40gb": "2"},
            "1xA100 MIG 3g.40gb",
        ),
        ({"cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb"}, {"nvidia.com/gpu": "8"}, "8xH100"),
        ({"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}, {"nvidia.com/gpu": "2"}, "2xA100-40GB"),
        (
            {
                "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
                "cloud.google.com/gke-gpu-partition-size": "1g.10gb",
            },
            {"nvidia.com/gpu": "7"},
            "1xH100 MIG 1g.10gb",
        ),
        ({"gpu.nvidia.com/class": "H100_NVLINK_80GB"}, {"nvidia.com/gpu": "8"}, "8xH100"),
        ({"node.kubernetes.io/instance-type": "Standard_ND96isr_MI300X_v5"}, {"amd.com/gpu": "8"}, "8xMI300X"),
        (
            {"karpenter.k8s.aws/instance-gpu-name": "a100", "node.kubernetes.io/instance-type": "p4d.24xlarge"},
            {"nvidia.com/gpu": "8"},
            "8xA100-40GB",
        ),
        ({"beta.amd.com/gpu.product-name.AMD_Instinct_MI325X": "8"}, {"amd.com/gpu": "8"}, "8xMI325X"),
        ({"beta.amd.com/gpu.device-id.75a0": "8"}, {"amd.com/gpu": "8"}, "8xMI350X"),
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, {"amd.com/cpx_nps1": "64"}, "64xMI300X CPX"),
    ],
)
def test_labels_and_resources_of_one_node(labels: dict[str, str], capacity: dict[str, str], expected: str) -> None:
    [host] = hosts(node(labels, capacity)).values()
    assert gpus(host).startswith(expected)


def test_a_label_of_another_size_means_the_form_of_that_size_and_a_short_name_its_doubt() -> None:
    [forty] = hosts(node(product("NVIDIA-A100", 4, 40960), {"nvidia.com/gpu": "4"})).values()
    assert gpus(forty) == "4xA100-40GB"
    [virtual] = hosts(node(product("NVIDIA-H200", 1, 70000), {"nvidia.com/gpu": "1"})).values()
    assert gpus(virtual) == "1xH200"
    assert "another form" in " ".join(virtual.notes)
    [short] = hosts(node({"nvidia.com/gpu.product": "A100"}, {"nvidia.com/gpu": "4"})).values()
    assert "may also be" in " ".join(short.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spec": {"unschedulable": True}}, "cordoned"),
        ({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "not ready"),
    ],
)
def test_nodes_out_of_service_say_why(change: dict[str, Any], reason: str) -> None:
    one = node(product("NVIDIA-H200", 8, 143771), {"nvidia.com/gpu": "8"})
    for key, value in change.items():
        one[key] |= value
    [host] = hosts(one).values()
    assert host.out_of_service == reason


def test_gpus_of_no_product_and_accelerators_of_other_kinds_are_named() -> None:
    [bare] = hosts(node({}, {"nvidia.com/gpu": "8"})).values()
    assert "without a product label" in (bare.problem or "")
    [other] = hosts(node({}, {"habana.ai/gaudi": "8"})).values()
    assert "habana.ai/gaudi" in (other.problem or "")
    [none] = hosts(node({}, {"cpu": "8"})).values()
    assert none.no_gpu


def test_an_unlisted_card_is_planned_from_its_labels() -> None:
    labels = product(
        "NVIDIA-X900", 8, 200000, **{"nvidia.com__gpu.compute.major": "10", "nvidia.com__gpu.compute.minor": "0"}
    )
    [host] = hosts(node(labels, {"nvidia.com/gpu": "8"})).values()
    assert gpus(host) == "8xNVIDIA-X900"


def test_labelled_gpus_that_nobody_can_have_are_a_problem_and_not_a_node_without_gpus() -> None:
    [loading] = hosts(node(product("NVIDIA-H200", 8, 143771), {"nvidia.com/gpu": "0"})).values()
    assert "8 GPUs are labelled and none is allocatable" in (loading.problem or "")
    [invalid] = hosts(node(product("NVIDIA-H200-MIG-INVALID", 8, 0), {"nvidia.com/gpu": "0"})).values()
    assert "strategy" in (invalid.hint or "")


def test_lists_without_kinds_are_nodes() -> None:
    bare = node(product("NVIDIA-H200", 8, 143771), {"nvidia.com/gpu": "8"})
    del bare["kind"]
    [host] = hosts({"items": [bare]}).values()
    assert gpus(host) == "8xH200"


# Dynamic Resource Allocation


def test_slices_of_both_vendors_and_only_the_newest_generation() -> None:
    found = {host.name: host for host in load_hosts(SAMPLES / "resourceslices.json")}
    assert {name: gpus(host) for name, host in found.items()} == {"b200-1": "7xB200", "mi355x-1": "8xMI355X"}
    assert "gpu-5 is tainted" in " ".join(found["b200-1"].notes)


def test_older_versions_keep_devices_in_a_box() -> None:
    document = json.loads((SAMPLES / "resourceslices.json").read_text())
    for item in document["items"]:
        item["apiVersion"] = "resource.k8s.io/v1beta1"
        item["spec"]["devices"] = [{"name": one.pop("name"), "basic": one} for one in item["spec"]["devices"]]
    found = hosts(document)
    assert gpus(found["b200-1"]) == "7xB200"


def test_possible_partitions_do_not_count_beside_the_whole_gpus() -> None:
    def entry(name: str, kind: str, **attributes: str) -> dict[str, Any]:
        return {
            "name": name,
            "attributes": {"type": {"string": kind}, "productName": {"string": "NVIDIA H200"}}
            | {key: {"string": value} for key, value in attributes.items()},
            "capacity": {"memory": {"value": "71424Mi" if kind == "mig" else "143771Mi"}},
        }

    def published(*devices: dict[str, Any]) -> dict[str, Any]:
        spec = {"driver": "gpu.nvidia.com", "nodeName": "n1", "pool": {"name": "n1"}, "devices": list(devices)}
        return {"kind": "ResourceSlice", "spec": spec}

    part = entry("gpu-0-mig-9-0-4", "mig", profile="3g.71gb", uuid="MIG-1")
    [both] = hosts(published(entry("gpu-0", "gpu", uuid="GPU-0"), part)).values()
    assert gpus(both) == "1xH200"
    [alone] = hosts(published(part)).values()
    assert gpus(alone) == "1xH200 MIG 3g.71gb"
    modes = [
        entry(f"gpu-0-{mode}", "amdgpu" if mode == "spx" else "amdgpu-partition", computePartition=mode, pciAddr="0:1")
        for mode in ("spx", "dpx", "cpx")
    ]
    for mode in modes:
        mode["attributes"]["productName"]["string"] = "AMD_Instinct_MI300X_OAM"
        mode["capacity"]["memory"]["value"] = "196592Mi"
    automatic = published(*modes)
    automatic["spec"]["driver"] = "gpu.amd.com"
    [divisible] = hosts(automatic).values()
    assert gpus(divisible) == "1xMI300X"


# Slurm


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


# Tools on a host

XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">
<nvidia_smi_log>
  <driver_version>580.159.04</driver_version><cuda_version>13.0</cuda_version><attached_gpus>2</attached_gpus>
  <gpu id="00000000:1B:00.0">
    <product_name>NVIDIA H200</product_name><uuid>GPU-aa</uuid>
    <mig_mode><current_mig>{mig}</current_mig></mig_mode>
    <mig_devices>{slices}</mig_devices>
    <pci><pci_device_id>233510DE</pci_device_id><pci_bus_id>00000000:1B:00.0</pci_bus_id></pci>
    <fb_memory_usage>
      <total>143771 MiB</total><reserved>615 MiB</reserved><used>5120 MiB</used><free>138036 MiB</free>
    </fb_memory_usage>
    <ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>
    <processes>
      <process_info>
        <pid>4711</pid><process_name>python3</process_name><used_memory>4096 MiB</used_memory>
      </process_info>
    </processes>
  </gpu>
</nvidia_smi_log>
"""
SLICE = """<mig_device><index>{0}</index><uuid>MIG-{0}</uuid>
<device_attributes><shared><multiprocessor_count>60</multiprocessor_count></shared></device_attributes>
<fb_memory_usage><total>71424 MiB</total><used>1 MiB</used><free>71423 MiB</free></fb_memory_usage></mig_device>"""


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


# The doors


def test_one_host_serves_gpus_at_and_several_point_to_fleet() -> None:
    assert str(resolve_gpus(f"@{SAMPLES / 'amd-smi.json'}")) == "8xMI325X"
    with pytest.raises(BadSnapshot) as caught:
        resolve_gpus(f"@{SAMPLES / 'nodes.json'}")
    assert "m35-plan fleet" in (caught.value.hint or "")


# Damage


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "{}", "7", "hello", "a: b", "- 1", "<x/>", "<nvidia_smi_log", "\x00\x01", "[[[[",
        '<!DOCTYPE x [<!ENTITY a "b">]><nvidia_smi_log>&a;</nvidia_smi_log>', '{"kind": "List", "items": 5}',
        "&a [*a, *a]", "a: &a [*a]", '{"kind": "Node", "metadata": 5, "spec": 7, "status": []}', '{"card0": 7}',
    ],
)  # fmt: skip
def test_what_is_not_an_inventory_is_refused_without_a_traceback(text: str) -> None:
    try:
        found = read_hosts(text.encode())
    except M35Error as error:
        assert error.hint
    else:
        assert all(host.report is None or host.report.gpu_set is None for host in found)


@pytest.mark.parametrize(
    "text",
    ['{"kind": "List", "items": []}', "[]", '{"nodes": []}', '{"Reservations": []}', "kind: List\nitems: []\n",
     '{"kind": "PodList", "items": [{"kind": "Pod"}]}'],
)  # fmt: skip
def test_a_list_without_a_node_is_called_that(text: str) -> None:
    with pytest.raises(BadSnapshot, match="is a list that holds no node"):
        read_hosts(text.encode())


def test_absurd_counts_and_sizes_make_no_plan() -> None:
    [many] = hosts(node(product("NVIDIA-H200", 8, 143771), {"nvidia.com/gpu": "99999999"})).values()
    assert "more than any host has" in (many.problem or "")
    [slurm] = hosts("NodeName=n1 Gres=gpu:h200:999999 State=IDLE").values()
    assert "more than any host has" in (slurm.problem or "")
    deep = "[" * 100_000
    with pytest.raises(BadSnapshot):
        read_hosts(deep.encode())


SEEDS = [path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.is_file()] + [
    XML.format(mig="Enabled", slices=SLICE.format(0)).encode()
]


def test_a_total_below_what_the_driver_keeps_is_no_size() -> None:
    host = hosts("index, name, memory.total [MiB]\n0, NVIDIA L40S, 46 MiB\n")["host"]
    assert host.report is not None
    with pytest.raises(NoGpuFound):
        gpus_of(host.report)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 12))
def test_any_damage_is_an_error_of_ours_or_hosts(content: bytes, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    text = bytearray(content)
    for _ in range(changes):
        place = chance.randrange(len(text))
        piece = chance.choice(
            [b"", b"-1", b"null", b"9" * 30, b"[]", b"{}", b"\x1b[31m", b"\xff", b"true", b"1e999", b'"']
        )
        text[place : place + chance.randrange(12)] = piece
    try:
        found = read_hosts(bytes(text))
    except M35Error:
        return
    for host in found:
        assert host.name.isprintable()
        if host.report is not None:
            try:
                gpus_of(host.report)
            except NoGpuFound:
                continue


DOCUMENTS = [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json"))] + [
    {"nodes": [{"name": "n1", "gres": "gpu:h200:8", "state": ["IDLE"], "tres_used": "gres/gpu=2", "reason": "x"}]},
    {
        "card0": {
            "Card Series": "AMD Instinct MI300X OAM",
            "Card Model": "0x74a1",
            "VRAM Total Memory (B)": "206141652992",
        }
    },
    {
        "Reservations": [
            {"Instances": [{"InstanceId": "i", "InstanceType": "p5.48xlarge", "State": {"Name": "running"}}]}
        ]
    },
    [{"host": "a", "gpus": "8xH200", "gpu_memory": "100GiB"}],
]
ODD = [
    None,
    True,
    -1,
    0,
    1e30,
    10**20,
    "",
    "x",
    "9" * 50,
    [],
    {},
    [None],
    {"a": 1},
    "\x1b[31m",
    "8",
    "-5",
    "0x74a1",
    [[]],
]


def damaged(document: Any, chance: random.Random) -> Any:
    """A copy with a few values replaced or missing."""
    copy = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 6)):
        place: Any = None
        key: Any = None
        inner: Any = copy
        while isinstance(inner, dict | list) and inner and chance.random() < 0.85:
            place, key = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            inner = place[key]
        if place is not None and chance.random() < 0.2:
            del place[key]
        elif place is not None:
            place[key] = json.loads(json.dumps(chance.choice(ODD)))
    return copy


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.integers(0, 2**32))
def test_documents_with_any_value_anywhere_are_hosts_or_errors_of_ours(document: Any, seed: int) -> None:
    try:
        found = read_hosts(json.dumps(damaged(document, random.Random(seed))).encode())
    except M35Error:
        return
    for host in found:
        for text in (host.name, *host.notes, host.problem or "", host.hint or "", host.out_of_service or ""):
            assert text.isprintable()
        for gpu in host.report.gpus if host.report else ():
            assert all(text.isprintable() for text in (gpu.name, gpu.uuid, gpu.pci_bus_id, gpu.architecture or ""))
        if host.report is not None:
            try:
                gpus_of(host.report)
            except NoGpuFound:
                continue


@pytest.mark.parametrize(
    ("page", "instead"),
    [
        ("==============NVSMI LOG==============\n\nDriver Version : 580.1\nGPU 00000000:18:00.0\n", "nvidia-smi -q -x"),
        ("+---+\n| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06 |\n", "nvidia-smi -q -x"),
        ("====== ROCm System Management Interface ======\nDevice  Node\n", "rocm-smi -a --json"),
        ("GPU: 0\n    ASIC:\n        MARKET_NAME: AMD Instinct MI300X\n", "amd-smi static --json"),
        ("NAME   STATUS   ROLES    AGE   VERSION\nnode-1 Ready    <none>   3d    v1.31\n", "kubectl get nodes -o json"),
        ("Name:               node-1\nRoles:              worker\n", "kubectl get nodes -o json"),
        ("PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\ngpu up 1-00:00:00 2 idle n[1-2]\n", "scontrol show node"),
    ],
)
def test_a_page_for_people_is_answered_with_the_form_that_is_read(page: str, instead: str) -> None:
    with pytest.raises(BadSnapshot, match="prints for people") as caught:
        read_hosts(page.encode())
    assert caught.value.hint == f"`{instead}` is read"
