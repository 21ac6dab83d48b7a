"""The shipped model descriptions; it never touches the network or a checkpoint."""

from __future__ import annotations

from functools import cache

from planner.errors import UnsupportedModel
from planner.facts.models import described
from planner.facts.record import read_value
from planner.model import DraftSpec, ModelSpec

DEFAULT_PRESET = "mistral-medium-3.5-128b"


def preset_stems() -> tuple[str, ...]:
    """The stems of the shipped models, drafts left out, the default first."""
    targets = (stem for stem in _stems() if described(stem)[0].kind == "model")
    return (DEFAULT_PRESET, *(stem for stem in targets if stem != DEFAULT_PRESET))


def draft_stems() -> tuple[str, ...]:
    """The stems of the shipped drafts."""
    return tuple(stem for stem in _stems() if described(stem)[0].kind == "draft")


@cache
def _stems() -> tuple[str, ...]:
    from importlib.resources import files  # only here: it costs a tenth of a plan's cold start

    found = {
        entry.name.removesuffix(".toml") for entry in (files("planner.facts") / "models").iterdir()
        if entry.name.endswith(".toml")
    }  # fmt: skip
    return tuple(sorted(found))


@cache
def load_preset(stem: str = DEFAULT_PRESET) -> ModelSpec:
    """Return the model described by ``planner/facts/models/<stem>.toml``.

    Raises:
        FileNotFoundError: when there is no such file.
        UnsupportedModel: when it describes a draft, which is not a model of its own.
    """
    notes, table = described(stem)
    if notes.kind == "draft":
        name = DraftSpec.named(stem).name
        raise UnsupportedModel(
            f"`{name}` is a draft: it runs beside its target only", hint=f"plan `{notes.target}` with a draft"
        )
    found: ModelSpec = read_value(table, ModelSpec, f"models/{stem}.toml")
    return found
