"""How tokens are drafted: one setting, in the words of every room."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, plan
from planner.errors import InvalidRequest, UnreadableCheckpoint
from planner.facts.drafts import draft_facts
from planner.memory.rank import Calibration
from planner.planning.request import SETTINGS
from planner.rendering.argv import draft_method, draft_settings, read_command
from planner.rendering.command import serve_command
from planner.settings import DRAFT_MODELS, SpecMethod
from planner.speed.drafting import proposed_tokens, tokens_per_step
from planner.speed.predict import step_model_for

GPUS = parse_gpus("8xH200")
LOOKUPS = [method for method in get_args(SpecMethod) if method not in DRAFT_MODELS]


def test_every_method_has_an_acceptance_and_is_a_choice() -> None:
    assert set(get_args(SpecMethod)) == set(draft_facts().methods) == set(SETTINGS["spec_method"].choices)


@pytest.mark.parametrize("method", LOOKUPS)
def test_what_looks_for_repeated_text_takes_no_weights_and_no_cache(method: SpecMethod) -> None:
    plain = plan(PlanRequest(gpus=GPUS))
    drafted = plan(PlanRequest(gpus=GPUS, spec_method=method, num_speculative_tokens=3))
    own = plan(PlanRequest(gpus=GPUS, num_speculative_tokens=3))
    assert own.settings.spec_method == "eagle" and own.settings.draft_model
    assert drafted.settings.spec_method == method and not drafted.settings.draft_model
    assert drafted.ledger.line("weights.draft").bytes == 0 < own.ledger.line("weights.draft").bytes
    per_token = [one.kv_cache.bytes_per_token_per_gpu for one in (plain, drafted, own)]
    assert per_token[0] == per_token[1] < per_token[2]
    # A step still checks four tokens of a sequence; a suffix tree runs on the other runner, whose buffers are smaller.
    if method == "ngram":
        assert drafted.ledger.line("buffers").bytes > plain.ledger.line("buffers").bytes
    codes = {warning.code for warning in drafted.warnings}
    assert not any(code.startswith("eagle") for code in codes)
    # vllm/config/speculative.py _validate_suffix_decoding: ImportError.
    assert ("needs-arctic-inference" in codes) == (method == "suffix")


@pytest.mark.parametrize("method", [None, "eagle", *LOOKUPS])
def test_a_command_reads_back_as_the_draft_that_was_planned(method: SpecMethod | None) -> None:
    made = plan(PlanRequest(gpus=GPUS, spec_method=method, num_speculative_tokens=2))
    argv = serve_command(made).argv
    said = json.loads(argv[argv.index("--speculative-config") + 1])
    assert said["method"] == made.settings.spec_method and ("model" in said) == made.settings.draft_model
    again = plan(read_command(serve_command(made).shell, plan=made).request)
    assert again.settings.spec_method == made.settings.spec_method
    assert again.settings.num_speculative_tokens == 2


def test_the_short_flags_say_the_same() -> None:
    made = plan(PlanRequest(gpus=GPUS))
    typed = "vllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --spec-method ngram --spec-tokens 4"
    request = read_command(typed, plan=made).request
    assert (request.spec_method, request.num_speculative_tokens) == ("ngram", 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spec_method": "ngram"}, "drafts nothing without num_speculative_tokens"),
        ({"spec_method": "mtp", "num_speculative_tokens": 1}, "has no MTP layers"),
        ({"spec_method": "eagle3", "num_speculative_tokens": 3}, "of the method `eagle`, not `eagle3`"),
        ({"spec_method": "ngram", "num_speculative_tokens": 129}, "more than a step checks"),
        ({"spec_method": "medusa", "num_speculative_tokens": 1}, "spec_method must be eagle or"),
        ({"spec_method": "ngram", "num_speculative_tokens": 3, "speculative_max_model_len": 9}, "has none"),
    ],
)
def test_what_the_engine_cannot_draft_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        plan(PlanRequest(gpus=GPUS, **changes))  # type: ignore[arg-type]


def test_without_its_draft_a_request_is_whole_again() -> None:
    """The lever that drops a draft leaves no method and no limit behind, which alone are refused."""
    asked: tuple[dict[str, Any], ...] = (
        {"spec_method": "ngram", "num_speculative_tokens": 64},
        {"speculative_max_model_len": 16_384, "num_speculative_tokens": 3},
    )
    for one in asked:
        made = plan(PlanRequest(gpus=parse_gpus("1xH200"), **one))
        lever = next(lever for lever in made.levers if lever.name == "no-draft")
        assert plan(lever.apply(made.request)).settings.num_speculative_tokens == 0


@pytest.mark.parametrize(
    ("said", "method"),
    [
        ({"model": "org/EAGLE3-Llama"}, "eagle3"),
        ({"model": "org/eagle-llama"}, "eagle"),
        ({"model": "org/some-draft"}, "draft_model"),
        ({"method": "mimo_mtp"}, "mtp"),
        ({"method": "[ngram]"}, "ngram"),
        ({}, None),
    ],
)
def test_a_method_that_nobody_names_is_the_engines_guess(said: dict[str, str], method: str | None) -> None:
    assert draft_method(said) == method


@pytest.mark.parametrize("method", ["eagle", "eagle3"])
def test_the_draft_that_json_names_is_the_one_that_is_planned(method: str) -> None:
    """Never the model's own in its place."""
    said = draft_settings({"method": method, "model": "org/a-draft", "num_speculative_tokens": 3})
    assert said["spec_model"] == "org/a-draft"
    with pytest.raises(UnreadableCheckpoint, match="org/a-draft"):
        plan(PlanRequest(gpus=GPUS, **said))
    with pytest.raises(InvalidRequest, match="must be a name"):
        draft_settings({"method": method, "model": 7, "num_speculative_tokens": 3})


def test_mtp_layers_of_another_checkpoint_are_not_planned_as_the_model_s_own() -> None:
    for method in ("mtp", "qwen3_next_mtp"):
        with pytest.raises(InvalidRequest, match="names another's: `org/layers`"):
            draft_settings({"method": method, "model": "org/layers", "num_speculative_tokens": 1})


def test_a_suffix_tree_counts_itself() -> None:
    said = draft_settings({"method": "suffix"})
    assert said == {"spec_method": "suffix", "num_speculative_tokens": draft_facts().suffix_tree_depth.value}
    assert draft_settings({"method": "suffix", "suffix_decoding_max_tree_depth": 8})["num_speculative_tokens"] == 8


def test_a_suffix_tree_checks_what_is_likely_and_what_is_known_to_come() -> None:
    assert proposed_tokens(24, "slow", "suffix") == 0
    assert 0 < proposed_tokens(24, "expected", "suffix") < proposed_tokens(24, "fast", "suffix") < 24
    assert proposed_tokens(24, "expected", "suffix", told=5.5) == 5
    assert proposed_tokens(24, "expected", "ngram") == 24
    assert tokens_per_step(24, "slow", method="suffix") == 1


@pytest.mark.parametrize(
    ("version", "method", "ahead"),
    [("0.32.0", "ngram", False), ("0.33.0", "ngram", True), ("0.33.0", "suffix", False)],
)
def test_no_step_is_made_ahead_of_a_lookup_that_needs_its_tokens(version: str, method: str, ahead: bool) -> None:
    made = plan(PlanRequest(gpus=GPUS, num_speculative_tokens=2, vllm_version=version))
    looked = replace(made, settings=replace(made.settings, spec_method=method))
    assert step_model_for(made).profile.async_scheduling
    assert step_model_for(looked).profile.async_scheduling is ahead and step_model_for(looked).work.draft is None
    told = replace(looked, settings=replace(looked.settings, async_scheduling=False))
    step, waits = step_model_for(looked), step_model_for(told)
    assert not waits.profile.async_scheduling
    assert (waits.profile.step_s > step.profile.step_s) is ahead


@pytest.mark.parametrize(
    ("kept", "planned", "alike"),
    [
        (None, None, True),
        ("eagle", None, True),
        ("ngram", None, False),
        (None, "ngram", False),
        ("ngram", "ngram", True),
    ],
)
def test_a_kept_start_without_a_method_had_the_model_s_own_draft(kept: str | None, planned: Any, alike: bool) -> None:
    """Starts were kept before there were methods."""
    request = PlanRequest(gpus=GPUS, num_speculative_tokens=3, spec_method=planned)
    answer = plan(request)
    settings = answer.settings
    record = Calibration(
        model=answer.model.name, gpu=answer.gpus.spec.id, vllm_version=answer.vllm_version, spec_method=kept,
        tensor_parallel_size=settings.tensor_parallel_size, pipeline_parallel_size=settings.pipeline_parallel_size,
        terms={"graphs": 123_456_789}, run="r",
        **{name: getattr(settings, name) for name in (
            "max_num_seqs", "max_num_batched_tokens", "language_model_only", "enforce_eager", "num_speculative_tokens"
        )},
    )  # fmt: skip
    again = plan(replace(request, calibrations=(record,)))
    assert (123_456_789 in [line.bytes for line in again.ledger.lines if line.name == "graphs"]) is alike
