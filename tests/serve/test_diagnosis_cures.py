# ruff: noqa: E501 - log lines are as long as they are
"""What a diagnosis offers and what it leaves unsaid: cures, phases and who holds memory."""

from __future__ import annotations

import re

import pytest

from planner.serve.log.diagnosis import diagnose

from .test_diagnosis import BEFORE_KV, V2, after, one_gpu, raised

REQUEST = """pydantic_core._pydantic_core.ValidationError: 1 validation error for ChatCompletionRequest
force_tool_names
  Extra inputs are not permitted [type=extra_forbidden, input_value=None, input_type=NoneType]"""


@pytest.mark.parametrize(
    "words", [REQUEST, REQUEST.partition("\n")[2], "Extra inputs are not permitted: force_tool_names"]
)
def test_a_chat_that_a_newer_mistral_common_breaks_names_the_pin(words: str) -> None:
    found = diagnose(V2 + words.encode() + b"\n")
    assert (found.code, found.phase) == ("mistral-common-newer", "ready")
    assert "mistral_common==1.12.0" in found.cures[0]
    assert diagnose(after(words)).phase == ""


def test_a_request_that_is_refused_is_no_refused_setting() -> None:
    found = diagnose(V2 + REQUEST.replace("force_tool_names", "odd_field").encode() + b"\n")
    assert found.code == "none"
    assert diagnose(after(REQUEST.replace("ChatCompletionRequest", "ParallelConfig"))).code != "refused-settings"
    assert diagnose(after(REQUEST.splitlines()[0].replace("ChatCompletionRequest", "ParallelConfig"))).code == (
        "refused-settings"
    )


WEIGHTS_OOM = """Traceback (most recent call last):
  File "/usr/lib/vllm/v1/worker/gpu_worker.py", line 311, in load_model
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 672.00 MiB. GPU 0 has a total capacity of 79.18 GiB of which 255.56 MiB is free. Including non-PyTorch memory, this process has 78.93 GiB memory in use. Of the allocated memory 78.20 GiB is allocated by PyTorch, and 10.00 MiB is reserved by PyTorch but unallocated."""


def test_memory_of_others_is_blamed_only_where_the_figures_show_it() -> None:
    alone = diagnose(raised(WEIGHTS_OOM))
    assert alone.code == "oom-load" and len(alone.cures) == 1
    assert "larger `--tensor-parallel-size`" in alone.cures[0] and "`--gpus` for figures" in alone.cures[0]
    beside = diagnose(raised(WEIGHTS_OOM.replace("78.93", "58.93").replace("78.20", "58.20")))
    assert "other processes held 20.00 GiB when 672.00 MiB were asked for" in beside.cures[0]
    assert "larger `--tensor-parallel-size`" in beside.cures[1]
    unsaid = diagnose(raised(re.sub(r"Including .* in use\. ", "", WEIGHTS_OOM).replace("78.20", "58.20")))
    assert "20.72 GiB were in use that are not PyTorch's" in unsaid.cures[0]
    assert "are not" not in " ".join(diagnose(raised(re.sub(r"Including .* in use\. ", "", WEIGHTS_OOM))).cures)


@pytest.mark.parametrize("frame", ["capture_model", "execute_model"])
def test_room_outside_the_budget_is_the_first_cure_after_the_kv_cache(frame: str) -> None:
    found = diagnose(raised(WEIGHTS_OOM.replace("load_model", frame)))
    assert found.code in ("oom-capture", "oom-serve")
    assert "lower `--gpu-memory-utilization`" in found.cures[0]
    assert not any("--tensor-parallel-size" in cure for cure in found.cures), "that would be the weights' cure"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Cannot find the requested files in the disk cache and outgoing traffic has been disabled.", "missing-model"),
        (
            "An error happened while trying to locate the files on the Hub. Please check your internet connection",
            "network",
        ),
    ],
)
def test_files_that_are_not_in_the_cache_are_known(words: str, code: str) -> None:
    assert diagnose(after(f"huggingface_hub.errors.LocalEntryNotFoundError: {words}")).code == code


def test_an_exception_without_frames_is_no_traceback_and_is_shown_once() -> None:
    found = diagnose(after("odd_package.errors.NobodyKnowsError: odd words"))
    assert found.code == "unknown" and "odd words" in found.evidence[0].text and not found.traceback
    assert "the log holds no traceback" in found.cures[0]


@pytest.mark.parametrize(
    "text",
    [
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4, OpType=ALLREDUCE)",
    ],
)
def test_a_phase_that_nothing_proves_is_not_said(text: str) -> None:
    assert diagnose(after(text)).phase == ""
    assert diagnose(after(text, log=BEFORE_KV)).phase == "profile"
    assert diagnose(after(text, log=V2)).phase == "ready"


def test_sizes_that_divide_the_heads_alone_are_not_offered() -> None:
    text = "Total number of attention heads (96) must be divisible by tensor parallel size (5)."
    assert "KV heads" in diagnose(after(text)).cures[0]
    listed = diagnose(after(text), plan=one_gpu()).cures[0]
    assert " 8" in listed and " 3" not in listed.replace(" 32", "")


def test_a_flag_that_is_gone_says_since_when() -> None:
    found = diagnose(b"vllm serve: error: unrecognized arguments: --swap-space 4 --nobody-had-this\n")
    assert re.match(r"`--swap-space` is gone since vLLM \d+\.\d+\.\d+; preempted", found.cures[0])
    assert "leave `--nobody-had-this` out" in found.cures[0]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("--max-num-seq 8", "write `--max-num-seqs`"),
        ("--async-scheduling", "`--async-scheduling` is known to vLLM 0.10"),
        ("--disable-log-requests", "is known to vLLM 0.33.0 and newer (and up to 0.15.1)"),
        ("--enable-lora", "another command does not take it"),
        ("--omni", "leave `--omni` out"),
    ],
)
def test_a_flag_that_is_not_known_is_named_with_what_to_do(words: str, cure: str) -> None:
    assert cure in diagnose(f"vllm: error: unrecognized arguments: {words}\n".encode()).cures[0]
