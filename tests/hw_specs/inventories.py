"""Inventories in tests: where the samples are, and how one is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hw_specs.inventory import read_hosts
from hw_specs.inventory.host import Host
from hw_specs.resolve import gpus_of

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
