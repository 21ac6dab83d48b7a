"""A plan as text for the thing that runs it; one pure function per target, none of which touches the machine."""

from __future__ import annotations

from importlib import import_module

from planner.errors import InvalidRequest
from planner.planning.answer import Plan

EMITTERS: dict[str, str] = {
    "shell": "one line for a POSIX shell",
    "argv": "the argument vector, one word a line",
    "env": "the environment, NAME=value lines",
    "docker": "docker run",
    "compose": "a Docker Compose file",
    "kubernetes": "Deployment, Service and PersistentVolumeClaim",
    "lws": "a LeaderWorkerSet for servers that span nodes",
    "kserve": "a KServe InferenceService",
    "llm-d": "values for the llm-d model service chart",
    "systemd": "a systemd unit",
}
"""Target → one line of help; the module is ``planner.rendering.emitters.<target>``, its function ``emit``."""


WITH_COMMENTS = frozenset(EMITTERS) - {"argv", "env"}
"""Targets whose readers skip lines that start with ``#``."""


def emit(kind: str, plan: Plan, *, host: str = "127.0.0.1", port: int = 8000) -> str:
    """Return `plan` as text for the target `kind`, without a final line end.

    Raises:
        InvalidRequest: for a target that does not exist, or that cannot express a plan over several nodes; for a host
            that is no address.
    """
    if kind not in EMITTERS:
        raise InvalidRequest("emit", f"there is no emitter `{kind}`", hint=f"there are: {', '.join(EMITTERS)}")
    import_module("planner.rendering.address").check_host(host)
    text = import_module(f"planner.rendering.emitters.{kind.replace('-', '_')}").emit(plan, host=host, port=port)
    assert isinstance(text, str)
    return text
