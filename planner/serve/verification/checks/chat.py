"""Chat, streaming and the two reasoning efforts."""

from __future__ import annotations

import time

from planner.serve.check import Failed
from planner.serve.verification.checks.probe import CHAT, THINKING_TOKENS, Answer, Probe, count_of, text_of
from planner.serve.verification.checks.sanity import must_be_sane
from planner.serve.verification.checks.server import brief, dig

GREETING = "Say hello in one short sentence."
QUESTION = "What is 17 times 23? Think first, then answer with the number."
RIGHT = "391"
TRACE_MARKS = ("[THINK]", "[/THINK]")
PARSER_HINT = "start the server with --reasoning-parser mistral"


def chat(probe: Probe) -> str:
    """A plain question is answered with text."""
    answer = probe.chat(GREETING)
    if not answer.content.strip():
        raise Failed(f"the answer is empty (finish_reason {answer.finish_reason or 'none'})")
    return f"{brief(answer.content, 60)!r}, {answer.completion_tokens} tokens"


def stream(probe: Probe) -> str:
    """The same answer as a stream: pieces, a finish reason, usage, ``[DONE]``."""
    body = probe.body(GREETING, stream=True, stream_options={"include_usage": True})
    started, first_s = time.monotonic(), 0.0
    pieces: list[str] = []
    finish, usage = "", 0
    for event in probe.server.stream(CHAT, body):
        usage = count_of(event.get("usage") if isinstance(event, dict) else None, "completion_tokens") or usage
        choices = dig(event, "choices")
        if not isinstance(choices, list) or not choices:
            continue
        piece = text_of(_delta(choices[0]).get("content"))
        if piece:
            first_s = first_s or time.monotonic() - started
            pieces.append(piece)
        finish = text_of(choices[0].get("finish_reason")) or finish if isinstance(choices[0], dict) else finish
    if not "".join(pieces).strip():
        raise Failed("the stream carries no text")
    must_be_sane("".join(pieces))
    if not finish:
        raise Failed("the stream ends without a finish_reason")
    return (
        f"{len(pieces)} pieces, first after {first_s * 1000:,.0f} ms, {usage} tokens, finish_reason {brief(finish, 20)}"
    )


def _delta(choice: object) -> dict[str, object]:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return delta if isinstance(delta, dict) else {}


def reasoning_high(probe: Probe) -> str:
    """``reasoning_effort: high`` puts the trace into ``message.reasoning``."""
    answer = probe.chat(QUESTION, max_tokens=THINKING_TOKENS, reasoning_effort="high")
    _no_marks(answer)
    if not answer.reasoning.strip():
        if text_of(answer.message.get("reasoning_content")).strip():
            raise Failed(
                "the trace is in message.reasoning_content, not in message.reasoning",
                "this is not a vLLM of 0.20 or newer; clients written for one would print None",
            )
        raise Failed(f"no reasoning, content {brief(answer.content, 60)!r}", PARSER_HINT)
    if RIGHT in answer.reasoning and RIGHT not in answer.content and answer.content.strip():
        raise Failed(
            f"the answer {RIGHT} is in the reasoning, the content is {brief(answer.content, 60)!r}",
            "reasoning and content are swapped: `--reasoning-parser mistral` for this model",
        )
    return f"reasoning {brief(answer.reasoning, 40)!r}, content {brief(answer.content, 40)!r}"


def reasoning_none(probe: Probe) -> str:
    """``reasoning_effort: none`` answers without a trace."""
    answer = probe.chat(GREETING, reasoning_effort="none")
    _no_marks(answer)
    if answer.reasoning.strip():
        raise Failed(f"reasoned anyway: {brief(answer.reasoning, 60)!r}")
    if not answer.content.strip():
        raise Failed("the answer is empty")
    return f"no reasoning, content {brief(answer.content, 60)!r}"


def reasoning_refused(probe: Probe) -> str:
    """An effort that the model does not know is refused by name."""
    reply = probe.refusal(GREETING, reasoning_effort="medium")
    if "reasoning_effort" not in reply.text:
        raise Failed(f"answered {reply.status}, but does not name reasoning_effort: {reply.error_message}")
    return f"{reply.status}: {brief(reply.error_message, 100)}"


def _no_marks(answer: Answer) -> None:
    for mark in TRACE_MARKS:
        if mark in answer.content:
            raise Failed(f"the content holds a raw {mark}: {brief(answer.content, 60)!r}", PARSER_HINT)
