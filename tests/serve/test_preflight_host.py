"""Checks of variables, links, toolchain and host, against programs and files that play the machine."""

from __future__ import annotations

import os
import pwd
import resource
import socket
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from hw_specs.detect.devices import Driver, PairLink
from planner.planning.choose import make_plan as plan
from planner.planning.request import PlanRequest
from planner.rendering.command import serve_command
from planner.serve.check import CheckResult, NamedCheck
from planner.serve.preflight import CHECKS, links
from planner.serve.preflight.subject import Subject
from planner.serve.process.endpoint import resolve_endpoint
from planner.serve.process.start_order import StartOrder

INTERFACE = next(name for _, name in socket.if_nameindex())


def subject(env: dict[str, str], *extra: str, gpus: str = "8xH200", port: int = 8000, **settings: object) -> Subject:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus), vllm_version="0.33.0", **settings))  # type: ignore[arg-type]
    order = StartOrder.of_command((*serve_command(answer).argv, *extra), env=env, port=port)
    return Subject(order=order, plan=answer)


def check(name: str, given: Subject) -> CheckResult | None:
    (named,) = [one for one in CHECKS if one.name == name]
    assert isinstance(named, NamedCheck)
    return named.result(given)


@pytest.mark.parametrize(
    ("name", "env", "status", "words"),
    [
        ("variable_ports", {"VLLM_PORT": "tcp://10.0.0.12:8000"}, "fail", "Service called vllm"),
        ("variable_ports", {"VLLM_PORT": "eight"}, "fail", "not a port"),
        ("variable_ports", {"MASTER_PORT": "70000"}, "fail", "MASTER_PORT is `70000`"),
        ("variable_ports", {"VLLM_PORT": "8000"}, "fail", "the port that the server listens at"),
        ("variable_ports", {"VLLM_PORT": "9000"}, "pass", "VLLM_PORT=9000"),
        ("allocator", {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}, "warn", "custom all-reduce"),
        ("allocator", {"PYTORCH_ALLOC_CONF": "max_split_size_mb:512, expandable_segments:True"}, "warn", "ALLOC_CONF"),
        ("allocator", {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False"}, None, ""),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": ""}, "fail", "no GPU is visible"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "-1"}, "fail", "no GPU is visible"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "MIG-1111-22"}, "warn", "the number of the slice"),
        ("visible_devices", {"HIP_VISIBLE_DEVICES": "GPU-1111-22"}, "fail", "vLLM 0.33.0 reads numbers only"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "GPU-1111-22"}, "fail", "leaves 1 GPU, 8 are needed"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0,1"}, "fail", "leaves 2 GPUs, 8 are needed"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,6"}, "fail", "named twice"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0;1"}, "fail", "not numbers with commas"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7,"}, "pass", "6,7,"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "1"}, "fail", "refuses that"),
        ("visible_devices", {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, "pass", "0,1,2"),
        ("nccl", {"NCCL_SOCKET_IFNAME": "nope0"}, "fail", "no such interface"),
        ("nccl", {"GLOO_SOCKET_IFNAME": "nope0"}, "fail", "no such interface"),
        ("nccl", {"NCCL_SOCKET_IFNAME": "^docker"}, "pass", "docker"),
        ("nccl", {"NCCL_IB_HCA": "nope5_0:1"}, "warn", "NCCL_IB_HCA is `nope5_0:1`"),
        ("nccl", {"NCCL_IB_HCA": "^nope5_0"}, "pass", "nope5_0"),
        ("gpu_override", {"HSA_OVERRIDE_GFX_VERSION": "9.4.2"}, "warn", "kernels of another GPU"),
        ("gpu_override", {}, None, ""),
        ("nccl", {"NCCL_SOCKET_IFNAME": INTERFACE}, "pass", INTERFACE),
        ("nccl", {"NCCL_P2P_DISABLE": "1"}, "warn", "slower way"),
        ("nccl", {"NCCL_P2P_LEVEL": "LOC"}, "warn", "NCCL_P2P_LEVEL is set"),
        ("nccl", {"NCCL_P2P_LEVEL": "SYS"}, "pass", "NCCL_P2P_LEVEL=SYS"),
        ("logging", {"VLLM_LOGGING_LEVEL": "ERROR"}, "warn", "VLLM_LOGGING_LEVEL is ERROR"),
        ("logging", {"VLLM_CONFIGURE_LOGGING": "0"}, "warn", "VLLM_CONFIGURE_LOGGING is 0"),
        ("logging", {"VLLM_LOGGING_LEVEL": "DEBUG"}, "pass", "DEBUG"),
        ("logging", {}, None, ""),
        ("proxy", {"http_proxy": "http://p:1", "no_proxy": ""}, "warn", "lacks localhost and 127.0.0.1"),
        ("proxy", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost,127.0.0.1"}, "pass", "spares"),
        ("proxy", {"http_proxy": "http://p:1", "no_proxy": "*"}, "pass", "spares"),
        ("proxy", {"http_proxy": "http://p:1", "no_proxy": "localhost, 127.0.0.0/8"}, "warn", "only in `127.0.0.0/8`"),
        ("proxy", {"all_proxy": "http://p:1", "no_proxy": ".localhost,127.0.0.1"}, "warn", "only in `.localhost`"),
        ("proxy", {"http_proxy": "http://p:1", "no_proxy": "localhost,10.0.0.0/8"}, "warn", "lacks 127.0.0.1"),
        ("proxy", {"http_proxy": "http://p:1", "no_proxy": "localhost,127.0.0.1,no/net,::/0"}, "pass", "spares"),
        ("proxy", {"https_proxy": "http://p:1"}, None, ""),
        ("gone_variables", {"VLLM_ATTENTION_BACKEND": "FLASH_ATTN"}, "warn", "no longer reads"),
        ("unknown_variables", {"VLLM_LOGING_LEVEL": "DEBUG"}, "warn", "the nearest one is VLLM_LOGGING_LEVEL"),
        ("unknown_variables", {"VLLM_MY_TEAM": "a"}, "pass", "VLLM_MY_TEAM"),
        ("unknown_variables", {"VLLM_ASCEND_ENABLE_NZ": "1", "VLLM_LOGGING_LEVEL": "INFO"}, None, ""),
        ("variable_numbers", {"VLLM_ENGINE_READY_TIMEOUT_S": "ten minutes"}, "fail", "not a whole number"),
        ("variable_numbers", {"VLLM_USE_V2_MODEL_RUNNER": "maybe"}, "fail", "not a whole number"),
        ("variable_numbers", {"VLLM_LOG_STATS_INTERVAL": ""}, "fail", "not a number"),
        ("variable_numbers", {"VLLM_ENGINE_READY_TIMEOUT_S": " 900", "VLLM_LOG_STATS_INTERVAL": "0.5"}, None, ""),
        ("host_ip", {"VLLM_HOST_IP": "192.0.2.7"}, "warn", "no such address"),
        ("host_ip", {"VLLM_HOST_IP": "0.0.0.0"}, "warn", "no such address"),
        ("host_ip", {"VLLM_HOST_IP": "127.0.0.1"}, "pass", "127.0.0.1"),
        ("hub", {"VLLM_USE_MODELSCOPE": "True"}, "warn", "ModelScope"),
        ("hub", {"VLLM_USE_MODELSCOPE": "False", "HF_ENDPOINT": "https://huggingface.co/"}, None, ""),
        ("hub", {"HF_ENDPOINT": "https://mirror.example"}, "warn", "weights come from there"),
        ("hub", {"HF_ENDPOINT": "mirror.example"}, "fail", "not a URL"),
    ],
)
def test_a_variable_is_judged(
    name: str, env: dict[str, str], status: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") or variable.startswith(("NCCL", "CUDA_V", "HIP_V", "VLLM_")):
            monkeypatch.delenv(variable)
    result = check(name, subject(env, port=8000))
    assert (result.status if result else None) == status
    if result is not None:
        assert words in result.seen
        assert bool(result.hint) == (status != "pass")


@pytest.mark.parametrize(
    ("gpus", "release", "variable", "reads"),
    [
        ("1xH200", "0.33.0", "CUDA_VISIBLE_DEVICES", True),
        ("1xH200", "0.23.0", "CUDA_VISIBLE_DEVICES", False),
        ("1xMI300X", "0.33.0", "CUDA_VISIBLE_DEVICES", False),
        ("1xMI300X", "0.33.0", "HIP_VISIBLE_DEVICES", False),
        ("1xMI300X", "0.33.0", "ROCR_VISIBLE_DEVICES", True),
    ],
)
def test_a_gpu_by_the_name_of_its_driver_is_for_those_that_read_it(
    gpus: str, release: str, variable: str, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA", "HIP", "ROCR"):
        monkeypatch.delenv(f"{name}_VISIBLE_DEVICES", raising=False)
    answer = plan(PlanRequest(gpus=parse_gpus(gpus), vllm_version=release))
    order = StartOrder.of_command(serve_command(answer).argv, env={variable: "GPU-1111-22"}, port=8000)
    result = check("visible_devices", Subject(order=order, plan=answer))
    assert result is not None and result.status == ("pass" if reads else "fail")
    assert reads or f"vLLM {release} reads numbers only" in result.seen


@pytest.mark.parametrize(("address", "words"), [("192.0.2.7", "no such address"), ("127.0.0.1", "cannot reach it")])
def test_ranks_of_several_nodes_meet_at_an_address_of_this_machine(address: str, words: str) -> None:
    result = check("host_ip", subject({"VLLM_HOST_IP": address}, gpus="2x8xH100"))
    assert result is not None and result.status == "fail" and words in result.seen


@pytest.mark.parametrize(("nodes", "status"), [("2", "fail"), ("1", "warn"), ("two", "warn"), ("", "warn")])
def test_a_number_of_nodes_that_is_none_leaves_the_address_to_be_judged(nodes: str, status: str) -> None:
    words = ("vllm", "serve", "m", "--nnodes", nodes)
    order = StartOrder.of_command(words, env={"VLLM_HOST_IP": "192.0.2.7"}, port=8000)
    result = check("host_ip", Subject(order=order))
    assert result is not None and result.status == status


@pytest.mark.parametrize(
    ("network", "statuses"),
    [(("--publish", "8000:8000"), ("pass", None)), (("--network", "host"), ("fail", "warn")),
     (("--net=host",), ("fail", "warn"))],
)  # fmt: skip
def test_a_container_s_own_network_has_names_of_its_own(
    network: tuple[str, ...], statuses: tuple[str | None, ...]
) -> None:
    env = {"NCCL_SOCKET_IFNAME": "nope0", "VLLM_HOST_IP": "192.0.2.7"}
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), vllm_version="0.33.0"))
    argv = ("docker", "run", *network, "vllm/vllm-openai:v0.33.0", *serve_command(answer).engine_args)
    order = StartOrder(argv=argv, env=env, target="cuda", endpoint=resolve_endpoint(argv))
    given = Subject(order=order, plan=answer)
    results = [check(name, given) for name in ("nccl", "host_ip")]
    assert tuple(result and result.status for result in results) == statuses


@pytest.mark.parametrize(
    ("spared", "status", "words"),
    [
        ("localhost,127.0.0.1", "warn", "lacks gpu7.corp.example"),
        ("localhost,127.0.0.1,.corp.example", "pass", "spares"),
        ("localhost,127.0.0.1,CORP.example", "pass", "spares"),
        ("localhost,127.0.0.1,*.corp.example", "warn", "lacks gpu7.corp.example"),
        ("localhost,127.0.0.1,orp.example", "warn", "lacks gpu7.corp.example"),
    ],
)
def test_the_address_that_is_listened_at_is_spared_with_its_domain(spared: str, status: str, words: str) -> None:
    env = {"http_proxy": "http://p:1", "no_proxy": spared}
    order = StartOrder.of_command(("vllm", "serve", "m", "--host", "gpu7.corp.example"), env=env, port=8000)
    result = check("proxy", Subject(order=order))
    assert result is not None and result.status == status and words in result.seen


def test_the_password_of_a_mirror_is_not_shown() -> None:
    result = check("hub", subject({"HF_ENDPOINT": "https://me:hunter2@mirror.example"}))
    assert result is not None and "mirror.example" in result.seen and "hunter2" not in result.seen


def test_the_stand_in_of_the_driver_s_library_is_for_the_linker_alone(tmp_path: Path) -> None:
    stubs, own = tmp_path / "lib64" / "stubs", tmp_path / "lib"
    for folder in (stubs, own):
        folder.mkdir(parents=True)
        (folder / "libcuda.so").touch()
    given = subject({"LD_LIBRARY_PATH": f"{own}:{stubs}:"})
    assert check("driver_library", given) is None
    (stubs / "libcuda.so.1").touch()
    result = check("driver_library", given)
    assert result is not None and result.status == "fail" and str(stubs) in result.seen


def test_one_gpu_or_nccl_alone_may_have_growing_segments() -> None:
    env = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    for given in (subject(env, gpus="1xMI300X"), subject(env, "--disable-custom-all-reduce")):
        result = check("allocator", given)
        assert result is not None and result.status == "pass"


def program(folder: Path, name: str, text: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.txt").write_text(text)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat {folder / name}.txt\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


FABRIC = (
    "    Fabric\n        State                             : {0}\n        Status                            : {1}\n"
)


@pytest.mark.parametrize(
    ("state", "status", "ended"),
    [
        ("Completed", "Success", "pass"),
        ("In Progress", "N/A", "fail"),
        ("Completed", "Failure", "fail"),
        ("N/A", "N/A", "pass"),
    ],
)
def test_the_fabric_s_state_is_read(state: str, status: str, ended: str, tmp_path: Path) -> None:
    env = program(tmp_path, "nvidia-smi", "GPU 00000000:3B:00.0\n" + FABRIC.format(state, status) * 2)
    result = check("fabric", subject(env))
    assert result is not None and result.status == ended
    assert ("fabricmanager" in result.hint) == (ended == "fail")


def test_gpus_without_a_way_to_each_other_are_named(tmp_path: Path) -> None:
    good = " \tGPU0\tGPU1\n GPU0\tX\tOK\n GPU1\tOK\tX\n"
    assert "2 GPUs" in check("peer_access", subject(program(tmp_path, "nvidia-smi", good))).seen  # type: ignore[union-attr]
    bad = check("peer_access", subject(program(tmp_path, "nvidia-smi", good.replace("OK", "CNS"))))
    assert bad is not None and bad.status == "warn" and "GPU0, GPU1" in bad.seen


@pytest.mark.parametrize(("kind", "status"), [("DMA", "warn"), ("DMA-FQ", "warn"), ("identity", "pass"), ("", "pass")])
def test_a_translating_iommu_is_seen(kind: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "0000:3b:00.0"
    (device / "iommu_group").mkdir(parents=True)
    for name, text in (("class", "0x030200"), ("vendor", "0x10de"), ("iommu_group/type", kind)):
        (device / name).write_text(f"{text}\n")
    monkeypatch.setattr(links, "_PCI", tmp_path)
    result = check("iommu", subject({}))
    assert result is not None and result.status == status


@pytest.mark.parametrize(
    ("torch", "runtime", "status", "words"),
    [
        ("2.11.0+cu130", "CUDA 12.8", "fail", "580.65.06"),
        ("2.11.0+cu129", "CUDA 12.8", "warn", "575.51.03"),
        ("2.11.0+cu128", "CUDA 12.8", "pass", ""),
        ("2.11.0+cu128", "CUDA 13.0", "pass", ""),
        ("2.11.0", "CUDA 13.0", "unknown", ""),
    ],
)
def test_the_driver_is_held_against_torch(torch: str, runtime: str, status: str, words: str) -> None:
    given = subject({})
    given.__dict__["versions"] = {"torch": torch, "vllm": "0.33.0"}
    driver = Driver(vendor="nvidia", driver_version="570.1", runtime=runtime)
    given.__dict__["report"] = type("Report", (), {"drivers": (driver,)})()
    result = check("runtime", given)
    assert result is not None and result.status == status and words in result.hint


@pytest.mark.parametrize(
    ("version", "amdgpu", "status", "words"),
    [
        ("0.23.0+rocm723", "6.16.13", "pass", ""),
        ("0.23.0+rocm723", "6.12.12", "pass", ""),
        ("0.23.0+rocm723", "6.10.5", "warn", "amdgpu 6.4 or newer"),
        ("0.23.0+rocm70", "6.8.5", "pass", ""),
        ("0.23.0+rocm70", "6.7.0", "warn", "amdgpu 6.2 or newer"),
        ("0.23.0+rocm62", "6.19.14", "warn", "ROCm 7.0 or newer"),
        ("0.23.0+rocm723", "6.8.0-60-generic", "unknown", ""),
        ("0.23.0", "6.16.13", "unknown", ""),
    ],
)
def test_amd_s_driver_is_held_against_the_rocm_of_the_build(version: str, amdgpu: str, status: str, words: str) -> None:
    given = subject({}, gpus="8xMI300X")
    given.__dict__["versions"] = {"torch": "2.10.0+git8514f05", "vllm": version}
    driver = Driver(vendor="amd", driver_version=amdgpu, runtime="ROCm 7.2.1")
    given.__dict__["report"] = type("Report", (), {"drivers": (driver,)})()
    result = check("runtime", given)
    assert result is not None and result.status == status and words in result.hint


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("ACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+", "warn"),
        ("ACSCtl:\tSrcValid- TransBlk- ReqRedir-", "pass"),
    ],
)
def test_bridges_that_redirect_are_seen(
    said: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pci" / "0000:3b:00.0").mkdir(parents=True)
    for name, text in (("class", "0x120000"), ("vendor", "0x1002")):
        (tmp_path / "pci" / "0000:3b:00.0" / name).write_text(f"{text}\n")
    monkeypatch.setattr(links, "_PCI", tmp_path / "pci")
    monkeypatch.setattr(links.os, "geteuid", lambda: 0)
    program(tmp_path / "bin", "lspci", f"{said}\n")
    result = check("acs", subject({"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}))
    assert result is not None and result.status == status
    assert check("acs", subject({"PATH": str(tmp_path)})).status == "skip"  # type: ignore[union-attr]
    monkeypatch.setattr(links.os, "geteuid", lambda: 1000)
    assert "only root" in check("acs", subject({})).seen  # type: ignore[union-attr]


def test_amd_s_links_are_told_and_pcie_is_skipped_with_a_reason() -> None:
    for kind, status in (("xgmi", "pass"), ("pcie", "skip")):
        given = subject({}, gpus="8xMI300X")
        pair = PairLink(vendor="amd", a=0, b=1, kind=kind)  # type: ignore[arg-type]
        given.__dict__["report"] = type("Report", (), {"links": (pair,)})()
        result = check("peer_access", given)
        assert result is not None and result.status == status


def test_a_start_that_compiles_needs_its_tools(tmp_path: Path) -> None:
    for name in ("gcc", "nvcc", "ninja"):
        program(tmp_path / name, name, "")
    path = {name: str(tmp_path / name) for name in ("gcc", "nvcc", "ninja")}
    flashinfer = {"vllm": "0.33.0", "flashinfer_python": "0.6.16"}

    program(tmp_path / "toolkit" / "bin", "nvcc", "")

    def ended(tools: list[str], versions: dict[str, str], home: str = "") -> str:
        env = {"PATH": ":".join(path[tool] for tool in tools)} | ({"CUDA_HOME": home} if home else {})
        given = subject(env)
        given.__dict__["versions"] = versions
        result = check("compilers", given)
        assert result is not None
        return f"{result.status}: {result.seen}"

    assert ended([], flashinfer).startswith("fail: no C compiler")
    assert "ninja, and FlashInfer compiles" in ended(["gcc"], flashinfer)
    assert ended(["gcc"], {**flashinfer, "flashinfer_jit_cache": "0.6.16"}).startswith("pass")
    assert ended(["gcc", "nvcc", "ninja"], flashinfer).startswith("pass")
    assert ended(["gcc", "ninja"], flashinfer, str(tmp_path / "toolkit")).startswith("pass")
    for wrong in (f":{tmp_path}/toolkit", str(tmp_path)):
        assert ended(["gcc", "nvcc", "ninja"], flashinfer, wrong).startswith("warn: CUDA_HOME is")
    assert ended(["gcc", "nvcc", "ninja"], {"vllm": "0.33.0"}, str(tmp_path)).startswith("pass")


def test_a_user_without_a_name_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(_uid: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    result = check("user", subject({"HOME": str(tmp_path)}))
    assert result is not None and result.status == "fail" and "USER" in result.hint
    named = check("user", subject({"HOME": str(tmp_path), "USER": "vllm"}))
    assert named is not None and named.status == "pass"


def test_small_limits_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {resource.RLIMIT_NOFILE: 1024, resource.RLIMIT_NPROC: 1024, resource.RLIMIT_MEMLOCK: 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda what: (few.get(what, resource.RLIM_INFINITY),) * 2)
    result = check("limits", subject({}))
    assert result is not None and result.status == "warn" and "1,024 open files" in result.seen


def test_the_clock_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check("clock", subject({}))
    assert result is not None and result.status == "pass"
    monkeypatch.setattr("time.time", lambda: 0.0)
    past = check("clock", subject({}))
    assert past is not None and past.status == "fail"


def test_a_flag_that_takes_uncounted_memory_is_named() -> None:
    result = check("unplanned_flags", subject({}, "--enable_sleep_mode", "--cpu-offload-gb=4"))
    assert result is not None and result.status == "warn"
    assert "--enable-sleep-mode (and --cpu-offload-gb)" in result.seen
    assert check("unplanned_flags", subject({}, "--seed", "1")) is None


def test_a_shared_memory_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) != "/dev/shm")
    result = check("shared_memory", subject({}))
    assert result is not None and result.status == "fail" and "may not write" in result.seen
