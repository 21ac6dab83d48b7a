"""What an answer says of itself: probabilities, counts, the same words twice, a document that fits its schema."""

from __future__ import annotations

import math
import time

from hw_specs.parsing import BadJson, parse_json
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.verification.checks.knowledge import SUM
from planner.serve.verification.checks.probe import CHAT, Answer, Probe, text_of
from planner.serve.verification.checks.sanity import BROKEN_HINT, must_be_sane
from planner.serve.verification.checks.server import brief, dig
from planner.serve.verification.live_metrics import KV_USE, RUNNING, read_counters

COLOURS = "Name the three primary colours."
LONG_STORY = "Count from 1 to 400, one number per line."
FREED_S = 10.0
"""How long an engine may take to notice that a client has gone."""
_ALMOST_ZERO = 1e-6
_SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}},
    "required": ["sum"],
    "additionalProperties": False,
}


def deterministic(probe: Probe) -> str:
    """At temperature 0 the same question gets the same words."""
    first, second = (probe.chat(COLOURS).content for _ in range(2))
    if first == second:
        return f"twice {brief(first, 60)!r}"
    if first.split()[:1] == second.split()[:1]:
        raise Doubtful(
            f"{brief(first, 40)!r}, then {brief(second, 40)!r}",
            "a cached prefix may change the last bit; more than a word or two should not differ",
        )
    raise Failed(f"{brief(first, 40)!r}, then {brief(second, 40)!r}", BROKEN_HINT)


def logprobs(probe: Probe) -> str:
    """Log probabilities are finite, belong to the text, and the chosen token is the likeliest."""
    reply = probe.server.post(CHAT, probe.body(COLOURS, max_tokens=16, logprobs=True, top_logprobs=2))
    if reply.status == 400:
        raise Skipped(f"the server gives none: {reply.error_message}")
    content = Answer.of(reply).content
    found = dig(reply.document, "choices", 0, "logprobs")
    tokens = found.get("content") if isinstance(found, dict) else None
    if not isinstance(tokens, list) or not tokens:
        raise Failed("asked for log probabilities, none came")
    for token in tokens:
        value = token.get("logprob") if isinstance(token, dict) else None
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value > _ALMOST_ZERO:
            raise Failed(f"a log probability of {value!r}", BROKEN_HINT)
    said = "".join(text_of(token.get("token")) for token in tokens)
    if content.strip() and content.strip() not in said:
        raise Failed(
            f"the tokens say {brief(said, 40)!r}, the text says {brief(content, 40)!r}",
            "tokens and text are shifted against each other: the tokenizer is not this model's",
        )
    likeliest = [_likeliest(token) for token in tokens]
    if any(best is not None and best > token["logprob"] + 0.01 for best, token in zip(likeliest, tokens, strict=True)):
        raise Doubtful("at temperature 0 a token was chosen that is not the likeliest", BROKEN_HINT)
    mean = sum(token["logprob"] for token in tokens) / len(tokens)
    return f"{len(tokens)} tokens, mean log probability {mean:.2f}"


def usage(probe: Probe) -> str:
    """The counted tokens agree with each other and with the limit that was set."""
    reply = probe.server.post(CHAT, probe.body(COLOURS, max_tokens=5))
    answer = Answer.of(reply)
    counted = dig(reply.document, "usage")
    total = counted.get("total_tokens") if isinstance(counted, dict) else None
    seen = f"{answer.prompt_tokens} prompt and {answer.completion_tokens} completion tokens"
    if answer.prompt_tokens < 1 or not 1 <= answer.completion_tokens <= 5:
        raise Failed(f"{seen}, at most 5 were asked for")
    if isinstance(total, int) and total != answer.prompt_tokens + answer.completion_tokens:
        raise Failed(f"{seen}, but {total} together")
    return seen


def structured(probe: Probe) -> str:
    """A document that must fit a schema does."""
    answer = probe.chat(
        f"What is {SUM[0]} plus {SUM[1]}? Answer as JSON.",
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True}},
    )
    try:
        document = parse_json(answer.content)
    except BadJson as error:
        raise Failed(f"asked for JSON of a schema, got {brief(answer.content, 60)!r}") from error
    value = document.get("sum") if isinstance(document, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or set(document) != {"sum"}:
        raise Failed(f"does not fit the schema: {brief(answer.content, 60)!r}")
    return brief(answer.content, 40)


def cancel(probe: Probe) -> str:
    """A client that goes away frees its place and its KV blocks."""
    before = _gauges(probe)
    if before is None:
        raise Skipped("the server does not report how many requests are running")
    if before[0] > 0:
        raise Skipped(f"{before[0]:.0f} other requests are running, so it is not clear whose place is freed")
    stream = probe.server.stream(CHAT, probe.body(LONG_STORY, max_tokens=2048, stream=True))
    text = ""
    for event in stream:
        choices = dig(event, "choices")
        delta = dig(choices, 0, "delta") if isinstance(choices, list) and choices else None
        text += text_of(delta.get("content")) if isinstance(delta, dict) else ""
        if len(text) > 8:
            break
    must_be_sane(text)
    stream.close()  # type: ignore[attr-defined]
    began = time.monotonic()
    while (state := _gauges(probe)) is not None and state[0] > 0:
        if time.monotonic() - began > FREED_S:
            raise Failed(f"{state[0]:.0f} requests still run {FREED_S:g} s after their client went away")
        time.sleep(0.1)
    kept = state[1] if state is not None else 0.0
    return f"freed after {time.monotonic() - began:.1f} s, {kept:.0%} of the KV cache in use"


def _gauges(probe: Probe) -> tuple[float, float] | None:
    reply = probe.server.get("/metrics")
    if reply.status != 200:
        return None
    counters = read_counters(reply.text, at_s=0.0)
    running = counters.get(RUNNING)
    return None if running is None else (running, counters.get(KV_USE) or 0.0)


def _likeliest(token: dict[str, object]) -> float | None:
    top = token.get("top_logprobs")
    values = [one["logprob"] for one in top if isinstance(one, dict)] if isinstance(top, list) else []
    return max((value for value in values if isinstance(value, (int, float))), default=None)
