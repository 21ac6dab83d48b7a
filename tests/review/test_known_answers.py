"""The public commands for this model, and what is true of each."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner.review import review
from planner.review.findings import Review
from planner.review.fix import repair

MODEL = "mistralai/Mistral-Medium-3.5-128B"
RECIPE = (
    f"vllm serve {MODEL} --tokenizer_mode mistral --config_format mistral --load_format mistral"
    " --tensor-parallel-size 1 --no-enable-prefix-caching --enable-auto-tool-choice --tool-call-parser mistral"
    " --reasoning-parser mistral"
)
CARD = (
    f"vllm serve {MODEL} --tensor-parallel-size 8 --tool-call-parser mistral --enable-auto-tool-choice"
    " --reasoning-parser mistral --max_num_batched_tokens 16384 --max_num_seqs 128 --gpu_memory_utilization 0.8"
)
DRAFT = (
    ' --speculative_config \'{"model":"mistralai/Mistral-Medium-3.5-128B-EAGLE","num_speculative_tokens":3,'
    '"method":"eagle","max_model_len":"65536"}\''
)


def judged(text: str, gpus: str, version: str) -> Review:
    return review(text, gpus=parse_gpus(gpus), vllm_version=version)


def codes(answer: Review) -> set[str]:
    return {one.code for one in answer.findings}


def test_the_recipe_on_one_mi300x_as_the_builder_prints_it_is_refused() -> None:
    answer = judged(RECIPE, "1xMI300X", "0.33.0")
    assert answer.servers[0].verdict == "does-not-fit"
    (found,) = [one for one in answer.findings if one.code == "does-not-fit"]
    assert found.cure.startswith("--max-model-len ")


def test_its_text_only_form_starts_on_022_and_is_on_the_edge_on_033() -> None:
    text = RECIPE + " --max-model-len 131072 --language-model-only"
    assert judged(text, "1xMI300X", "0.22.0").servers[0].verdict == "fits"
    later = judged(text, "1xMI300X", "0.33.0")
    assert later.servers[0].verdict in ("tight", "does-not-fit")
    assert codes(later) & {"tight", "does-not-fit"}


def test_its_multimodal_form_has_a_flag_that_does_not_exist() -> None:
    answer = judged(RECIPE + " --max-model-len 65536 --enable-mm", "1xMI300X", "0.33.0")
    (found,) = [one for one in answer.findings if one.code == "flag-abbreviated"]
    assert found.severity == "error"
    assert "--enable-mm-embeds" in found.message
    assert found.column == (RECIPE + " --max-model-len 65536 ").__len__() + 1


def test_the_eagle_card_cuts_the_context_on_033_and_not_before() -> None:
    new = judged(CARD + DRAFT, "8xH200", "0.33.0")
    assert new.servers[0].plan is not None
    assert new.servers[0].plan.settings.max_model_len == 65536
    assert "draft-length" in codes(new)
    old = judged(CARD + DRAFT, "8xH200", "0.32.0")
    assert old.servers[0].plan is not None
    assert old.servers[0].plan.settings.max_model_len == 262144
    assert "draft-length" not in codes(old)


def test_the_draft_may_not_be_longer_than_the_server() -> None:
    answer = judged(CARD + DRAFT + " --max-model-len 32768", "8xH200", "0.33.0")
    assert answer.servers[0].verdict == "does-not-fit"
    assert "refused" in codes(answer)


def test_the_card_on_eight_h200_fits_and_is_clean() -> None:
    answer = judged(CARD, "8xH200", "0.33.0")
    assert answer.servers[0].verdict == "fits"
    assert not answer.findings
    assert answer.servers[0].plan is not None
    assert answer.servers[0].plan.settings.max_model_len == 262144


@pytest.mark.parametrize(
    ("more", "code", "stops"),
    [
        (" --tokenizer-mode hf --load-format mistral", "checkpoint-flags", True),
        (" --max-model-len 300000", "refused", True),
        (" --limit-mm-per-prompt image=4", "flag-value", True),
        (" --quantization awq", "quantization", True),
        (" --swap-space 8", "flag-gone", True),
        (" --enable-expert-parallel", "dense-model", True),
        (" --kv-cache-dtype fp8_e5m2", "refused", True),
        (" --dtype fp16", "flag-value", True),
        (" --mm-encoder-tp-mode data", "flag-without-effect", False),
        (" --kv-cache-memory 20G", "flag-abbreviated", False),
        (" --api-key sk-1", "secret-in-command", False),
        (" --max-num-seqs 4", "small-batch", False),
    ],
)
def test_a_trap_is_named_and_what_stops_the_start_is_said(more: str, code: str, stops: bool) -> None:
    answer = judged(CARD + more, "8xH200", "0.33.0")
    found = [one for one in answer.findings if one.code == code]
    assert found
    assert found[0].column > len(f"vllm serve {MODEL}")
    assert (answer.servers[0].verdict == "does-not-fit") == stops


@pytest.mark.parametrize(
    "text",
    [
        RECIPE,
        CARD + DRAFT,
        CARD + DRAFT + " --max-model-len 32768",
        CARD + " --swap-space 8 --enable-reasoning",
        CARD + " --limit-mm-per-prompt image=4",
        CARD + " --tokenizer-mode hf --config-format mistral --load-format mistral",
        CARD.replace("mistral --enable", "hermes --enable"),
        CARD.replace("--tool-call-parser mistral ", ""),
        f"vllm serve {MODEL} \\\n  --speculative-model {MODEL}-EAGLE \\\n  --num-speculative-tokens 5\n",
        f"vllm serve {MODEL} -tp 3",
        CARD + " --max-model-len 300000 --enable-expert-parallel --kv-cache-memory 20G",
    ],
)
def test_what_is_repaired_passes_and_keeps_every_other_word(text: str) -> None:
    gpus = parse_gpus("1xMI300X" if text is RECIPE else "8xH200")
    done = repair(text, lambda one: review(one, gpus=gpus, vllm_version="0.33.0"))
    assert done.changed
    assert not [one for one in done.after.findings if one.severity != "info"]
    assert done.after.servers[0].verdict == "fits"
    assert done.diff().startswith("--- ")
    assert MODEL in done.after.text
    assert done.after.text.endswith("\n") == text.endswith("\n")


@pytest.mark.parametrize(
    ("draft", "verdict"), [("/models/Mistral-Medium-3.5-128B-EAGLE", "fits"), ("org/another-eagle", "unknown")]
)
def test_a_draft_is_known_by_the_last_folder_and_no_other_is_taken_for_it(draft: str, verdict: str) -> None:
    short = f" --spec-method eagle --spec-model {draft} --spec-tokens 3"
    for said in (DRAFT.replace("mistralai/Mistral-Medium-3.5-128B-EAGLE", draft), short):
        assert judged(CARD + said, "8xH200", "0.33.0").servers[0].verdict == verdict
