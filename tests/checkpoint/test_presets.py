from __future__ import annotations

import pytest

from planner.checkpoint import load_model, load_preset, preset_stems
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.memory.weights import rank_weights
from planner.model import ModelSpec


def total(model: ModelSpec) -> int:
    return rank_weights(model, tensor_parallel_size=1)[0].total_bytes


def test_official_model_closes_on_its_index() -> None:
    model = load_model("mistralai/Mistral-Medium-3.5-128B")
    scalars = 88 * 7 * 2 * 2
    assert total(model) + scalars == model.checkpoint_bytes == 133_605_834_656
    assert model.kv_cache_scheme is None
    assert model.draft is not None and model.draft.num_hidden_layers == 2


def test_nvidia_nvfp4_closes_on_its_index() -> None:
    model = load_preset("mistral-medium-3.5-128b-nvfp4")
    assert model.checkpoint_bytes == 95_224_812_960
    assert total(model) == model.checkpoint_bytes - 8_096
    linears = [(g.attention.name, g.mlp.name) for g in model.layer_formats]
    assert sum(3 for _, mlp in linears if mlp == "nvfp4") == 249
    assert sum(4 for a, _ in linears if a == "fp8") + sum(3 for _, mlp in linears if mlp == "fp8") == 367
    assert model.kv_cache_scheme == "fp8" and not model.native_format


def test_full_nvfp4_is_as_large_as_its_card_says() -> None:
    assert round(total(load_preset("mistral-medium-3.5-128b-nvfp4-full")) / 2**30, 2) == 74.80


def test_devstral_is_the_text_model() -> None:
    target = rank_weights(load_preset(), tensor_parallel_size=1, language_model_only=True)[0]
    assert total(load_preset("devstral-2-123b")) == target.text_bytes == 128_249_389_056


@pytest.mark.parametrize("stem", preset_stems())
def test_every_preset_answers_to_stem_and_repository(stem: str) -> None:
    model = load_preset(stem)
    assert load_model(stem) is model
    assert load_model(model.name) is model
    assert load_model(model.name.upper()) is model


def test_draft_is_no_model_of_its_own() -> None:
    with pytest.raises(UnsupportedModel, match="is a draft") as caught:
        load_model("mistralai/Mistral-Medium-3.5-128B-EAGLE")
    assert "mistralai/Mistral-Medium-3.5-128B" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "no/such-model", "\0", "x" * 5000])
def test_unknown_names_are_refused_with_what_is_shipped(name: str) -> None:
    with pytest.raises(UnreadableCheckpoint) as caught:
        load_model(name)
    assert "mistral-medium-3.5-128b" in (caught.value.hint or "")
