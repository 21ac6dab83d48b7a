"""A conversation with a running server, piece by piece; it keeps no history of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.errors import VerifyFailed
from planner.rendering.secrets import API_KEY
from planner.serve.check import Failed
from planner.serve.verification.checks.probe import CHAT, text_of
from planner.serve.verification.checks.server import Server, dig, normal_url

TIMEOUT_S = 600.0
MAX_TOKENS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a conversation."""

    role: str
    """``user`` or ``assistant``."""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of an answer as it comes."""

    text: str = ""
    reasoning: str = ""


def chat(base_url: str, *, model: str, turns: Sequence[Turn]) -> Iterator[Piece]:
    """Yield the answer to `turns` as it is generated; blocks between the pieces.

    Raises:
        VerifyFailed: when the server refuses, hangs or breaks off, in its own words.
    """
    body = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "stream": True,
        "max_tokens": MAX_TOKENS,
        "reasoning_effort": "none",
    }
    try:
        server = Server(normal_url(base_url), api_key=os.environ.get(API_KEY) or None, timeout_s=TIMEOUT_S)
        for event in server.stream(CHAT, body):
            choices = dig(event, "choices")
            if isinstance(choices, list) and choices:
                delta = dig(choices[0], "delta")
                if isinstance(delta, dict):
                    piece = Piece(text=text_of(delta.get("content")), reasoning=text_of(delta.get("reasoning")))
                    if piece.text or piece.reasoning:
                        yield piece
    except Failed as failure:
        raise VerifyFailed(str(failure), hint=failure.hint or None) from failure
