"""The shipped model descriptions; it never touches the network or a checkpoint."""

from __future__ import annotations

from functools import cache

from planner.checkpoint.formats import weight_format
from planner.errors import UnsupportedModel
from planner.facts.models import Draft, Model, described
from planner.model import DraftSpec, LayerGroup, ModelSpec, VisionSpec

DEFAULT_PRESET = "mistral-medium-3.5-128b"


def preset_stems() -> tuple[str, ...]:
    """The stems of the shipped models, drafts left out, the default first."""
    from importlib.resources import files  # only here: it costs a tenth of a plan's cold start

    found = {
        entry.name.removesuffix(".toml") for entry in (files("planner.facts") / "models").iterdir()
        if entry.name.endswith(".toml")
    }  # fmt: skip
    targets = sorted(stem for stem in found if isinstance(described(stem), Model))
    return (DEFAULT_PRESET, *(stem for stem in targets if stem != DEFAULT_PRESET))


@cache
def load_preset(stem: str = DEFAULT_PRESET) -> ModelSpec:
    """Return the model described by ``planner/facts/models/<stem>.toml``.

    Raises:
        FileNotFoundError: when there is no such file.
        UnsupportedModel: when it describes a draft, which is not a model of its own.
    """
    facts = described(stem)
    if isinstance(facts, Draft):
        raise UnsupportedModel(
            f"`{facts.name}` is a draft: it runs beside its target only", hint=f"plan `{facts.target}` with a draft"
        )
    values = vars(facts) | {
        "layers": tuple(
            LayerGroup(count=group.count, attention=weight_format(group.attention), mlp=weight_format(group.mlp))
            for group in facts.layers
        ),
        "vision": VisionSpec(**vars(facts.vision)) if facts.vision else None,
        "draft": load_draft(facts.draft) if facts.draft else None,
    }
    del values["facts"]
    return ModelSpec(**values)


@cache
def load_draft(stem: str) -> DraftSpec:
    """Return the draft described by ``planner/facts/models/<stem>.toml``.

    Raises:
        FileNotFoundError: when there is no such file.
        UnsupportedModel: when it describes a model that is served.
    """
    facts = described(stem)
    if not isinstance(facts, Draft):
        raise UnsupportedModel(f"`{facts.name}` is not a draft")
    return DraftSpec(
        name=facts.name,
        num_hidden_layers=facts.num_hidden_layers,
        weights=weight_format(facts.weights),
        card_num_speculative_tokens=facts.card_num_speculative_tokens,
        card_max_model_len=facts.card_max_model_len,
    )
