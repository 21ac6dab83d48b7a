"""Many configurations at once: a grid of settings, judged exactly as one plan is, as arrays. It never chooses one."""

from __future__ import annotations
