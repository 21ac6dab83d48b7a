# ruff: noqa: E501 - log lines are as long as they are
"""What native programs beneath the engine print: NCCL, NVSHMEM, glibc, the kernel."""

from __future__ import annotations

import pytest

from planner.facts.log_lines import collective_texts
from planner.serve.log.causes import causes
from planner.serve.log.diagnosis import diagnose

ENGINE = "(EngineCore pid=210) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0) with config: model='m'\n"
FAILED = "(EngineCore pid=210) ERROR 05-13 10:46:43 [core.py:1136] EngineCore failed to start.\n"
HEADS = ("node:211:245 [0] {file}:12 NCCL WARN ", "[2026-05-13 10:41:00] node:211:245 [0] /src/{file}:12 NCCL WARN ")


@pytest.mark.parametrize("text", collective_texts().goes_on)
def test_a_warning_that_nccl_goes_on_from_names_nothing(text: str) -> None:
    for head in HEADS:
        line = f"{head.format(file='init.cc')}{text}\n"
        assert diagnose((ENGINE + line).encode()).code == "none"
        assert diagnose((ENGINE + line + FAILED).encode()).code == "unknown"


def test_the_same_words_of_the_engine_are_not_excused() -> None:
    text = next(text for text in collective_texts().goes_on if "multiple of" in text)
    said = (
        f"(EngineCore pid=210) ERROR 05-13 10:46:43 [core.py:1136] RuntimeError: CUDA error: invalid argument {text}\n"
    )
    assert diagnose((ENGINE + said).encode()).code == "cuda-error"


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("transport/net_ib.cc", "NET/IB : nothing that is known here", "infiniband"),
        ("transport/net_ib/connect.cc", "Listencomm in unknown state 1", "infiniband"),
        ("transport/p2p.cc", "nothing that is known here", "peer-access"),
        ("transport/nvls.cc", "nothing that is known here", "nvls"),
        ("misc/socket.cc", "nothing that is known here", "nccl-connection"),
        ("proxy.cc", "nothing that is known here", "collective"),
        # A text of another program in it is chance.
        ("mem_manager.cc", "MemManager: Failed to allocate memory entry", "collective"),
        ("enqueue.cc", "Cuda failure 700 'an illegal memory access was encountered'", "device-fault"),
        ("enqueue.cc", "Cuda failure 'capturing stream has unjoined work'", "graph-capture"),
    ],
)
def test_any_other_warning_of_nccl_is_named_by_its_file(file: str, text: str, code: str) -> None:
    for head in HEADS:
        assert diagnose(f"{ENGINE}{head.format(file=file)}{text}\n".encode()).code == code


@pytest.mark.parametrize("text", ["free(): invalid pointer", "malloc(): corrupted top size", "double free or corruption (out)",
    "munmap_chunk(): invalid pointer", "*** stack smashing detected ***: terminated"])  # fmt: skip
def test_what_glibc_says_before_it_aborts_is_an_abort(text: str) -> None:
    found = diagnose(f"{ENGINE}{text}\n".encode())
    assert found.code == "aborted"
    fault = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
    assert diagnose(f"{ENGINE}{fault}{text}\n".encode()).code == "device-fault"


def test_what_the_driver_cleans_up_is_not_the_cause() -> None:
    """Xid 45 follows whatever ended the process."""
    cleaned = "NVRM: Xid (PCI:0000:3b:00): 45, pid=4711, name=VLLM::Worker_TP0, Ch 00000008\n"
    lost = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n"
    assert diagnose((ENGINE + cleaned + lost).encode()).code == "gpu-lost"
    assert causes()["device-fault"].weight == "cause"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("nvcc fatal   : Unknown option '-static-global-template-stub=false'", "toolkit-too-old"),
        ("/usr/include/python3.12/Python.h:12:10: fatal error: stddef.h: No such file or directory", "no-compiler"),
        ("/flashinfer/data/csrc/x.cu:17:10: fatal error: cutlass/cutlass.h: No such file or directory", "jit-build"),
    ],
)
@pytest.mark.parametrize(
    "report",
    [
        "subprocess.CalledProcessError: Command '['ninja', '-v']' returned non-zero exit status 1.",
        "RuntimeError: Ninja build failed. Ninja output:",
        "torch._inductor.exc.InductorError: CppCompileError: C++ compile error",
    ],
)
def test_a_compiler_s_own_words_tell_more_than_that_a_build_failed(said: str, code: str, report: str) -> None:
    before, after = f"{ENGINE}{said}\n{report}\n", f"{ENGINE}{report}\n{said}\n"
    found = {diagnose(log.encode()).code for log in (before, after)}
    # Of two that tell only the kind the first counts.
    assert found <= ({code} if code != "jit-build" else {code, "compile-failed"})


def test_memory_of_the_host_that_cannot_be_pinned_is_not_the_gpu_s() -> None:
    for said, code in (("cudaHostRegister", "host-memory"), ("cudaMalloc", "out-of-memory")):
        line = f"RuntimeError: {said} failed for 600000000000 bytes: cudaErrorMemoryAllocation\n"
        assert diagnose((ENGINE + line).encode()).code == code


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("Fatal Python error: none_dealloc: deallocating None", "aborted"),
        ("OMP: Error #15: Initializing libiomp5.so, but found libgomp.so already initialized.", "aborted"),
        ("OMP: Error #179: Function Can't open SHM2 failed:", "shared-memory"),
        ("fatal runtime error: stack overflow", "aborted"),
        ("memory allocation of 1073741824 bytes failed", "host-memory"),
        ("forrtl: severe (174): SIGSEGV, segmentation fault occurred", "segfault"),
        ("Inconsistency detected by ld.so: dl-open.c: 772: Assertion `x' failed!", "kernel-or-driver"),
    ],
)
def test_the_last_word_of_a_language_s_own_runtime_is_a_failure(last: str, code: str) -> None:
    assert diagnose(f"{ENGINE}{last}\n".encode()).code == code


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("已杀死", "killed"),
        ("段错误 (核心已转储)", "segfault"),
        ("Getötet", "killed"),
        ("Abandon", "aborted"),
        ("Ошибка шины", "bus-error"),
    ],
)
def test_what_a_shell_says_of_a_death_in_another_language_is_read(said: str, code: str) -> None:
    for line in (said, f"run.sh: 第 3 行： 4711 {said}      vllm serve m"):
        assert diagnose(f"{ENGINE}{line}\n".encode()).code == code
    assert diagnose(f"{ENGINE}INFO: {said} x\n".encode()).code == "none"


ENGINE_AND_MEMORY = (
    "INFO 11-20 09:03:00 [core.py:58] Initializing a V1 LLM engine (v0.33.0)\n{}\n"
    "ERROR 11-20 09:04:00 [core.py:99] ValueError: No available memory for the cache blocks. Try increasing x\n"
)


@pytest.mark.parametrize(
    "line",
    [
        "Failed to stop firewalld.service: Unit firewalld.service not found.",
        "Unit ufw.service could not be found.",
        "Failed to import torchaudio: No module named 'torchaudio'",
        "OSError: [Errno 5] Input/output error",
        "Error: Could not connect to etcd, retrying in 1s",
        "No resource satisfying {'H100': 8} on Kubernetes",
        "Got return codes 'QUOTA_EXCEEDED' in us-central1-a",
        "oneCCL: version 2021.15",
    ],
)
def test_what_a_start_goes_on_from_does_not_hide_why_it_failed(line: str) -> None:
    """A service that is stopped in case it runs, a package that is not needed, a terminal that is closed, a zone
    without machines."""
    assert diagnose(ENGINE_AND_MEMORY.format(line).encode()).code == "no-kv-memory"


@pytest.mark.parametrize(
    "line", ["OSError: [Errno 101] Network is unreachable", "RuntimeError: NVML is not initialized"]
)
def test_a_network_and_a_driver_that_are_not_there_are_not_a_fault_of_the_engine(line: str) -> None:
    assert diagnose(f"{ENGINE_AND_MEMORY.splitlines()[0]}\n{line}\n".encode()).code != "engine-defect"


def test_a_word_behind_a_number_is_a_death_only_where_a_shell_says_it() -> None:
    engine = ENGINE_AND_MEMORY.splitlines()[0]
    assert diagnose(f"{engine}\nchapter 7 Abandon (1)\n".encode()).code == "none"
    assert diagnose(f"{engine}\nrun.sh: ligne 3 : 4711 Abandon (core dumped) vllm serve m\n".encode()).code == "aborted"
