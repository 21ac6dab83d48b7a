"""Predicted against measured: every term of the ledger, on start-ups that it was not fitted to.

It never changes a coefficient. Terms that are fitted are fitted again without the model under test.
"""

from __future__ import annotations

from planner.accuracy.evaluate import Comparison, Group, Report, evaluate
from planner.accuracy.own import own_groups
from planner.accuracy.page import PLOT, goals, render_page
from planner.accuracy.plot import render_plot
from planner.accuracy.public import public_groups

__all__ = [
    "PLOT",
    "Comparison",
    "Group",
    "Report",
    "evaluate",
    "goals",
    "own_groups",
    "public_groups",
    "render_page",
    "render_plot",
]
