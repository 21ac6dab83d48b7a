"""Logs that end before their last word: behind a `raise`, or behind what the container said first."""

from __future__ import annotations

import pytest

from planner.serve.log.diagnosis import diagnose

HEAD = "(EngineCore_DP0 pid=7) Traceback (most recent call last):\n"
CUT = (
    '(EngineCore_DP0 pid=7)   File "/opt/vllm/lora/utils.py", line 9, in parse_fine_tuned_lora_name\n'
    '(EngineCore_DP0 pid=7)     raise ValueError(f"{name} is unsupported LoRA weight")\n'
)
STARTS = "(EngineCore pid=7) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0) with config: m\n"
BANNER = "WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available.\n"


@pytest.mark.parametrize("log", [HEAD + CUT, CUT, HEAD + CUT + "(EngineCore_DP0 pid=7)     ^^^^^^^^^\n"])
def test_the_text_in_the_last_raise_is_as_good_as_the_message(log: str) -> None:
    found = diagnose(log.encode())
    assert found.code == "lora"
    assert "is unsupported LoRA weight" in found.evidence[0].text


def test_a_message_over_several_lines_of_source_is_put_together() -> None:
    log = HEAD + (
        '(EngineCore_DP0 pid=7)   File "/opt/vllm/config/model.py", line 9, in verify\n'
        "(EngineCore_DP0 pid=7)     raise ValueError(\n"
        "(EngineCore_DP0 pid=7)         'max_num_partial_prefills '\n"
        '(EngineCore_DP0 pid=7)         f"({self.n}) must be less"\n'
    )
    assert diagnose(log.encode()).evidence[0].text == "ValueError: max_num_partial_prefills ({self.n}) must be less"


def test_a_source_line_that_raises_nothing_new_names_nothing() -> None:
    log = (
        HEAD
        + '(EngineCore_DP0 pid=7)   File "/opt/vllm/lora/utils.py", line 9, in f\n(EngineCore_DP0 pid=7)     raise e\n'
    )
    assert diagnose(log.encode()).code != "lora"


def test_a_container_without_gpus_is_named_until_weights_are_read() -> None:
    assert diagnose(BANNER.encode()).code == "gpu-runtime"
    shards = "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.0s/it]\n"
    assert diagnose((BANNER + shards).encode()).code == "none"


def test_a_log_that_breaks_off_says_so_and_only_such_a_one() -> None:
    cut = diagnose(STARTS.encode())
    assert (cut.code, cut.known, cut.unfinished) == ("none", False, True) and cut.cures
    up = diagnose((STARTS + "INFO:     Application startup complete.\n").encode())
    assert (up.code, up.unfinished) == ("none", False) and not up.cures
    assert not diagnose(STARTS.encode(), exit_code=1).unfinished


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("--limit-mm-per-prompt: Value {image:16} cannot be converted to <function loads at 0x7f>.", "JSON"),
        ("--compilation-config/-cc: Invalid JSON: expected value at line 2 column 1", "JSON"),
        ("--max-model-len: invalid int value: 'long'", "does not take 'long'"),
    ],
)
def test_a_malformed_value_is_told_from_an_unknown_flag(said: str, cure: str) -> None:
    assert cure in diagnose(f"vllm serve: error: argument {said}\n".encode()).cures[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("NotImplementedError: \nthis cannot be had here", "unsupported"),
        (
            HEAD + "(EngineCore_DP0 pid=7) ModuleNotFoundError:\n(EngineCore_DP0 pid=7) No module named 'x'",
            "missing-package",
        ),
        ("ValueError: \nnobody has seen this", "unknown"),
        ("ValueError: ", "unknown"),
    ],
)
def test_an_exceptions_words_may_begin_in_the_next_line(text: str, code: str) -> None:
    found = diagnose(f"{STARTS}{text}\n".encode())
    assert found.code == code
    assert all(item.text in text for item in found.evidence if code != "unknown")
