"""An Ansible filter: put this file into ``filter_plugins/`` and write ``{{ '8xH200' | m35_plan(context=131072) }}``.

- set_fact:
    serve: "{{ gpus | m35_plan(context=131072) }}"
- assert:
    that: serve.feasible
- command:
    argv: "{{ serve.command.argv }}"
"""

from __future__ import annotations

from typing import Any

from hw_specs import parse_gpus
from planner import M35Error, PlanRequest, plan, plan_document, to_json_value

try:
    from ansible.errors import AnsibleFilterError
except ImportError:  # so that the filter can be tried without Ansible
    AnsibleFilterError = ValueError


def m35_plan(gpus: str, context: int | None = None, **settings: Any) -> dict[str, Any]:
    """Return the plan document for `gpus`; settings bear vLLM's names."""
    try:
        request = PlanRequest(gpus=parse_gpus(gpus), max_model_len=context, **settings)
        return to_json_value(plan_document(plan(request)))
    except (M35Error, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"m35_plan: {error}") from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Name → function."""
        return {"m35_plan": m35_plan}
