"""What an answer says of itself: probabilities, counts, the same words twice; and whether it keeps what was asked."""

from __future__ import annotations

import contextlib
import math
import time

from hw_specs.parsing import BadJson, parse_json
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.verification.checks.knowledge import FILLER, SUM, knows
from planner.serve.verification.checks.probe import CHAT, Answer, Probe, text_of
from planner.serve.verification.checks.sanity import BROKEN_HINT, must_be_sane
from planner.serve.verification.checks.server import brief, dig
from planner.serve.verification.live_metrics import KV_USE, RUNNING, read_counters

COLOURS = "Name the three primary colours."
LONG_STORY = "Count from 1 to 400, one number per line."
FREED_S = 10.0
"""How long an engine may take to notice that a client has gone."""
USAGE_TOKENS = 2
_ALMOST_ZERO = 1e-6
_ROUNDED = 0.01
"""What half precision may add to a sum of two."""
_LEAST_LIKELY = -math.log(1e6)
"""No vocabulary has a million tokens, so that the likeliest of one is never less likely than this."""
_SEVERAL = 4
"""Tokens in a row of which each has an equal by chance: none (one may)."""
_LEAST_MEAN = -5.0
"""A simple question is answered with tokens that the model is surer of than of one in 150 (assumed)."""
_SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}},
    "required": ["sum"],
    "additionalProperties": False,
}


def deterministic(probe: Probe) -> str:
    """At temperature 0 the same question gets the same words."""
    first, second = (probe.chat(COLOURS).content for _ in range(2))
    must_agree(first, second, seen="{}, then {}")
    return f"twice {brief(first, 60)!r}"


def must_agree(first: str, second: str, *, seen: str) -> None:
    """Refuse two answers to one question, at temperature 0, that are not one; `seen` has a place for each.

    Raises:
        Failed: when not even the first word is the same.
        Doubtful: when they part later.
    """
    if first == second:
        return
    told = seen.format(*(repr(brief(text, 40)) for text in (first, second)))
    if first.split()[:1] != second.split()[:1]:
        raise Failed(told, BROKEN_HINT)
    raise Doubtful(told, "a cached prefix may change the last bit; more than a word or two should not differ")


def stop(probe: Probe) -> str:
    """A stop word ends the answer and is not in it."""
    words = probe.chat(COLOURS).content.split()
    if len(words) < 2:
        raise Skipped("the answer has fewer than two words, so none can be made a stop word")
    answer = probe.chat(COLOURS, stop=[words[1]])
    if not answer.content.strip():
        raise Failed(f"asked to stop before {brief(words[1], 20)!r}, the second word, it said nothing")
    if words[1] in answer.content:
        raise Failed(f"asked to stop before {brief(words[1], 20)!r}, it said {brief(answer.content, 60)!r}")
    return f"ended before {brief(words[1], 20)!r}"


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
        for one in (value, *_others(token)):
            if not isinstance(one, (int, float)) or not math.isfinite(one) or one > _ALMOST_ZERO:
                raise Failed(f"a log probability of {one!r}", BROKEN_HINT)
        together = sum(math.exp(one) for one in _others(token))
        if together > 1 + _ROUNDED:
            raise Failed(f"two tokens of probability {together:.2f} together", BROKEN_HINT)
        if isinstance(value, (int, float)) and _apart(token) and together + math.exp(value) > 1 + _ROUNDED:
            raise Failed(
                f"the chosen token is none of the likeliest, and all have probability {together + math.exp(value):.2f}",
                BROKEN_HINT,
            )
        if isinstance(value, (int, float)) and value < _LEAST_LIKELY:
            raise Failed(f"at temperature 0 a token of log probability {value:.0f} was chosen", BROKEN_HINT)
    said = "".join(text_of(token.get("token")) for token in tokens)
    if content.strip() and content.strip() not in said:
        raise Failed(
            f"the tokens say {brief(said, 40)!r}, the text says {brief(content, 40)!r}",
            "tokens and text are shifted against each other: the tokenizer is not this model's",
        )
    if any(other > token["logprob"] + 0.01 for token in tokens for other in _others(token)):
        raise Doubtful("at temperature 0 a token was chosen that is not the likeliest", BROKEN_HINT)
    if len(tokens) >= _SEVERAL and all(len(two := _others(token)) > 1 and len(set(two)) == 1 for token in tokens):
        raise Failed(f"the two likeliest of each of {len(tokens)} tokens are equally likely", BROKEN_HINT)
    mean = sum(token["logprob"] for token in tokens) / len(tokens)
    if mean < _LEAST_MEAN:
        raise Failed(f"the likeliest tokens have a mean log probability of {mean:.1f}: it guesses", BROKEN_HINT)
    return f"{len(tokens)} tokens, mean log probability {mean:.2f}"


def usage(probe: Probe) -> str:
    """The counted tokens agree with each other, with the limit that was set and with the words, and say what ended it.

    Where the server counts prompts, too (``/tokenize``), both counts are one.
    """
    question = FILLER + COLOURS
    reply = probe.server.post(CHAT, probe.body(question, max_tokens=USAGE_TOKENS))
    answer = Answer.of(reply)
    counted = dig(reply.document, "usage")
    total = counted.get("total_tokens") if isinstance(counted, dict) else None
    seen = f"{answer.prompt_tokens} prompt and {answer.completion_tokens} completion tokens"
    if not 1 <= answer.completion_tokens <= USAGE_TOKENS:
        raise Failed(f"{seen}, at most {USAGE_TOKENS} were asked for")
    asked, said = len(question.split()), len(answer.content.split())
    if answer.prompt_tokens < asked or answer.completion_tokens < said:
        raise Failed(f"{seen}, for {asked} words that were answered with {said}")
    if isinstance(total, int) and total != answer.prompt_tokens + answer.completion_tokens:
        raise Failed(f"{seen}, but {total} together")
    with contextlib.suppress(Skipped):
        counted_before = probe.count_tokens(question)
        if counted_before != answer.prompt_tokens:
            raise Failed(f"{seen}, and /tokenize counts {counted_before} in the same prompt")
    if answer.completion_tokens == USAGE_TOKENS and answer.finish_reason != "length":
        said_why = brief(answer.finish_reason or "none", 20)
        raise Failed(f"{seen}, cut by the limit, but finish_reason is {said_why!r}, not 'length'")
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
    if value != sum(SUM) and knows(probe):
        raise Failed(f"{SUM[0]} plus {SUM[1]} is {sum(SUM)}, the document says {value}", BROKEN_HINT)
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
    freed_s = time.monotonic() - began
    while (state := _gauges(probe)) is not None and state[1] > before[1] + _ROUNDED:
        if time.monotonic() - began > FREED_S:
            raise Doubtful(
                f"nothing runs, and {state[1]:.0%} of the KV cache is in use, {before[1]:.0%} before",
                "it leaks where it grows with every client that leaves: ask `/metrics` again, "
                "vllm:kv_cache_usage_perc; KV transfers hold blocks until they are fetched",
            )
        time.sleep(0.1)
    kept = state[1] if state is not None else 0.0
    return f"freed after {freed_s:.1f} s, {kept:.0%} of the KV cache in use"


def _gauges(probe: Probe) -> tuple[float, float] | None:
    reply = probe.server.get("/metrics")
    if reply.status != 200:
        return None
    counters = read_counters(reply.text, at_s=0.0)
    running = counters.get(RUNNING)
    return None if running is None else (running, counters.get(KV_USE) or 0.0)


def _apart(token: dict[str, object]) -> bool:
    """Whether the chosen token is not among the likeliest that are told beside it."""
    top = token.get("top_logprobs")
    told = [one.get("token") for one in top if isinstance(one, dict)] if isinstance(top, list) else []
    return bool(told) and token.get("token") not in told


def _others(token: dict[str, object]) -> list[float]:
    """The log probabilities of the likeliest tokens beside the chosen one."""
    top = token.get("top_logprobs")
    values = [one.get("logprob") for one in top if isinstance(one, dict)] if isinstance(top, list) else []
    return [value for value in values if isinstance(value, (int, float))]
