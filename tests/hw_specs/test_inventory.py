"""What clusters and hosts print becomes hosts with GPUs: each format, what it leaves open, and any damage to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from hw_specs.errors import BadSnapshot
from hw_specs.inventory import load_hosts, read_hosts
from hw_specs.resolve import resolve_gpus

from .inventories import SAMPLES, gpus, hosts, node, product


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


def test_one_host_serves_gpus_at_and_several_point_to_fleet() -> None:
    assert str(resolve_gpus(f"@{SAMPLES / 'amd-smi.json'}")) == "8xMI325X"
    with pytest.raises(BadSnapshot) as caught:
        resolve_gpus(f"@{SAMPLES / 'nodes.json'}")
    assert "m35-plan fleet" in (caught.value.hint or "")
