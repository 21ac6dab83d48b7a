"""Prove that a running server does what was planned: named checks over its HTTP interface.

    report = verify("http://127.0.0.1:8000", Expectations.from_plan(plan), on_result=print)

It works against any OpenAI-compatible vLLM server, changes nothing on it, and never writes the API key anywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from planner.errors import InvalidRequest
from planner.serve.verification.checks import basics, chat, image, limits, metrics, tools
from planner.serve.verification.checks.probe import Check, Probe
from planner.serve.verification.checks.server import Failed, Server, Skipped, normal_url
from planner.serve.verification.optional_packages import require
from planner.serve.verification.smoke import CheckResult, Expectations, SmokeReport, Status

API_KEY_VARIABLE = "VLLM_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 120.0
DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheck:
    """A check, its stable name and what it proves."""

    name: str
    title: str
    run: Check


CHECKS: tuple[NamedCheck, ...] = (
    NamedCheck(name="health", title="the server is up", run=basics.health),
    NamedCheck(name="model", title="the model's name", run=basics.model),
    NamedCheck(name="max-model-len", title="the context limit", run=basics.max_model_len),
    NamedCheck(name="chat", title="a plain answer", run=chat.chat),
    NamedCheck(name="stream", title="a streamed answer", run=chat.stream),
    NamedCheck(name="reasoning-high", title="effort high reasons", run=chat.reasoning_high),
    NamedCheck(name="reasoning-none", title="effort none does not", run=chat.reasoning_none),
    NamedCheck(name="reasoning-refused", title="a wrong effort is refused", run=chat.reasoning_refused),
    NamedCheck(name="tool-auto", title="a tool is called", run=tools.tool_auto),
    NamedCheck(name="tool-forced", title="a named tool is called", run=tools.tool_forced),
    NamedCheck(name="tool-stream", title="a tool call in a stream", run=tools.tool_stream),
    NamedCheck(name="tool-result", title="words after a tool's result", run=tools.tool_result),
    NamedCheck(name="image", title="an image is read or refused", run=image.image),
    NamedCheck(name="too-long", title="too long a prompt is refused", run=limits.too_long),
    NamedCheck(name="long", title="a prompt that fills the context", run=limits.long),
    NamedCheck(name="concurrent", title="several requests at once", run=limits.concurrent),
    NamedCheck(name="kv-cache", title="KV blocks and data type", run=metrics.kv_cache),
    NamedCheck(name="speculative", title="draft tokens are accepted", run=metrics.speculative),
)
"""In the order they run."""

CHECK_NAMES = tuple(check.name for check in CHECKS)
SLOW = frozenset({"long"})
"""Run only when asked for."""
FOUNDATION = frozenset({"health", "model"})
"""Run always: the others need what they learn."""


def selected_checks(
    *, only: Collection[str] = (), skip: Collection[str] = (), long: bool = False
) -> tuple[NamedCheck, ...]:
    """Return the checks that a run will make, in order.

    Raises:
        InvalidRequest: for a name that no check has.
    """
    from difflib import get_close_matches

    for name in (*only, *skip):
        if name not in CHECK_NAMES:
            near = get_close_matches(name, CHECK_NAMES, n=3)
            raise InvalidRequest(
                "only",
                f"there is no check `{name}`",
                hint=f"did you mean `{'`, `'.join(near)}`?" if near else f"the checks are {', '.join(CHECK_NAMES)}",
            )
    slow = SLOW if long else frozenset(only) & SLOW
    return tuple(
        check
        for check in CHECKS
        if (check.name in FOUNDATION or not only or check.name in only)
        and check.name not in skip
        and (check.name not in SLOW or check.name in slow)
    )


def verify(
    base_url: str,
    expectations: Expectations | None = None,
    *,
    checks: tuple[NamedCheck, ...] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_start: Callable[[str], None] | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
) -> SmokeReport:
    """Run the checks one after another and return what they saw.

    Blocks; call it from a thread where that matters. The callbacks are called in the calling thread, `on_start`
    with a check's name and `on_result` with its outcome; an exception from one ends the run. The API key is read
    from VLLM_API_KEY. `timeout_s` bounds each single answer.

    Raises:
        InvalidRequest: for an address that is none.
        PlannerError: when httpx is not installed.
    """
    require("httpx")
    url = normal_url(base_url)
    started = time.monotonic()
    results: list[CheckResult] = []
    with Server(url, api_key=os.environ.get(API_KEY_VARIABLE) or None, timeout_s=timeout_s) as server:
        probe = Probe(
            server=server,
            expect=expectations or Expectations(),
            concurrency=max(1, concurrency),
            model=(expectations.model or "") if expectations else "",
        )
        blocked = ""
        for check in selected_checks() if checks is None else checks:
            if on_start:
                on_start(check.name)
            result = _run(check, probe, blocked)
            results.append(result)
            if on_result:
                on_result(result)
            if check.name == "health" and result.status == "fail":
                blocked = "the server is not up"
            elif check.name == "model" and not (probe.model or blocked):
                blocked = "the model's name is unknown"
    return SmokeReport(
        base_url=url, model=probe.model, results=tuple(results), duration_s=round(time.monotonic() - started, 3)
    )


def _run(check: NamedCheck, probe: Probe, blocked: str) -> CheckResult:
    started = time.monotonic()
    status: Status = "pass"
    hint = ""
    try:
        if blocked:
            raise Skipped(blocked)
        seen = check.run(probe)
    except Skipped as reason:
        status, seen = "skip", str(reason)
    except Failed as failure:
        status, seen, hint = "fail", str(failure), failure.hint
    return CheckResult(
        name=check.name, status=status, seen=seen, hint=hint, duration_s=round(time.monotonic() - started, 3)
    )
