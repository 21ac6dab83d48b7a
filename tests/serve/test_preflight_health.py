"""Checks of GPUs' health, CPUs, NUMA nodes, folders and words in variables, on machines that are played by files."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from hw_specs.detect.devices import PairLink
from planner.serve.preflight import folders, links, processors
from planner.serve.preflight.nvidia_smi import gpus_of

from .test_preflight_host import check, subject

QUERY = """
==============NVSMI LOG==============

Driver Version                         : 580.159.04

Attached GPUs                          : 2
GPU 00000000:3B:00.0
    Product Name                       : NVIDIA H200
    GPU Recovery Action                : None
    Clocks Event Reasons
        Idle                           : Active
        SW Power Cap                   : Not Active
        HW Slowdown                    : Not Active
            HW Thermal Slowdown        : Not Active
            HW Power Brake Slowdown    : Not Active
        SW Thermal Slowdown            : Not Active
    Compute Mode                       : Default
    ECC Errors
        Volatile
            SRAM Correctable           : 0
            SRAM Uncorrectable SEC-DED : 0
            DRAM Correctable           : 177
            DRAM Uncorrectable         : 0
        Aggregate
            DRAM Uncorrectable         : 3
        Channel Repair Pending         : No
    Retired Pages
        Pending Page Blacklist         : N/A
    Remapped Rows
        Correctable Error              : 1
        Uncorrectable Error            : 1
        Pending                        : No
        Remapping Failure Occurred     : No
    GPU Power Readings
        Current Power Limit            : 700.00 W
        Default Power Limit            : 700.00 W
    Fabric
        State                          : Completed
        Status                         : Success
        Health
            Summary                    : Healthy
            Route Unhealthy            : False
"""
"""As driver 580 prints it, most lines left out: old errors and mended rows are no news."""


def smi(folder: Path, text: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "said").write_text(text)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat {folder}/said\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def dmesg(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dmesg.txt").write_text(text)
    (folder / "dmesg").write_text(f"#!/bin/sh\ncat {folder}/dmesg.txt\n")
    (folder / "dmesg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_healthy_gpu_passes_with_old_errors_that_were_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dmesg(tmp_path, "", monkeypatch)
    result = check("gpu_health", subject(smi(tmp_path, QUERY)))
    assert result is not None and (result.status, result.seen) == ("pass", "no memory error and no slowdown of 1 GPU")
    assert dict(gpus_of(QUERY)[0])["ECC Errors/Volatile/DRAM Correctable"] == "177"


@pytest.mark.parametrize(
    ("line", "value", "status", "words"),
    [
        ("GPU Recovery Action                : ", "Drain and Reset", "fail", "asks for `Drain and Reset`"),
        ("Compute Mode                       : ", "Prohibited", "fail", "no program may use it"),
        ("Compute Mode                       : ", "Exclusive_Process", "pass", "of 1 GPU"),
        ("            DRAM Uncorrectable         : ", "2", "warn", "Volatile, DRAM Uncorrectable is 2"),
        ("SRAM Uncorrectable SEC-DED : ", "1", "warn", "SEC-DED is 1"),
        ("        Pending                        : ", "Yes", "warn", "Remapped Rows, Pending is Yes"),
        ("Remapping Failure Occurred     : ", "Yes", "warn", "Remapping Failure Occurred is Yes"),
        ("Pending Page Blacklist         : ", "Yes", "warn", "Pending Page Blacklist is Yes"),
        ("Channel Repair Pending         : ", "Yes", "warn", "Channel Repair Pending is Yes"),
        ("HW Thermal Slowdown        : ", "Active", "warn", "held back: HW Thermal Slowdown"),
        ("SW Thermal Slowdown            : ", "Active", "warn", "held back: SW Thermal Slowdown"),
        ("HW Power Brake Slowdown    : ", "Active", "warn", "Power Brake"),
        ("SW Power Cap                   : ", "Active", "pass", "of 1 GPU"),
        ("Current Power Limit            : ", "400.00 W", "warn", "400 W of its usual 700 W, below the 65%"),
        ("Current Power Limit            : ", "600.00 W", "pass", "600 W of its usual 700 W, and prompts may take"),
        ("Current Power Limit            : ", "650.00 W", "pass", "; GPU 0 may draw 650 W of its usual 700 W"),
        ("Current Power Limit            : ", "[N/A]", "pass", "of 1 GPU"),
        ("Route Unhealthy            : ", "True", "warn", "Route Unhealthy is True"),
    ],
)
def test_what_a_gpu_reports_is_judged(
    line: str, value: str, status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dmesg(tmp_path, "", monkeypatch)
    before, found, after = QUERY.partition(line)
    assert found
    text = before + line + value + "\n" + after.partition("\n")[2]
    result = check("gpu_health", subject(smi(tmp_path, text)))
    assert result is not None and result.status == status and words in result.seen
    assert bool(result.hint) == (status != "pass")


@pytest.mark.parametrize(
    ("hidden", "status", "words"), [("CUDA_VISIBLE_DEVICES=0", "pass", "of 1 GPU"), (None, "fail", "asks for `Reset`")]
)
def test_a_gpu_that_is_left_out_may_be_ill(
    hidden: str | None, status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dmesg(tmp_path, "", monkeypatch)
    one = QUERY.replace("    GPU Recovery", "    PCI\n        Bus Id                         : {}\n    GPU Recovery")
    ill = one[one.index("GPU 00000000") :].replace("Action                : None", "Action                : Reset")
    given = subject(smi(tmp_path, one.format("00000000:3B:00.0") + ill.format("00000000:C1:00.0")))
    vars(given)["report"] = report(("00000000:3B:00.0", None), ("00000000:C1:00.0", hidden))
    result = check("gpu_health", given)
    assert result is not None and result.status == status and words in result.seen
    dmesg(tmp_path, STAMP + "NVRM: Xid (PCI:0000:c1:00): 79, GPU has fallen off the bus.\n", monkeypatch)
    (tmp_path / "said").write_text(one.format("00000000:3B:00.0"))
    del vars(given)["nvidia_query"]
    result = check("gpu_health", given)
    assert result is not None and result.status == ("pass" if hidden else "warn")


def test_an_unhealthy_fabric_is_told(tmp_path: Path) -> None:
    result = check("fabric", subject(smi(tmp_path, QUERY.replace(": Healthy", ": Unhealthy"))))
    assert result is not None and result.status == "warn" and "`Unhealthy`" in result.seen


STAMP = "2026-01-02T03:04:05,000000+00:00 "


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', GPU has fallen off the bus.", "warn"),
        ("NVRM: Xid (PCI:0000:3b:00): 94, Contained memory error", "warn"),
        ("amdgpu 0000:c1:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1", "warn"),
        # A program's own fault leaves the GPU as it was.
        ("NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=python, MMU Fault", "pass"),
        ("usb 1-1: new high-speed USB device", "pass"),
    ],
)
def test_the_kernel_s_words_of_a_broken_gpu_are_read(
    line: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dmesg(tmp_path, STAMP + line + "\n", monkeypatch)
    result = check("gpu_health", subject(smi(tmp_path, QUERY)))
    assert result is not None and result.status == status
    assert status == "pass" or "2026-01-02T03:04:05" in result.seen


def amd_gpu(root: Path, *, errors: int, node: str = "0") -> Path:
    device = root / "0000:3b:00.0"
    (device / "ras").mkdir(parents=True)
    for name, text in (("class", "0x120000"), ("vendor", "0x1002"), ("numa_node", node)):
        (device / name).write_text(f"{text}\n")
    (device / "ras" / "umc_err_count").write_text(f"ue: {errors}\nce: 4\n")
    return root


def machine(
    root: Path, *, cpus: int, siblings: int = 1, gpu_node: str = "0", nodes: tuple[str, ...] = ("0-63",)
) -> Path:
    for number in range(cpus):
        folder = root / "cpu" / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        first = number - number % siblings
        (folder / "thread_siblings_list").write_text(f"{first}-{first + siblings - 1}\n")
    for number, text in enumerate(nodes):
        (root / "node" / f"node{number}").mkdir(parents=True)
        (root / "node" / f"node{number}" / "cpulist").write_text(f"{text}\n")
    return amd_gpu(root / "pci", errors=0, node=gpu_node)


def on(root: Path, monkeypatch: pytest.MonkeyPatch, allowed: set[int], pci: Path, quota: float | None = None) -> None:
    monkeypatch.setattr(processors, "_SYSTEM", root)
    monkeypatch.setattr(processors, "_PCI", pci)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _pid: allowed)
    monkeypatch.setattr(processors.cgroup, "cpu_quota", lambda: quota)


@pytest.mark.parametrize(
    ("cpus", "siblings", "quota", "gpus", "status", "words"),
    [
        (64, 2, None, "8xH200", "pass", "32 cores (64 CPUs), 10 needed"),
        (16, 2, None, "8xH200", "warn", "8 cores (16 CPUs) for 10 processes"),
        (64, 1, 4.0, "8xH200", "warn", "time of 4 of them for 10"),
        (64, 1, 10.0, "8xH200", "pass", "time of 10 of them, 10 needed"),
        (2, 1, None, "1xMI300X", "warn", "2 cores (2 CPUs) for 3"),
        (3, 1, None, "1xMI300X", "pass", "3 needed"),
    ],
)
def test_each_process_needs_a_core(
    cpus: int, siblings: int, quota: float | None, gpus: str, status: str, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pci = machine(tmp_path, cpus=cpus, siblings=siblings)
    on(tmp_path, monkeypatch, set(range(cpus)), pci, quota)
    result = check("cpus", subject({}, gpus=gpus))
    assert result is not None and result.status == status and words in result.seen


@pytest.mark.parametrize(
    ("allowed", "gpu_node", "status"),
    [(range(4), "0", "pass"), (range(4, 8), "0", "warn"), (range(8), "1", "pass"), (range(4), "-1", "skip")],
)
def test_a_start_away_from_its_gpus_is_told(
    allowed: range, gpu_node: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pci = machine(tmp_path, cpus=8, gpu_node=gpu_node, nodes=("0-3", "4,5-7"))
    on(tmp_path, monkeypatch, set(allowed), pci)
    result = check("numa", subject({}))
    assert result is not None and result.status == status


def report(*gpus: tuple[str, str | None]) -> SimpleNamespace:
    """What a driver says of GPUs: address and what hides each."""
    seen = [SimpleNamespace(pci_bus_id=address, hidden_by=hidden) for address, hidden in gpus]
    return SimpleNamespace(gpus=seen, selection=SimpleNamespace(chosen=[one for one in seen if not one.hidden_by]))


@pytest.mark.parametrize(
    ("hidden", "gpus", "status"),
    [("CUDA_VISIBLE_DEVICES=0", "2xH200", "pass"), (None, "2xH200", "warn"), (None, "1xH200", "pass")],
)
def test_a_job_on_half_a_node_needs_no_way_to_the_other_half(
    hidden: str | None, gpus: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pci = machine(tmp_path, cpus=8, nodes=("0-3", "4-7"))
    far = pci / "0000:c1:00.0"
    far.mkdir()
    for name, text in (("class", "0x030200"), ("vendor", "0x10de"), ("numa_node", "1")):
        (far / name).write_text(f"{text}\n")
    on(tmp_path, monkeypatch, {0, 1, 2, 3}, pci)
    given = subject({}, gpus=gpus, max_model_len=8192, kv_cache_dtype="fp8")
    vars(given)["report"] = report(("00000000:3B:00.0", None), ("00000000:C1:00.0", hidden))
    result = check("numa", given)
    assert result is not None and result.status == status


def test_one_node_has_no_far_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(tmp_path, monkeypatch, {0}, machine(tmp_path, cpus=1))
    assert check("numa", subject({})) is None


def room(monkeypatch: pytest.MonkeyPatch, *, free: int = 2**40, flags: int = 0, inodes: int = 10) -> None:
    answer = SimpleNamespace(f_bavail=free, f_frsize=1, f_flag=flags, f_files=100, f_favail=inodes)
    monkeypatch.setattr(folders.os, "statvfs", lambda _path: answer)


@pytest.mark.parametrize(
    ("name", "disk", "status", "words"),
    [
        ("temporary_files", {}, "pass", "free"),
        ("temporary_files", {"free": 0}, "fail", "is full"),
        ("temporary_files", {"inodes": 0}, "fail", "is full"),
        ("temporary_files", {"free": 2**28}, "warn", "0.25 GiB free"),
        ("compiled_code", {}, "pass", "free"),
        ("compiled_code", {"flags": os.ST_NOEXEC}, "fail", "mounted noexec"),
        ("compiled_code", {"free": 2**20}, "warn", "where compiled kernels go"),
        ("compiled_code", {"inodes": 0}, "warn", "where compiled kernels go"),
    ],
)
def test_folders_need_room_and_code_must_run(
    name: str, disk: Mapping[str, int], status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, **disk)
    result = check(name, subject({"HOME": str(tmp_path)}))
    assert result is not None and result.status == status and words in result.seen


def test_sockets_have_short_names_and_a_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    for env, words in (
        ({"TMPDIR": str(deep)}, "have names of"),
        ({"VLLM_RPC_BASE_PATH": str(tmp_path / "gone")}, "not a folder in which sockets"),
    ):
        result = check("temporary_files", subject(env))
        assert result is not None and result.status == "fail" and words in result.seen
    # A folder that is not there is passed over by Python, and not by compilers.
    result = check("temporary_files", subject({"TMPDIR": str(tmp_path / "gone")}))
    assert result is not None and result.status == "warn" and "cannot be written" in result.seen


def test_a_cache_that_a_variable_names_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE"):
        result = check("compiled_code", subject({name: str(tmp_path / "file" / "x"), "HOME": str(tmp_path)}))
        assert result is not None and result.status == "fail" and result.seen.startswith(name)
    result = check("compiled_code", subject({"XDG_CACHE_HOME": str(tmp_path / "file" / "x"), "HOME": str(tmp_path)}))
    assert result is not None and result.status == "fail" and result.seen.startswith("XDG_CACHE_HOME")


@pytest.mark.parametrize(
    ("name", "env", "status", "words"),
    [
        ("variable_choices", {"VLLM_WORKER_MULTIPROC_METHOD": "thread"}, "fail", "`thread`"),
        ("variable_choices", {"VLLM_LOGGING_LEVEL": "VERBOSE"}, "fail", "`VERBOSE`"),
        ("variable_choices", {"VLLM_LOGGING_LEVEL": "Debug"}, None, ""),
        ("variable_choices", {"VLLM_KV_CACHE_LAYOUT": "hnd"}, "fail", "`hnd`"),
        ("variable_choices", {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": "container, search"}, "fail", "for `search`"),
        ("variable_choices", {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": "container, code_interpreter,"}, None, ""),
        ("variable_choices", {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": ""}, None, ""),
        ("variable_files", {"VLLM_LOGGING_CONFIG_PATH": "/nowhere/l.json"}, "fail", "no such file"),
        ("variable_files", {"VLLM_NCCL_SO_PATH": "/nowhere/libnccl.so.2"}, "fail", "no such file"),
        ("variable_files", {"VLLM_NCCL_SO_PATH": "/usr/lib"}, "fail", "no such file"),
        ("variable_ports", {"VLLM_PORT": ""}, "fail", "not a port"),
        ("variable_ports", {"MASTER_PORT": ""}, None, ""),
        ("variable_files", {"SSL_CERT_FILE": "/nowhere/ca.pem"}, "warn", "nothing can be fetched"),
        ("variable_files", {"VLLM_LOGGING_CONFIG_PATH": __file__}, None, ""),
        (
            "variable_files", {"VLLM_LOGGING_CONFIG_PATH": __file__, "VLLM_CONFIGURE_LOGGING": "0"}, "fail",
            "refuses both",
        ),
        ("debugging", {"CUDA_LAUNCH_BLOCKING": "1"}, "warn", "CUDA_LAUNCH_BLOCKING is set"),
        ("debugging", {"CUDA_LAUNCH_BLOCKING": "0"}, None, ""),
        ("allocator", {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments=True"}, "fail", "torch raises"),
        ("allocator", {"PYTORCH_ALLOC_CONF": "expandable_segments:true"}, "fail", "torch raises"),
        ("allocator", {"PYTORCH_ALLOC_CONF": "max_split_size_mb:10"}, "fail", "max_split_size_mb:10"),
        ("allocator", {"PYTORCH_ALLOC_CONF": "garbage_collection_threshold:1.5"}, "fail", "torch raises"),
        ("allocator", {"PYTORCH_ALLOC_CONF": "max_split_size_mb: 512, garbage_collection_threshold:0.8"}, None, ""),
        ("allocator", {"PYTORCH_ALLOC_CONF": "roundup_power2_divisions:[256:1,512:2,>:4]"}, None, ""),
        ("nccl", {"NCCL_IB_DISABLE": "1"}, "pass", "NCCL_IB_DISABLE=1"),
    ],
)  # fmt: skip
def test_words_in_variables_are_judged(name: str, env: dict[str, str], status: str | None, words: str) -> None:
    result = check(name, subject(env))
    assert (result.status if result else None) == status
    assert result is None or words in result.seen


def test_between_nodes_infiniband_counts() -> None:
    result = check("nccl", subject({"NCCL_IB_DISABLE": "1"}, gpus="2x8xH100"))
    assert result is not None and result.status == "warn"


@pytest.mark.parametrize(
    ("what", "status"),
    [("RLIMIT_AS", "fail"), ("RLIMIT_DATA", "fail"), ("RLIMIT_CPU", "fail"), ("RLIMIT_FSIZE", "warn")],
)
def test_limits_of_addresses_and_files_are_told(what: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = getattr(resource, what)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**32 if kind == limited else resource.RLIM_INFINITY,) * 2)
    result = check("limits", subject({}))
    assert result is not None and result.status == status and "4" in result.seen


def test_a_limit_that_stops_every_start_is_not_hidden_by_a_smaller_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen on an H200: 20,000 open files were warned of, and 12 GB of addresses were not."""
    small = {resource.RLIMIT_AS: 12 * 10**9, resource.RLIMIT_NOFILE: 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (small.get(kind, resource.RLIM_INFINITY),) * 2)
    result = check("limits", subject({}))
    assert result is not None and result.status == "fail" and "addresses" in result.seen


@pytest.mark.parametrize(("kind", "gpus", "bypassed"), [("nvlink", "8xH200", True), ("pcie", "8xH200", False),
                                                        ("nvlink", "2x8xH100", False)])  # fmt: skip
def test_nothing_on_pcie_stands_between_gpus_with_links(kind: str, gpus: str, bypassed: bool) -> None:
    given = subject({}, gpus=gpus)
    pair = PairLink(vendor="nvidia", a=0, b=1, kind=kind)  # type: ignore[arg-type]
    given.__dict__["report"] = type("Report", (), {"links": (pair,)})()
    assert links._bypassed(given) is bypassed
