"""The shipped model descriptions; it never touches the network or a checkpoint."""

from __future__ import annotations

from functools import cache
from typing import Any

from planner.facts import load
from planner.model import BF16, FP8, DraftSpec, LayerGroup, ModelSpec, VisionSpec, WeightFormat

DEFAULT_PRESET = "mistral-medium-3.5-128b"
FORMATS: dict[str, WeightFormat] = {"bf16": BF16, "fp8": FP8}


@cache
def load_preset(stem: str = DEFAULT_PRESET) -> ModelSpec:
    """Return the model described by ``planner/facts/models/<stem>.toml``.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    facts = dict(load(f"models/{stem}.toml"))
    facts.pop("facts", None)
    layers: list[dict[str, Any]] = facts.pop("layers")
    vision: dict[str, Any] | None = facts.pop("vision", None)
    draft: dict[str, Any] | None = facts.pop("draft", None)
    return ModelSpec(
        layers=tuple(
            LayerGroup(count=g["count"], attention=FORMATS[g["attention"]], mlp=FORMATS[g["mlp"]]) for g in layers
        ),
        vision=VisionSpec(**vision) if vision else None,
        draft=DraftSpec(**{**draft, "weights": FORMATS[draft["weights"]]}) if draft else None,
        **facts,
    )
