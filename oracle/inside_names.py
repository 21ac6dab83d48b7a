"""Names that the child and its parent share; no torch here."""

from __future__ import annotations

COMPONENTS = (
    "embed", "lm_head", "attention", "mlp", "norms", "vision_tower", "projector", "draft_fc", "rope_cache", "scales",
)  # fmt: skip
PHASES = ("encoder", "forward", "logits", "sampler")
