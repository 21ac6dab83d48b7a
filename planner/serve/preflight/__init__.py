"""Named checks of one machine for one start, before it; they look and never change anything.

Each gives pass, warn, fail or unknown with one line and a hint. What cannot be known here, because it lies on
another machine, in an image or behind a network, is unknown, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from planner.errors import InvalidRequest
from planner.serve.preflight.situation import CheckResult, Situation, Status

__all__ = ["CHECKS", "CheckResult", "Situation", "Status", "run_preflight"]

CHECKS: dict[str, str] = {
    "vllm": "engine",
    "mistral_common": "engine",
    "transformers": "engine",
    "arguments": "engine",
    "docker": "machine",
    "gpus": "machine",
    "gpu_memory": "machine",
    "driver": "machine",
    "port": "machine",
    "api_key": "machine",
    "shared_memory": "machine",
    "host_memory": "machine",
    "checkpoint": "checkpoint",
    "draft": "checkpoint",
    "disk": "checkpoint",
    "configuration": "checkpoint",
}
"""Check → the module that holds ``check_<name>``, in the order in which they run."""


_ANYWHERE = ("vllm", "mistral_common", "transformers", "arguments", "api_key")
"""Checks that say something about a start on another machine, if the same engine is installed here."""


def run_preflight(situation: Situation, *, only: Sequence[str] = (), skip: Sequence[str] = ()) -> Iterator[CheckResult]:
    """Yield the result of each check as it comes; a check that does not apply yields nothing.

    Raises:
        InvalidRequest: for a check that does not exist.
    """
    for name in (*only, *skip):
        if name not in CHECKS:
            raise InvalidRequest("check", f"there is no check `{name}`", hint=f"one of {', '.join(CHECKS)}")
    for name, module in CHECKS.items():
        if (only and name not in only) or name in skip:
            continue
        if situation.elsewhere and name not in _ANYWHERE:
            yield CheckResult(name=name, status="unknown", seen="the plan is for another machine: check it there")
            continue
        check: Callable[[Situation], CheckResult | None] = getattr(
            import_module(f"planner.serve.preflight.{module}"), f"check_{name}"
        )
        try:
            result = check(situation)
        except OSError as error:
            text = f"could not look: {error.strerror or error}"
            result = CheckResult(name=name, status="unknown", seen=text)
        if result is not None:
            yield result
