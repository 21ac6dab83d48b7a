"""A Prometheus rule file: the plan's figures as series, and alerts that hold the server against them."""

from __future__ import annotations

from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import load_note, rule_groups
from planner.rendering.emitters.yaml_text import commented_yaml

READS = frozenset({"name"})


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the file for ``rule_files:``."""
    return commented_yaml(plan, "Prometheus rules", [rule_groups(plan, deployment)], load_note(plan))
