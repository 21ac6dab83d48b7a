"""One bad entry of an inventory is named, and the rest is planned: every format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hw_specs.errors import BadSnapshot
from hw_specs.inventory import read_hosts

H200_NODE = {
    "kind": "Node",
    "metadata": {"name": "good", "labels": {"nvidia.com/gpu.product": "NVIDIA-H200"}},
    "status": {"capacity": {"nvidia.com/gpu": "8"}},
}
GARBLED = H200_NODE | {"metadata": {"name": "c"}, "status": {"capacity": {"nvidia.com/gpu": "eight"}}}
MI300X = {"asic": {"market_name": "AMD Instinct MI300X", "device_id": "0x74a1"}, "vram": {"size": "196592 MB"}}
P5 = {"InstanceId": "good", "InstanceType": "p5.48xlarge"}
SCONTROL = """NodeName=good
   Gres=gpu:h200:8(S:0-1)
   State=IDLE
NodeName=bad
   Gres=gpu:h200:many
   State=IDLE
"""

ENTRIES: dict[str, tuple[Any, str, str]] = {
    "nodes": ({"kind": "List", "items": [H200_NODE, None, "x"]}, "host", "entries 2, 3 are not objects"),
    "a node's count": ({"kind": "List", "items": [H200_NODE, GARBLED]}, "c", "`nvidia.com/gpu: eight` is not a count"),
    "a list, no field": ("- {host: good, gpus: 8xH200}\n- {host: b}", "b", "its GPUs are not said"),
    "a list, another field": ("- {host: good, gpus: 8xH200}\n- {host: b, gpu: 8xH200}", "b", "`gpu` is not a field"),
    "a list, no host": ("- {host: good, gpus: 8xH200}\n- what", "host-1", "not a host with its GPUs"),
    "a list, a wrong size": (
        "- {host: good, gpus: 8xH200}\n- {host: b, gpus: 8xH200, gpu_memory: much}", "b", "memory size",
    ),
    "documents": ("- {host: good, gpus: 8xH200}\n---\nfoo: 1", "host", "document 2 is not an inventory"),
    "documents in JSON": (f"{json.dumps(H200_NODE)}\n---\n{{}}", "host", "document 2 is not an inventory"),
    "a snapshot among nodes": (
        f'{json.dumps(H200_NODE)}\n---\n{{"schema_version": "9", "gpus": []}}',
        "host", "document 2 has schema version 9",
    ),
    "scontrol": (SCONTROL, "bad", "`gpu:h200:many` in its Gres says no count"),
    "scontrol --json": (
        {"nodes": [{"name": "good", "gres": "gpu:h200:8"}, 5, {"name": "b", "gres": {"gpu": 8}}]},
        "b", "its `gres` is not text",
    ),
    "scontrol --json, none": ({"nodes": [{"name": "good", "gres": "gpu:h200:8"}, 5]}, "host", "entry 2 is not a node"),
    "aws": ({"Reservations": [{"Instances": [P5, None]}]}, "host", "entry 2 is not an instance"),
    "aws, no type": ({"Reservations": [{"Instances": [P5, {"InstanceId": "b"}]}]}, "b", "no type of this instance"),
    "aws, a newer family": (
        {"Reservations": [{"Instances": [P5, {"InstanceId": "b", "InstanceType": "p9.48xlarge"}]}]},
        "b", "`p9.48xlarge` is not in the table",
    ),
    "gcloud": (
        [{"name": "good", "machineType": "zones/z/machineTypes/a3-highgpu-8g"}, {"name": "b", "machineType": 5}],
        "b", "no type of this instance",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ENTRIES)
def test_a_bad_entry_is_named_and_the_others_are_planned(what: str) -> None:
    value, name, problem = ENTRIES[what]
    text = value if isinstance(value, str) else json.dumps(value)
    found = read_hosts(text.encode(), name="host")
    good = [one for one in found if one.name == "good"]
    assert good and (good[0].report is not None or good[0].gpus is not None)
    bad = [one for one in found if one.name == name and one.problem]
    assert len(bad) == 1
    assert problem in str(bad[0].problem)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "GPU 0: NVIDIA H200 (UUID: GPU-1)\nUnable to determine the device handle for gpu 0000:01:00.0\n",
            "line 2 is not a GPU: Unable to determine",
        ),
        (json.dumps([{"gpu": 0, **MI300X}, None]), "entry 2 is not a GPU"),
        (json.dumps([None, {"gpu": 0, **MI300X}]), "entry 1 is not a GPU"),
    ],
)
def test_a_bad_gpu_of_one_host_is_noted(text: str, note: str) -> None:
    (host,) = read_hosts(text.encode(), name="host")
    assert host.report is not None
    assert len(host.report.gpus) == 1
    assert any(note in one for one in host.notes)


@pytest.mark.parametrize(
    "text",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "No devices were found\n",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.90\n",
        "bash: line 1: nvidia-smi: command not found\n",
        "ssh: connect to host n3 port 22: Connection refused\n",
        "cat: /sys/module/amdgpu/initstate: No such file or directory\nERROR:root:Driver not initialized",
    ],
)
def test_what_a_failed_tool_says_is_the_host_s_problem(text: str) -> None:
    (host,) = read_hosts(text.encode(), name="host")
    assert str(host.problem).startswith("the tool failed there: ")


def test_accelerators_attached_to_a_machine_type_without_any_are_counted() -> None:
    attached = {"acceleratorType": "zones/z/acceleratorTypes/nvidia-h100-80gb", "acceleratorCount": 8}
    value = [{"name": "g", "machineType": "zones/z/machineTypes/n1-standard-8", "guestAccelerators": [attached]}]
    (host,) = read_hosts(json.dumps(value).encode())
    assert str(host.gpus) == "8xH100"


def test_a_table_with_an_endless_cell_is_refused_in_words() -> None:
    with pytest.raises(BadSnapshot, match="not an inventory"):
        read_hosts(b'name,memory.total [MiB]\n"unclosed,1\n' + b"x" * 200_000)
