"""A Prometheus rule file: the plan's figures as series, and alerts that hold the server against them."""

from __future__ import annotations

from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import load_note, rule_groups
from planner.rendering.emitters.image import heading
from planner.rendering.emitters.yaml_text import yaml_documents

READS = frozenset({"name"})


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the file for ``rule_files:``."""
    return yaml_documents(
        [rule_groups(plan, deployment)], heading=heading(plan, "Prometheus rules", load_note(deployment))
    )
