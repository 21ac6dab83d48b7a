"""Vendor libraries that are missing, refuse, hang, crash or talk nonsense: one sentence and a hint each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import DetectionReport
from hw_specs.detect.child import Failure
from hw_specs.detect.devices import Problem
from hw_specs.detect.host import Host, look_at_host
from hw_specs.detect.reasons import device_problem, explain, no_devices

Detect = Callable[..., DetectionReport]

NVIDIA_GPU = "gpu name=NVIDIA H200; device=0x2335\n"
AMD_GPU = "gpu name=AMD Instinct MI300X; device=0x74a1\n"
NVML_INIT = "nvmlInitWithFlags"


def _problem(report: DetectionReport, vendor: str) -> Problem:
    assert report.gpu_set is None
    (problem,) = [one for one in report.problems if one.vendor == vendor]
    _is_a_sentence_with_a_hint(problem)
    return problem


def _is_a_sentence_with_a_hint(problem: Problem) -> None:
    assert "\n" not in problem.message
    assert not problem.message.endswith(".")
    assert len(problem.message) < 200
    assert problem.hint


def test_no_library_at_all(detect: Detect) -> None:
    report = detect(None)
    assert report.gpus == ()
    assert "libnvidia-ml.so.1" in _problem(report, "nvidia").message
    assert "libamd_smi.so" in _problem(report, "amd").message
    assert {problem.kind for problem in report.problems} == {"absent"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4, "may not talk"),
        (9, "not loaded"),
        (17, "operating system refused"),
        (18, "different versions"),
        (999, "unknown error"),
        (23, "NVML failed"),
    ],
)
def test_nvml_does_not_start(detect: Detect, code: int, words: str) -> None:
    report = detect(text=f"{NVIDIA_GPU}fail call={NVML_INIT}; how=code; code={code}\n")
    problem = _problem(report, "nvidia")
    assert words in problem.message
    assert problem.kind == "broken"


@pytest.mark.parametrize(
    ("code", "words"), [(10, "may not talk"), (18, "could not start"), (34, "not loaded"), (40, "amdsmi failed")]
)
def test_amdsmi_does_not_start(detect: Detect, code: int, words: str) -> None:
    report = detect(text=f"{AMD_GPU}fail call=amdsmi_init; how=code; code={code}\n")
    assert words in _problem(report, "amd").message


@pytest.mark.parametrize(
    ("gpu", "call", "vendor"),
    [
        (NVIDIA_GPU, NVML_INIT, "nvidia"),
        (NVIDIA_GPU, "nvmlDeviceGetMemoryInfo_v2", "nvidia"),
        (AMD_GPU, "amdsmi_init", "amd"),
    ],
)
def test_a_library_that_hangs_is_given_up(detect: Detect, gpu: str, call: str, vendor: str) -> None:
    started = time.monotonic()
    report = detect(text=f"{gpu}fail call={call}; how=hang\n", timeout_s=1.5)
    assert time.monotonic() - started < 10
    problem = _problem(report, vendor)
    assert "did not answer within 1.5 s" in problem.message
    assert "during `" in problem.message


@pytest.mark.parametrize(
    ("gpu", "call", "vendor"),
    [(NVIDIA_GPU, "nvmlDeviceGetMemoryInfo_v2", "nvidia"), (AMD_GPU, "amdsmi_get_gpu_asic_info", "amd")],
)
def test_a_library_that_crashes_is_named_with_the_call(detect: Detect, gpu: str, call: str, vendor: str) -> None:
    report = detect(text=f"{gpu}fail call={call}; how=crash\n")
    problem = _problem(report, vendor)
    assert "crashed (segmentation fault)" in problem.message
    assert call.removesuffix("_v2") in problem.message


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_trouble_while_the_library_is_unloaded_costs_nothing(detect: Detect, how: str) -> None:
    started = time.monotonic()
    report = detect(text=f"{NVIDIA_GPU}fail call=unload; how={how}\n")
    assert report.gpu_set is not None
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("call", ["nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetEccMode"])
def test_a_call_that_is_refused_leaves_the_rest(detect: Detect, call: str) -> None:
    report = detect(text=f"{NVIDIA_GPU}fail call={call}; how=code; code=3\n")
    assert report.gpu_set is not None
    assert report.gpu_set.spec.id == "h200-sxm"


@pytest.mark.parametrize(("gpu", "call"), [(NVIDIA_GPU, NVML_INIT), (AMD_GPU, "amdsmi_init")])
def test_what_a_library_prints_reaches_nobody(
    detect: Detect, capfd: pytest.CaptureFixture[str], gpu: str, call: str
) -> None:
    report = detect(text=f"{gpu}fail call={call}; how=print\n")
    assert report.gpu_set is not None
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_makes_no_sense_is_not_believed(detect: Detect) -> None:
    report = detect("amd-garbage")
    assert report.gpus == ()
    assert "makes no sense" in _problem(report, "amd").message


def test_a_driver_without_gpus(detect: Detect) -> None:
    assert "reports no GPU" in _problem(detect("empty"), "nvidia").message


def test_a_broken_vendor_does_not_hide_the_other(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries on one host: AMD's crashes, NVIDIA's answers."""
    import os

    from hw_specs import detect_gpus

    machine(text=f"{NVIDIA_GPU}fail call=amdsmi_init; how=crash\n", vendor="nvidia")
    first, *rest = os.environ["LD_LIBRARY_PATH"].split(":")
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join([first, first.replace("nvidia", "amd"), *rest]))
    report = detect_gpus(timeout_s=20)
    assert str(report.gpu_set) == "1xH200"
    assert any(problem.vendor == "amd" and "crashed" in problem.message for problem in report.problems)


def test_a_long_answer_beside_a_library_that_hangs(machine: Callable[..., None], tmp_path: Path) -> None:
    """The second child writes more than a pipe holds while the first one hangs."""
    from hw_specs.detect.child import run_probes

    (tmp_path / "long_probe.py").write_text("def probe(note):\n    return {'text': 'x' * 2**20}\n")
    (tmp_path / "hanging_probe.py").write_text(
        "import threading\ndef probe(note):\n    note('wait')\n    threading.Event().wait()\n"
    )
    machine(None)
    import os
    from unittest import mock

    with mock.patch.dict(os.environ, {"PYTHONPATH": str(tmp_path)}):
        hanging, long = run_probes(["hanging_probe", "long_probe"], timeout_s=3)
    assert hanging.failure is not None
    assert (hanging.failure.kind, hanging.failure.call) == ("timeout", "wait")
    assert long.reading == {"text": "x" * 2**20}


def test_no_process_can_be_started(detect: Detect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    report = detect("8xh200")
    assert "no child process can be started" in _problem(report, "nvidia").message


# ---- words, without any process ----

CALLS = st.none() | st.sampled_from(["import amdsmi", "nvmlInit", "amdsmi_init"])
FAILURES = st.builds(
    Failure, kind=st.sampled_from(["timeout"]), call=CALLS, text=st.sampled_from(["30 s", "1.5 s"])
) | st.builds(
    Failure,
    kind=st.sampled_from(["module-missing", "error", "crash", "garbage"]),
    call=CALLS,
    error_type=st.none() | st.sampled_from(["KeyError", "AttributeError", "OSError", "NVMLError", "AmdSmiException"]),
    code=st.none() | st.sampled_from([2, 4, 9, 10, 12, 13, 15, 17, 18, 28, 32, 34, 999]),
    text=st.text("abc .", max_size=20),
)
HOSTS = st.builds(
    Host,
    hostname=st.just("h"),
    in_container=st.booleans(),
    pci_gpus=st.sampled_from([(), (("nvidia", 8),), (("amd", 8),), (("amd", 1), ("nvidia", 1))]),
    nvidia_nodes=st.booleans(),
    nvidia_module=st.none() | st.just("580.1"),
    kfd=st.booleans(),
    kfd_usable=st.booleans(),
    amdgpu_module=st.booleans(),
)


@given(st.sampled_from(["nvidia", "amd"]), FAILURES, HOSTS)
def test_every_failure_has_words(vendor: str, failure: Failure, host: Host) -> None:
    problem = explain(vendor, failure, host)  # type: ignore[arg-type]
    _is_a_sentence_with_a_hint(problem)
    if problem.kind == "absent":
        assert not host.shows(vendor)  # type: ignore[arg-type]


@given(st.sampled_from(["nvidia", "amd"]), st.none() | st.integers(0, 1000), st.text("abc .", max_size=20), HOSTS)
def test_every_device_problem_has_words(vendor: str, code: int | None, text: str, host: Host) -> None:
    _is_a_sentence_with_a_hint(device_problem(vendor, 3, code, text))  # type: ignore[arg-type]
    _is_a_sentence_with_a_hint(no_devices(vendor, host))  # type: ignore[arg-type]


LIBRARY_NOT_FOUND = Failure(kind="error", call="nvmlInit", error_type="NVMLError_LibraryNotFound", code=12)
NO_ROCM = Failure(kind="error", call="import amdsmi", error_type="KeyError", text="'libamd_smi.so'")
OLD_ROCM = Failure(kind="error", call="import amdsmi", error_type="AttributeError", text="undefined symbol: amdsmi_x")


@pytest.mark.parametrize(
    ("vendor", "failure", "host", "message", "hint"),
    [
        ("nvidia", LIBRARY_NOT_FOUND, Host(hostname="h"), "no NVIDIA driver is here", "without NVIDIA GPUs"),
        ("nvidia", LIBRARY_NOT_FOUND, Host(hostname="h", in_container=True), "no NVIDIA driver", "--gpus all"),
        ("nvidia", LIBRARY_NOT_FOUND, Host(hostname="h", pci_gpus=(("nvidia", 8),)), "8 NVIDIA GPUs", "install"),
        ("nvidia", LIBRARY_NOT_FOUND, Host(hostname="h", nvidia_module="580.1"), "is loaded", "ldconfig"),
        (
            "nvidia",
            LIBRARY_NOT_FOUND,
            Host(hostname="h", nvidia_nodes=True, in_container=True),
            "in this container",
            "NVIDIA_DRIVER_CAPABILITIES",
        ),
        ("nvidia", Failure(kind="error", code=18), Host(hostname="h", nvidia_module="570.2"), "570.2", "reboot"),
        ("nvidia", Failure(kind="error", code=9), Host(hostname="h", in_container=True), "container", "--gpus all"),
        ("nvidia", Failure(kind="module-missing"), Host(hostname="h"), "nvidia-ml-py", "pip install nvidia-ml-py"),
        ("amd", NO_ROCM, Host(hostname="h"), "no ROCm is here", "without AMD GPUs"),
        ("amd", NO_ROCM, Host(hostname="h", pci_gpus=(("amd", 8),)), "8 AMD GPUs", "amd-smi-lib"),
        ("amd", OLD_ROCM, Host(hostname="h", kfd=True), "different versions", "/opt/rocm/share/amd_smi"),
        ("amd", Failure(kind="error", code=10), Host(hostname="h", kfd=True), "/dev/kfd", "render,video"),
        ("amd", Failure(kind="error", code=34), Host(hostname="h", in_container=True), "container", "/dev/kfd"),
    ],
)
def test_the_likeliest_reason_is_named(vendor: str, failure: Failure, host: Host, message: str, hint: str) -> None:
    problem = explain(vendor, failure, host)  # type: ignore[arg-type]
    assert message in problem.message
    assert hint in problem.hint


def test_the_signs_on_a_host(tmp_path: Path) -> None:
    for number, (vendor, kind) in enumerate([("0x10de", "0x030200"), ("0x10de", "0x068000"), ("0x1002", "0x120000")]):
        device = tmp_path / f"sys/bus/pci/devices/0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
    for file, text in (
        ("etc/hostname", "node-7\n"),
        ("dev/nvidiactl", ""),
        ("dev/kfd", ""),
        ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue\n"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n"),
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    host = look_at_host(tmp_path)
    assert host == Host(
        hostname="node-7",
        in_container=True,
        pci_gpus=(("amd", 1), ("nvidia", 1)),
        nvidia_nodes=True,
        nvidia_module="580.95.05",
        kfd=True,
        kfd_usable=True,
    )
    assert look_at_host(tmp_path / "nothing").pci_gpus == ()
