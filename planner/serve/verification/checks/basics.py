"""Is it up, and is it the server that was planned? No prompt is sent."""

from __future__ import annotations

import json

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.probe import Probe, text_of
from planner.serve.verification.checks.server import brief, dig


def health(probe: Probe) -> str:
    """``/health`` answers 200; the version is reported beside it."""
    reply = probe.server.get("/health")
    if reply.status != 200:
        raise Failed(f"/health answered {reply.status}: {reply.error_message}")
    version = _version(probe)
    planned = probe.expect.vllm_version
    if version and planned and version.split("+")[0] != planned:
        return f"up, vLLM {version} (planned for {planned})"
    return f"up, vLLM {version}" if version else "up; it does not report its version"


def _version(probe: Probe) -> str:
    """What ``/version`` says; other OpenAI-compatible servers need not have it."""
    try:
        found = dig(probe.server.get("/version").expect_ok(), "version")
    except Failed:
        return ""
    return brief(found, 40) if isinstance(found, str) else ""


def model(probe: Probe) -> str:
    """``/v1/models`` lists the planned name, which later checks use."""
    listed = dig(probe.server.get("/v1/models").expect_ok(), "data")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [text_of(one.get("id")) for one in entries if text_of(one.get("id"))]
    if not names:
        raise Failed("/v1/models lists no model")
    planned = probe.expect.model
    chosen = planned if planned and planned in names else names[0]
    entry = next(one for one in entries if one.get("id") == chosen)
    limit = entry.get("max_model_len")
    probe.model = chosen
    probe.names = tuple(text_of(one.get("id")) for one in entries if one is entry or _same_model(one, entry))
    probe.max_model_len = limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None
    if planned and planned not in names:
        raise Failed(
            f"serves {brief(json.dumps(names), 100)}, expected {planned}",
            f"start it with --served-model-name {planned}, or name it with --model",
        )
    return brief(chosen)


def _same_model(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether two entries are names of one checkpoint."""
    root = text_of(one.get("root"))
    return bool(root) and root == text_of(other.get("root"))


def max_model_len(probe: Probe) -> str:
    """The served context is the planned one."""
    planned, served = probe.expect.max_model_len, probe.max_model_len
    if served is None:
        raise Skipped("the server does not report its max_model_len")
    if planned is not None and served != planned:
        hint = "a draft's max_model_len shortens the context of the whole server" if served < planned else ""
        raise Failed(f"{served:,} tokens, expected {planned:,}", hint)
    return f"{served:,} tokens"
