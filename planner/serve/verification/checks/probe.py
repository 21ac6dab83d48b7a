"""What the checks of one run share: the server, the expectations, and what was learned on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.sanity import must_be_sane
from planner.serve.verification.checks.server import Reply, Server, brief, dig
from planner.serve.verification.smoke import Expectations

CHAT = "/v1/chat/completions"
ANSWER_TOKENS = 64
"""Enough for a short answer."""
THINKING_TOKENS = 1024
"""Enough for a trace to begin; where it is cut off, the trace is still evidence."""


@dataclass(slots=True, kw_only=True)
class Probe:
    """One run of the checks."""

    server: Server
    expect: Expectations
    concurrency: int
    model: str = ""
    """Served name, once known."""
    names: tuple[str, ...] = ()
    """All names that the server has for it; vLLM answers with the first one, whichever was asked."""
    max_model_len: int | None = None
    """Served limit, once known."""
    first_s: float | None = None
    """How long the first answer took, once known."""
    scripted: bool | None = None
    """Whether it is the scripted twin of a rehearsal, once known."""

    def body(self, content: object, *, max_tokens: int = ANSWER_TOKENS, **more: object) -> dict[str, object]:
        """Return a greedy chat request with one user message; `more` are further keys of the request."""
        if self.max_model_len:
            max_tokens = max(1, min(max_tokens, self.max_model_len // 2))
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0,
            **more,
        }

    def chat(self, content: object, *, max_tokens: int = ANSWER_TOKENS, **more: object) -> Answer:
        """Ask once and return the answer.

        Raises:
            Failed: unless it is a well-formed 200 whose words can be an answer.
        """
        answer = Answer.of(self.server.post(CHAT, self.body(content, max_tokens=max_tokens, **more)))
        must_be_sane(answer.content, reasoning=answer.reasoning)
        return answer

    def stream(self, content: object, *, max_tokens: int = ANSWER_TOKENS, **more: object) -> Streamed:
        """Ask once and read the answer as it comes.

        Raises:
            Failed: unless the stream is whole and its words can be an answer.
        """
        told = Streamed()
        body = self.body(content, max_tokens=max_tokens, stream=True, stream_options={"include_usage": True}, **more)
        started = time.monotonic()
        for event in self.server.stream(CHAT, body):
            told.take(event, at_s=time.monotonic() - started)
        if not told.text.strip() and not told.reasoning.strip():
            raise Failed("the stream carries no text")
        must_be_sane(told.text, reasoning=told.reasoning)
        if not told.finish_reason:
            raise Failed("the stream ends without a finish_reason")
        return told

    def context_limit(self) -> int:
        """Return the longest context, as served or as planned.

        Raises:
            Skipped: when neither is known.
        """
        limit = self.max_model_len or self.expect.max_model_len
        if limit is None:
            raise Skipped("the server does not report its max_model_len, and none is planned")
        return limit

    def count_tokens(self, content: str) -> int:
        """Return how many tokens the server counts in a prompt, those of the chat format among them.

        Raises:
            Skipped: when the server does not count.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        reply = self.server.post("/tokenize", body)
        if reply.status == 404:
            raise Skipped("the server has no /tokenize, so the length of a prompt is unknown")
        count = dig(reply.expect_ok(), "count")
        if not isinstance(count, int) or count < 1:
            raise Failed("/tokenize reports no count")
        return count

    def refusal(self, content: object, *, max_tokens: int = ANSWER_TOKENS, **more: object) -> Reply:
        """Ask for something that must be refused; return the refusal.

        Raises:
            Failed: when it is granted, or fails for the server's own reasons.
        """
        reply = self.server.post(CHAT, self.body(content, max_tokens=max_tokens, **more))
        if reply.status == 200:
            raise Failed("was accepted, and should have been refused")
        if reply.status >= 500 or reply.status in (401, 403, 404):
            raise Failed(f"answered {reply.status}, which is not a clear refusal: {reply.error_message}")
        return reply


@dataclass(slots=True, kw_only=True)
class Streamed:
    """A streamed answer, put together; times count from the request."""

    pieces: list[str] = field(default_factory=list)
    reasoning: str = ""
    first_s: float = 0.0
    last_s: float = 0.0
    finish_reason: str = ""
    completion_tokens: int = 0
    prompt_tokens: int = 0

    @property
    def text(self) -> str:
        """The pieces in one."""
        return "".join(self.pieces)

    def take(self, event: object, *, at_s: float) -> None:
        """Add what `event` carries."""
        usage = event.get("usage") if isinstance(event, dict) else None
        self.completion_tokens = count_of(usage, "completion_tokens") or self.completion_tokens
        self.prompt_tokens = count_of(usage, "prompt_tokens") or self.prompt_tokens
        choices = dig(event, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self.finish_reason = text_of(choice.get("finish_reason")) or self.finish_reason
        delta = choice.get("delta")
        self.reasoning += text_of(delta.get("reasoning")) if isinstance(delta, dict) else ""
        if piece := text_of(delta.get("content")) if isinstance(delta, dict) else "":
            self.first_s, self.last_s = self.first_s or at_s, at_s
            self.pieces.append(piece)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A chat answer, taken apart."""

    model: str
    """The name of the model that answered, as the answer tells it."""
    content: str
    reasoning: str
    message: dict[str, object]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    duration_s: float

    @classmethod
    def of(cls, reply: Reply) -> Answer:
        """Take `reply` apart."""
        document = reply.expect_ok()
        choice = dig(document, "choices", 0)
        message = dig(choice, "message")
        if not isinstance(message, dict):
            raise Failed("`choices.0.message` is not an object")
        if message.get("role") != "assistant":
            raise Failed(f"`choices.0.message.role` is {brief(str(message.get('role')), 20)!r}, not 'assistant'")
        usage = document.get("usage") if isinstance(document, dict) else None
        finish = choice.get("finish_reason") if isinstance(choice, dict) else None
        return cls(
            model=text_of(document.get("model")) if isinstance(document, dict) else "",
            content=text_of(message.get("content")),
            reasoning=text_of(message.get("reasoning")),
            message=message,
            finish_reason=finish if isinstance(finish, str) else "",
            prompt_tokens=count_of(usage, "prompt_tokens"),
            completion_tokens=count_of(usage, "completion_tokens"),
            duration_s=reply.duration_s,
        )


def text_of(value: object) -> str:
    """Return `value` if it is text, else an empty string."""
    return value if isinstance(value, str) else ""


def count_of(usage: object, key: str) -> int:
    """Return a token count of a usage object, 0 where it is not told."""
    number = usage.get(key) if isinstance(usage, dict) else None
    return number if isinstance(number, int) else 0
