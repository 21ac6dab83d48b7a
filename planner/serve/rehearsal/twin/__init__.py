"""A tiny twin of the model: same architecture and file formats, hand-made weights, a few MB.

It never downloads, never imports torch, and never claims to be the model: its answers are scripted.
"""

from __future__ import annotations

from planner.serve.rehearsal.twin.build import Twin, make_twin
from planner.serve.rehearsal.twin.spec import CPU_TWIN, TwinSpec

__all__ = ["CPU_TWIN", "Twin", "TwinSpec", "make_twin"]
