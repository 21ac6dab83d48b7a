"""The context limit from both sides, and several requests at once."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.probe import CHAT, Answer, Probe
from planner.serve.verification.checks.server import brief

WORD = " a"
"""Never shorter than one token in any tokenizer that splits text at words."""
SPARE_TOKENS = 32
LONG_TIMEOUT_FACTOR = 10
LARGEST_PROMPT_TOKENS = 1 << 24
"""No longer prompt is made: it would take tens of MiB here, whatever limit a server claims."""
_ABOUT_LENGTH = re.compile(r"context length|max_model_len|too long|exceed|longer than|maximum", re.IGNORECASE)


def too_long(probe: Probe) -> str:
    """A prompt over the limit is refused, in words that name the length."""
    limit = _limit(probe)
    reply = probe.refusal(WORD * (limit + SPARE_TOKENS), max_tokens=1)
    if str(limit) not in reply.text and not _ABOUT_LENGTH.search(reply.text):
        raise Failed(f"refused with {reply.status}, but the words do not name the length: {reply.error_message}")
    return f"{reply.status}: {brief(reply.error_message, 100)}"


def long(probe: Probe) -> str:
    """A prompt that fills the context, less a little, is answered."""
    limit = _limit(probe)
    words = limit - SPARE_TOKENS
    # The chat format adds tokens of its own; the server counts them.
    words = max(1, 2 * words - probe.count_tokens(WORD * words))
    timeout_s = probe.server.timeout_s * LONG_TIMEOUT_FACTOR
    answer = Answer.of(probe.server.post(CHAT, probe.body(WORD * words, max_tokens=8), timeout_s=timeout_s))
    if answer.prompt_tokens < limit - 2 * SPARE_TOKENS:
        raise Failed(f"the server counted {answer.prompt_tokens:,} prompt tokens of a prompt made for {limit:,}")
    speed = answer.prompt_tokens / max(answer.duration_s, 1e-3)
    return f"{answer.prompt_tokens:,} prompt tokens in {answer.duration_s:,.1f} s, {speed:,.0f} per second"


def _limit(probe: Probe) -> int:
    limit = probe.context_limit()
    if limit > LARGEST_PROMPT_TOKENS:
        raise Skipped(f"the server claims a limit of {limit:,} tokens; no prompt of that size is sent")
    return limit


def concurrent(probe: Probe) -> str:
    """Several different questions at once are all answered."""
    count = probe.concurrency
    if probe.expect.max_num_seqs is not None:
        count = min(count, probe.expect.max_num_seqs)
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=count) as pool:
        waiting = [pool.submit(probe.chat, f"Say hello to guest number {guest}.") for guest in range(1, count + 1)]
        outcomes: list[str] = []
        for future in waiting:
            try:
                outcomes.append("" if future.result().content.strip() else "the answer is empty")
            except Failed as error:
                outcomes.append(str(error))
    wrong = [outcome for outcome in outcomes if outcome]
    if wrong:
        raise Failed(f"{len(wrong)} of {count} at once failed, the first: {brief(wrong[0], 100)}")
    return f"{count} at once answered in {time.monotonic() - started:,.1f} s"
