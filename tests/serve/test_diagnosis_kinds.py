# ruff: noqa: E501 - log lines are as long as they are
"""Whose words a line is: a warning that a start goes on from, one request, a build, the operator; and a log that is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.cli import main
from planner.serve.log.diagnosis import diagnose

ENGINE = "(EngineCore pid=210) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0) with config: model='m'\n"
LOADED = "(EngineCore pid=210) INFO 05-13 10:41:43 [gpu_model_runner.py:3] Model loading took 16.1 GiB memory and 9.2 seconds\n"
READY = f"{ENGINE}(APIServer pid=1) INFO:     Application startup complete.\n"
ERROR = "(EngineCore pid=210) ERROR 05-13 10:46:43 [core.py:946] "
OLD_GPU = (
    "/x/torch/cuda/__init__.py:435: UserWarning: \n    Found GPU0 Tesla P40 which is of compute capability (CC) 6.1.\n"
    "    Please follow the instructions at https://pytorch.org to install a PyTorch release that supports one of these CUDA versions: 12.6\n"
)
WAIT = "No available shared memory broadcast block found in 60 seconds. This typically happens when some processes are hanging\n"


def raised(exception: str, path: str = "vllm/v1/engine/core.py", function: str = "run_engine_core") -> str:
    frames = (
        "EngineCore failed to start.",
        "Traceback (most recent call last):",
        f'  File "/x/{path}", line 7, in {function}',
        "    x()",
    )
    return ENGINE + "".join(f"{ERROR}{line}\n" for line in (*frames, *exception.split("\n")))


def code(log: str) -> str:
    return diagnose(log.encode()).code


def test_a_warning_speaks_only_where_the_start_failed_for_no_other_reason() -> None:
    assert code(OLD_GPU + raised("ValueError: purple is odd")) == "gpu-too-old"
    assert code(OLD_GPU + raised("RuntimeError: No CUDA GPUs are available")) == "no-device"
    assert code(OLD_GPU + ENGINE) == "none"
    assert code(OLD_GPU + READY) == "none"


def test_an_interrupt_is_the_operators_word_unless_something_was_raised() -> None:
    assert code(raised("KeyboardInterrupt")) == "terminated"
    assert code(raised("TypeError: f() got 3") + "(Worker_TP1 pid=9) KeyboardInterrupt\n") == "engine-defect"
    assert code(READY + "(EngineCore pid=210) KeyboardInterrupt\n") == "none"


@pytest.mark.parametrize(
    "said",
    [
        "ValueError: Tokenizer class X does not exist or is not currently imported.",
        "ValueError: LoRA adapter x not found",
        "aiohttp.client_exceptions.ClientConnectorDNSError: Cannot connect to host x.y:443 ssl:default [Name or service not known]",
        "ImportError: Please install vllm[audio] for audio support",
    ],
)
def test_what_one_request_raises_stops_no_server(said: str) -> None:
    assert code(f"{READY}(APIServer pid=1) ERROR 05-13 11:46:43 [serving_chat.py:246] {said}\n") == "none"
    died = f"{READY}{ERROR}EngineCore encountered a fatal error.\n{ERROR}{said}\n"
    assert code(died) not in ("none", "unknown")


def test_what_a_build_survived_is_no_cause_and_what_failed_before_it_remains_one() -> None:
    built = (
        "Failed to initialize NVML: Driver/library version mismatch\nSuccessfully installed torch-2.9.0 vllm-0.27.0\n"
    )
    failure = raised("RuntimeError: No CUDA GPUs are available")
    assert code(built) == "none"
    assert code(built + failure) == "no-device"
    assert code(failure + "\n$ pip install vllm\n" + built.split("\n", 1)[1]) == "no-device"


def test_a_log_that_is_cut_before_the_server_was_ready_is_not_called_a_success(tmp_path: Path) -> None:
    log = tmp_path / "cut.log"
    for text, passed in ((ENGINE + LOADED, False), (READY, True)):
        log.write_text(text)
        found = diagnose(text.encode())
        assert found.code == "none"
        assert bool(found.cures) is not passed
        assert main(["diagnose", str(log)]) == (0 if passed else 5)
    assert code(WAIT) == "workers-hang"
    assert [line.text for line in diagnose((ENGINE + LOADED + WAIT).encode()).evidence] == [WAIT.strip()]


def test_a_word_of_pydantic_is_named_by_what_stands_below_it() -> None:
    below = "  Value error, Model architectures ['GptOssForCausalLM'] failed to be inspected. [type=value_error]"
    assert (
        code(raised(f"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n{below}"))
        == "architecture-import"
    )


def test_a_device_is_refused_where_the_all_reduce_is_set_up() -> None:
    said = "RuntimeError: CUDA error: invalid device ordinal"
    assert code(raised(said)) == "device-number"
    assert code(raised(said, "vllm/distributed/device_communicators/symm_mem.py", "__init__")) == "custom-all-reduce"


def test_a_warning_of_symmetric_memory_tells_whose_the_refused_device_is() -> None:
    warned = "WARNING 05-13 10:41:40 [symm_mem.py:93] SymmMemCommunicator: symmetric memory initialization failed: "
    warned += "CUDA driver error: invalid device ordinal Communicator is not available.\n"
    said = raised("RuntimeError: CUDA error: invalid device ordinal")
    assert code(said) == "device-number"
    assert code(f"{ENGINE}{warned}{said}") == "custom-all-reduce"
    assert code(f"{ENGINE}{warned}{LOADED}{READY}") == "none"
    assert code(f"{ENGINE}{warned}" + raised("RuntimeError: No CUDA GPUs are available")) == "no-device"


@pytest.mark.parametrize(
    "lost",
    [
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:2474",
        "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed.",
        "RuntimeError: [1] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value store",
        "host:1:2 [0] misc/socket.cc:915 NCCL WARN socketProgress: Connection closed by remote peer host<41377>",
    ],
)
def test_who_lost_another_process_is_not_to_blame(lost: str) -> None:
    gone = raised(lost)
    assert code(gone) == "peer-gone"
    died = f"{ERROR}Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.\n"
    assert code(gone + died) == "killed"
    assert code(gone + raised("RuntimeError: NCCL error: unhandled cuda error")) == "collective"
    assert code(gone + raised("ValueError: nobody knows this one")) == "unknown"


def test_a_collective_that_timed_out_waited_for_the_rank_that_tells_why() -> None:
    late = "[rank0]:[E513 10:41:42.1 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)\n"
    fault = "[rank1]:[E513 10:41:42.9 ProcessGroupNCCL.cpp:1900] Process group watchdog thread terminated with exception: CUDA error: an illegal memory access was encountered\n"
    assert code(ENGINE + late) == "collective-timeout"
    assert code(ENGINE + late + fault) == "device-fault"


def test_words_that_c_s_runtime_or_the_core_hand_on_are_read_as_raised() -> None:
    said = "Only a single TORCH_LIBRARY can be used to register the namespace _C; please put all of your definitions"
    thrown = f"terminate called after throwing an instance of 'c10::Error'\n  what():  {said}\n"
    assert code(ENGINE + thrown) == "kernel-or-driver"
    handed = f"RuntimeError: Worker failed with error '{said}', please check the stack trace above for the root cause"
    assert code(raised(handed)) == "kernel-or-driver"


def test_what_the_server_s_file_only_imports_is_not_about_its_port() -> None:
    said = "RuntimeError: cannot cache function 'f': no locator available for file '/x/outlines/fsm/regex.py'"
    assert code(raised(said, "vllm/entrypoints/openai/api_server.py", "<module>")) == "permission"


@pytest.mark.parametrize(
    ("said", "death"),
    [
        ("server ended, rc=137", "killed"),
        ("killed=1 EXIT 137", "killed"),
        ("EXIT_CODE=139", "segfault"),
        ("[run.sh] vllm exited, code 134", "aborted"),
    ],
)
def test_a_wrappers_own_words_tell_the_exit_code(said: str, death: str) -> None:
    assert code(f"{ENGINE}{said}\n") == death
