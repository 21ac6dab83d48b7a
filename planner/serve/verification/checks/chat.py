"""Chat, streaming and the two reasoning efforts."""

from __future__ import annotations

from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.verification.checks.consistency import must_agree
from planner.serve.verification.checks.knowledge import knows
from planner.serve.verification.checks.probe import ANSWER_TOKENS, THINKING_TOKENS, Answer, Probe, text_of
from planner.serve.verification.checks.sanity import BROKEN_HINT
from planner.serve.verification.checks.server import brief

GREETING = "Say hello in one short sentence."
QUESTION = "What is 17 times 23? Think first, then answer with the number."
RIGHT = "391"
TRACE_MARKS = ("[THINK]", "[/THINK]", "<think>", "</think>")
PARSER_HINT = "start the server with --reasoning-parser mistral"
PACE_ASKS = 3
PACE_TIMES = 5
PACE_NOTICED_S = 1.0
"""An answer of a few tokens that is so much slower, at its fastest of three, is worth a look (our choice)."""
_TRACE_LETTERS = 40
"""No answer repeats that much of its reasoning letter for letter."""


def chat(probe: Probe) -> str:
    """A plain question is answered with text that comes to an end, by the model that was asked."""
    answer = probe.chat(GREETING)
    probe.first_s = answer.duration_s
    if not answer.content.strip():
        raise Failed(f"the answer is empty (finish_reason {answer.finish_reason or 'none'})")
    if answer.finish_reason == "length" and 0 < answer.completion_tokens < ANSWER_TOKENS // 2:
        raise Failed(f"{answer.completion_tokens} tokens of {ANSWER_TOKENS}, but finish_reason is 'length', not 'stop'")
    if answer.finish_reason == "length":
        raise Doubtful(
            f"one short sentence was asked for, and only the limit of {answer.completion_tokens} tokens ended it",
            "the engine does not know the model's end token: generation_config.json, `--generation-config`",
        )
    if answer.finish_reason != "stop":
        raise Failed(f"finish_reason is {brief(answer.finish_reason or 'none', 20)!r}, not 'stop'")
    if answer.model not in ("", probe.model, *probe.names):
        raise Doubtful(
            f"{brief(probe.model, 40)} was asked, {brief(answer.model, 40)} answered",
            "what stands before the servers sends this name to another one",
        )
    return f"{brief(answer.content, 60)!r}, {answer.completion_tokens} tokens"


def stream(probe: Probe) -> str:
    """The same answer as a stream: the same words, a finish reason, usage, ``[DONE]``."""
    told = probe.stream(GREETING)
    if not told.completion_tokens:
        raise Failed("the stream ends without its usage, which was asked for (stream_options.include_usage)")
    if not told.text.strip():
        raise Failed(f"the stream carries reasoning alone: {brief(told.reasoning, 60)!r}", PARSER_HINT)
    whole = probe.chat(GREETING)
    must_agree(whole.content, told.text, seen="whole {}, streamed {}")
    for what, one, other in (
        ("completion", whole.completion_tokens, told.completion_tokens),
        ("prompt", whole.prompt_tokens, told.prompt_tokens),
    ):
        if one and other and one != other:
            raise Failed(f"the same request counts {one} {what} tokens as a whole and {other} as a stream")
    return (
        f"{len(told.pieces)} pieces, first after {told.first_s * 1000:,.0f} ms, {told.completion_tokens} tokens, "
        f"finish_reason {brief(told.finish_reason, 20)}"
    )


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
    trace = answer.reasoning.strip()
    if len(trace) >= _TRACE_LETTERS and trace in answer.content:
        raise Failed(f"the reasoning stands in the content again: {brief(answer.content, 60)!r}", PARSER_HINT)
    whole = answer.finish_reason == "stop"
    if whole and RIGHT in answer.reasoning and RIGHT not in answer.content and answer.content.strip():
        raise Failed(
            f"the answer {RIGHT} is in the reasoning, the content is {brief(answer.content, 60)!r}",
            "reasoning and content are swapped: `--reasoning-parser mistral` for this model",
        )
    if whole and not answer.content.strip():
        raise Failed(
            f"all of it is reasoning, the content is empty: {brief(answer.reasoning[-60:], 60)!r}", PARSER_HINT
        )
    if whole and RIGHT not in answer.content and knows(probe):
        raise Failed(f"17 times 23 is {RIGHT}, the content is {brief(answer.content, 60)!r}", BROKEN_HINT)
    return f"reasoning {brief(answer.reasoning, 40)!r}, content {brief(answer.content, 40)!r}"


def reasoning_stream(probe: Probe) -> str:
    """Streamed, the trace comes apart from the answer, too."""
    told = probe.stream(QUESTION, max_tokens=THINKING_TOKENS, reasoning_effort="high")
    mark = next((mark for mark in TRACE_MARKS if mark in told.text), None)
    if mark is not None:
        raise Failed(f"the stream holds a raw {mark}: {brief(told.text, 60)!r}", PARSER_HINT)
    if not told.reasoning.strip():
        raise Failed(f"no reasoning in the stream, content {brief(told.text, 60)!r}", PARSER_HINT)
    if told.finish_reason == "stop" and not told.text.strip():
        raise Failed(f"all of the stream is reasoning: {brief(told.reasoning[-60:], 60)!r}", PARSER_HINT)
    return f"reasoning {brief(told.reasoning, 40)!r}, content {brief(told.text, 40)!r}"


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


def pace(probe: Probe) -> str:
    """After everything else the first question is answered about as fast as at first."""
    if probe.first_s is None:
        raise Skipped("the first answer was not timed: it is what `chat` asks")
    now_s = min(probe.chat(GREETING).duration_s for _ in range(PACE_ASKS))
    seen = f"the first answer came after {probe.first_s:.1f} s, the same one after everything else after {now_s:.1f} s"
    if now_s > PACE_TIMES * probe.first_s and now_s - probe.first_s > PACE_NOTICED_S:
        raise Doubtful(
            seen, "others use the server, or it slows down with every request: `m35-plan bench`, its log, `/metrics`"
        )
    return seen


def _no_marks(answer: Answer) -> None:
    for mark in TRACE_MARKS:
        if mark in answer.content:
            raise Failed(f"the content holds a raw {mark}: {brief(answer.content, 60)!r}", PARSER_HINT)
