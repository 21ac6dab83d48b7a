"""What a refusal of the engine tells itself: the settings that it names and the way out that it offers."""

from __future__ import annotations

import pytest

from planner.facts.engine_flags import flags_of
from planner.facts.setting_words import setting_words
from planner.serve.log.advice import advice_in, names_a_rule, settings_cure, settings_named
from planner.serve.log.diagnosis import diagnose

RELAYED = "RuntimeError: Worker failed with error '{}', please check the stack trace above for the root cause"


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("tp_size=6 must be divisible by dcp_size=4.", ("--tensor-parallel-size", "--decode-context-parallel-size")),
        ("num_redundant_experts is set to 4 but EPLB is not enabled.", ("--eplb-config", "--enable-eplb")),
        ("HiSparse requires Model Runner V2", ("--kv-transfer-config", "VLLM_USE_V2_MODEL_RUNNER")),
        ("requires --enable-eplb; remove --no-enable-eplb", ("--enable-eplb",)),
        ("Async scheduling is not compatible with disable_padded_drafter_batch=True.",
         ("--async-scheduling", "--speculative-config")),
        ("The model is not multimodal.", ()),
        ("tensor a (50) must match the size of tensor b (56)", ()),
    ],
)  # fmt: skip
def test_settings_are_named_as_they_are_typed(message: str, names: tuple[str, ...]) -> None:
    assert tuple(name.partition("`")[0] for name in settings_named(message)) == names


def test_every_name_that_is_offered_can_be_typed() -> None:
    words = setting_words()
    names = {*words.words, *words.fields, *words.off, *words.off.values()}
    flags = {name for name in names if name.startswith("--")}
    assert {name for name in flags if flags_of(None).find(name) is None} == set()
    assert {name for name in names - flags if not name.startswith(("VLLM_", "-O.", "PYTORCH_"))} == set()


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Increase `--tensor-parallel-size` or set `--decode-context-parallel-size 1`.",
         "Increase `--tensor-parallel-size` or set `--decode-context-parallel-size 1`"),
        ("The quantization is off. Please file an issue.", ""),
        ("FlashInfer does not support it, unset VLLM_USE_FLASHINFER_SAMPLER=1.",
         "unset VLLM_USE_FLASHINFER_SAMPLER=1"),
        ("A and B are exclusive; please unset B", "please unset B"),
    ],
)  # fmt: skip
def test_advice_is_what_the_message_says_to_do(message: str, advice: str) -> None:
    assert advice_in(message) == advice


def test_long_advice_is_cut_at_a_word() -> None:
    assert len(advice_in("Please " + "reduce it " * 90)) < 250


@pytest.mark.parametrize(
    ("exception", "rule"),
    [
        ("AssertionError: data_parallel_hybrid_lb and data_parallel_external_lb cannot both be True.", True),
        (RELAYED.format("DCP not support fp8 kvcache now."), True),
        ("AssertionError: got 3, wanted 4", False),
        ("BrokenPipeError: the socket of data parallel rank 3 must be open", False),
        ("AttributeError: 'NoneType' object has no attribute 'max_model_len'", False),
    ],
)
def test_an_assertion_about_settings_is_no_fault_of_the_code(exception: str, rule: bool) -> None:
    assert names_a_rule(exception) == rule
    found = diagnose(f"vllm serve m\n{exception}\n".encode())
    assert (found.code == "refused-settings") == rule


@pytest.mark.parametrize(
    ("below", "cure"),
    [
        ("num_speculative_tokens\n  Input should be greater than 0 [type=greater_than, input_value=0, input_type=int]",
         "`--speculative-config`"),
        ("  Value error, Async EPLB is only supported with the default policy. [type=value_error, input_type=A]",
         "`--enable-eplb`"),
    ],
)  # fmt: skip
def test_what_pydantic_says_below_its_head_counts(below: str, cure: str) -> None:
    name = "SpeculativeConfig" if "speculative" in below else "ParallelConfig"
    log = f"(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for {name}\n{below}"
    found = diagnose("\n(APIServer pid=1) ".join(log.split("\n")).encode())
    assert found.code in ("refused-settings", "speculative", "unsupported")
    assert any(cure in one for one in found.cures)


@pytest.mark.parametrize("message", ["", "`", "--", "a_b " * 5000, "DCP" * 400, "{x} not supported with {settings}"])
def test_any_text_is_read(message: str) -> None:
    settings_cure(message)
    advice_in(message)
    diagnose(f"vllm\nValueError: {message}".encode())


def test_a_flag_that_takes_json_is_told_apart_from_one_that_is_refused() -> None:
    said = (
        "vllm serve: error: argument --limit-mm-per-prompt: Value image=4 cannot be converted to <function f at 0x7f>."
    )
    assert "cannot be had so here" not in settings_cure(said)
    assert settings_cure("--enable-eplb cannot be used with LoRA").endswith("leave one of them out")
