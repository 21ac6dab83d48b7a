"""Where model descriptions come from: shipped presets and, later, local checkpoints. No model code is ever run."""

from __future__ import annotations

from planner.checkpoint.preset import load_preset

__all__ = ["load_preset"]
