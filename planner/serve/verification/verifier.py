"""Prove that a running server does what was planned: named checks over its HTTP interface.

    report = verify("http://127.0.0.1:8000", Expectations.from_plan(plan), on_result=print)

It works against any OpenAI-compatible vLLM server, changes nothing on it (but for a restart that was asked for), and
never writes the API key anywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from planner.rendering.secrets import API_KEY
from planner.serve.check import CheckList, CheckResult, NamedCheck, Skipped
from planner.serve.verification.checks import (
    basics,
    chat,
    consistency,
    conversation,
    image,
    knowledge,
    limits,
    metrics,
    tools,
)
from planner.serve.verification.checks.probe import Probe
from planner.serve.verification.checks.server import Server, normal_url
from planner.serve.verification.restart import NAME as RESTART
from planner.serve.verification.restart import Restart
from planner.serve.verification.smoke import Expectations, SmokeReport
from planner.settings import DEFAULT_HOST, DEFAULT_PORT

DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
DEFAULT_TIMEOUT_S = 120.0
DEFAULT_CONCURRENCY = 8


CHECKS: CheckList[Probe] = CheckList(
    checks=(
        NamedCheck(name="health", title="the server is up", run=basics.health),
        NamedCheck(name="model", title="the model's name", run=basics.model),
        NamedCheck(name="max-model-len", title="the context limit", run=basics.max_model_len),
        NamedCheck(name="chat", title="a plain answer", run=chat.chat),
        NamedCheck(name="stream", title="a streamed answer", run=chat.stream),
        NamedCheck(name="arithmetic", title="a sum is right", run=knowledge.arithmetic),
        NamedCheck(name="language", title="a word is translated", run=knowledge.language),
        NamedCheck(name="depths", title="a hidden number is found", run=knowledge.depths),
        NamedCheck(name="deterministic", title="the same words twice", run=consistency.deterministic),
        NamedCheck(name="counting", title="a long answer stays right", run=knowledge.counting),
        NamedCheck(name="conversation", title="system message and turns", run=conversation.conversation),
        NamedCheck(name="sampling", title="several answers differ", run=conversation.sampling),
        NamedCheck(name="stop", title="a stop word ends an answer", run=consistency.stop),
        NamedCheck(name="logprobs", title="log probabilities are sane", run=consistency.logprobs),
        NamedCheck(name="usage", title="tokens are counted", run=consistency.usage),
        NamedCheck(name="structured", title="a document fits its schema", run=consistency.structured),
        NamedCheck(name="reasoning-high", title="effort high reasons", run=chat.reasoning_high),
        NamedCheck(name="reasoning-stream", title="a streamed trace", run=chat.reasoning_stream),
        NamedCheck(name="reasoning-none", title="effort none does not", run=chat.reasoning_none),
        NamedCheck(name="reasoning-refused", title="a wrong effort is refused", run=chat.reasoning_refused),
        NamedCheck(name="tool-auto", title="a tool is called", run=tools.tool_auto),
        NamedCheck(name="tool-forced", title="a named tool is called", run=tools.tool_forced),
        NamedCheck(name="tool-required", title="a required call comes", run=tools.tool_required),
        NamedCheck(name="tool-parallel", title="two calls at once", run=tools.tool_parallel),
        NamedCheck(name="tool-stream", title="a tool call in a stream", run=tools.tool_stream),
        NamedCheck(name="tool-result", title="words after a tool's result", run=tools.tool_result),
        NamedCheck(name="image", title="an image is read or refused", run=image.image),
        NamedCheck(name="image-word", title="a word in an image is read", run=image.image_word),
        NamedCheck(name="too-long", title="too long a prompt is refused", run=limits.too_long),
        NamedCheck(name="long", title="a prompt that fills the context", run=limits.long),
        NamedCheck(name="depths-long", title="the same in a full context", run=knowledge.depths_long),
        NamedCheck(name="concurrent", title="several requests at once", run=limits.concurrent),
        NamedCheck(name="cross-talk", title="each gets its own answer", run=knowledge.cross_talk),
        NamedCheck(name="cancel", title="a client that leaves frees memory", run=consistency.cancel),
        NamedCheck(name="kv-cache", title="KV blocks and data type", run=metrics.kv_cache),
        NamedCheck(name="speculative", title="draft tokens are accepted", run=metrics.speculative),
        NamedCheck(name="pace", title="it is as fast as at first", run=chat.pace),
    ),
    # The others need what these two learn.
    always=frozenset({"health", "model"}),
    slow=frozenset({"long", "depths-long"}),
)


def selected_checks(
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    long: bool = False,
    gsm8k: int = 0,
    restart: Restart | None = None,
) -> tuple[NamedCheck[Probe], ...]:
    """Return the checks that a run will make, in order.

    `long` adds the slow ones, `gsm8k` that many problems in words, at most those of
    :func:`~planner.serve.verification.word_problems.word_problems`. With `restart` the server is stopped and started
    again first, and the others are made of what came up.

    Raises:
        InvalidRequest: for a name that no check has.
    """
    chosen = CHECKS.select(only=only, skip=skip, slow=long)
    if gsm8k:
        chosen += (NamedCheck(name="gsm8k", title="problems in words", run=knowledge.gsm8k(gsm8k)),)
    if restart is not None:
        first = tuple(check for check in chosen if check.name in CHECKS.always)
        chosen = (*first, restart.check, *(check for check in chosen if check not in first))
    return chosen


def verify(
    url: str,
    expectations: Expectations | None = None,
    *,
    checks: tuple[NamedCheck[Probe], ...] | None = None,
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
        InvalidRequest: for an address that cannot be one.
    """
    url = normal_url(url)
    started = time.monotonic()
    results: list[CheckResult] = []
    server = Server(url, api_key=os.environ.get(API_KEY) or None, timeout_s=timeout_s)
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
        result = (replace(check, run=_not_made(blocked)) if blocked else check).result(probe)
        assert result is not None, "every check of a server says something"
        results.append(result)
        if on_result:
            on_result(result)
        if check.name == "health" and result.status == "fail":
            blocked = "the server is not up"
        elif check.name == RESTART and result.status == "fail":
            blocked = "the restart failed"
        elif check.name == "model" and not (probe.model or blocked):
            blocked = "the model's name is unknown"
    return SmokeReport(
        url=url, model=probe.model, checks=tuple(results), duration_s=round(time.monotonic() - started, 3)
    )


def _not_made(reason: str) -> Callable[[Probe], str]:
    def skip(_probe: Probe) -> str:
        raise Skipped(reason)

    return skip
