"""Answers whose content is known: that the model computes what it was trained to, and reads what it is given.

The scripted twin of a rehearsal says one sentence to everything; with it these checks are skipped, by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.verification.checks.probe import Answer, Probe
from planner.serve.verification.checks.sanity import BROKEN_HINT, must_be_sane
from planner.serve.verification.checks.server import brief
from planner.serve.verification.word_problems import ASK, least_solved, published, word_problems

TWIN = "I am a twin"
"""What the scripted twin says to everything."""
SUM = (38, 57)
FILLER = "The path runs along the river. It bends to the left behind the mill. Then it climbs the hill. "
DEPTHS = (0.1, 0.5, 0.9)
NEAR_TOKENS = 1500
SPARE_TOKENS = 256
LONG_TIMEOUT_FACTOR = 10
COUNT_TO = 100
_BEGUN = 10
"""Whoever wrote that many numbers had begun the list; whoever stops below half was stopped."""
COUNTING = f"Write every number from 1 to {COUNT_TO} in order, separated by spaces. Leave none out."
COUNTING_TOKENS = 512
"""Enough where each digit and each space is a token of its own."""
FASTEST_TOKENS_PER_S = 5000
"""No GPU gives one request so many; what comes faster was held back on its way."""
CROWD = 4
"""Requests at once where answers might be mixed up, for each that is asked for elsewhere: some errors need many."""
SOLUTION_TOKENS = 400
"""Enough for the steps of a problem in words."""


def arithmetic(probe: Probe) -> str:
    """A sum is right."""
    answer = _ask(probe, f"What is {SUM[0]} plus {SUM[1]}? Answer with the number only.")
    right = str(sum(SUM))
    if right not in re.findall(r"\d+", answer.content):
        raise Failed(f"{SUM[0]} plus {SUM[1]} is {right}, the answer was {brief(answer.content, 60)!r}", BROKEN_HINT)
    return f"{SUM[0]} plus {SUM[1]} is {brief(answer.content, 20)!r}"


def language(probe: Probe) -> str:
    """A word is translated."""
    answer = _ask(probe, "Translate into German, one word only: house")
    if "haus" not in answer.content.lower():
        raise Failed(f"`house` in German was {brief(answer.content, 60)!r}", BROKEN_HINT)
    return f"`house` in German is {brief(answer.content, 20)!r}"


def counting(probe: Probe) -> str:
    """A long answer stays right, word for word, and its stream comes as it is made."""
    must_know(probe)
    told = probe.stream(COUNTING, max_tokens=COUNTING_TOKENS)
    said, right = re.findall(r"\d+", told.text), [str(number) for number in range(1, COUNT_TO + 1)]
    # Some models repeat the task before they begin.
    begun = next((at for at in range(len(said)) if said[at : at + 3] == right[:3]), 0)
    said = said[begun : begun + COUNT_TO]
    wrong = next((at for at, (one, other) in enumerate(zip(said, right, strict=False)) if one != other), None)
    if wrong is not None:
        seen = f"counting to {COUNT_TO}, {brief(said[wrong], 20)} came where {right[wrong]} was next"
        if "..." in told.text or "\N{HORIZONTAL ELLIPSIS}" in told.text:
            raise Doubtful(seen, "the model left numbers out of itself: ask it by hand for a long answer")
        raise Failed(seen, f"a long answer goes wrong while it grows: {BROKEN_HINT}")
    if not said or (len(said) < COUNT_TO and told.finish_reason != "length"):
        seen = f"counting to {COUNT_TO}, it ended after {len(said)}"
        if _BEGUN <= len(said) < COUNT_TO // 2 and told.text.rstrip().endswith(said[-1]):
            raise Failed(f"{seen} and said {brief(told.finish_reason, 20)!r}", f"answers are cut: {BROKEN_HINT}")
        raise Doubtful(seen)
    spread_s = told.last_s - told.first_s
    if told.completion_tokens > FASTEST_TOKENS_PER_S * spread_s:
        raise Doubtful(
            f"counted to {len(said)}, and all {told.completion_tokens} tokens of the stream came at once, "
            f"{told.last_s:.1f} s after the question",
            "a proxy holds streams back (nginx: `proxy_buffering off`), or `--stream-interval` is large",
        )
    return f"{len(said)} numbers in order, {told.completion_tokens} tokens in {told.last_s:.1f} s"


def depths(probe: Probe) -> str:
    """A number that is hidden at several depths of a short text is found."""
    room = min(NEAR_TOKENS, (probe.max_model_len or probe.expect.max_model_len or 2 * NEAR_TOKENS) // 2)
    return _find(probe, characters=room * 3, timeout_s=probe.server.timeout_s)


def depths_long(probe: Probe) -> str:
    """The same in a text that fills the context."""
    limit, sample = probe.context_limit(), FILLER * 20
    count = probe.count_tokens(sample)
    characters = max(len(FILLER), int((limit - SPARE_TOKENS) * 0.95 * len(sample) / count))
    return _find(probe, characters=characters, timeout_s=probe.server.timeout_s * LONG_TIMEOUT_FACTOR)


def cross_talk(probe: Probe) -> str:
    """Several at once each get the answer to their own question."""
    must_know(probe)
    crowd = CROWD * probe.concurrency
    count = min(crowd, probe.expect.max_num_seqs or crowd)
    numbers = [4100 + 37 * guest for guest in range(count)]
    with ThreadPoolExecutor(max_workers=count) as pool:
        asked = [pool.submit(probe.chat, f"Repeat this number and nothing else: {number}") for number in numbers]
        answers = [future.result().content for future in asked]
    for number, text in zip(numbers, answers, strict=True):
        others = [other for other in numbers if other != number and str(other) in text]
        if others:
            raise Failed(f"the request for {number} was answered with another's {others[0]}", BROKEN_HINT)
        if str(number) not in text:
            raise Failed(f"asked at once to repeat {number}, it said {brief(text, 60)!r}", BROKEN_HINT)
    return f"{count} at once, each with its own number"


def gsm8k(count: int) -> Callable[[Probe], str]:
    """Return the check that `count` problems in words are solved about as often as was published."""

    def check(probe: Probe) -> str:
        must_know(probe)
        problems = word_problems()[:count]
        with ThreadPoolExecutor(max_workers=probe.concurrency) as pool:
            asked = [
                pool.submit(probe.chat, f"{problem.text}\n\n{ASK}", max_tokens=SOLUTION_TOKENS) for problem in problems
            ]
            answers = [future.result().content for future in asked]
        wrong = [
            (problem, text) for problem, text in zip(problems, answers, strict=True) if not problem.solved_by(text)
        ]
        share, source = published()
        solved, least = count - len(wrong), least_solved(count, share)
        seen = f"{solved} of {count} solved, at least {least} expected"
        if solved < least:
            problem, text = wrong[0]
            raise Failed(
                f"{seen} ({source}); `{brief(problem.text, 60)}` is {problem.answer}, the answer ended "
                f"{brief(text[-60:], 60)!r}",
                BROKEN_HINT,
            )
        return seen

    return check


def _find(probe: Probe, *, characters: int, timeout_s: float) -> str:
    must_know(probe)
    body = FILLER * (characters // len(FILLER) + 1)
    tokens = 0
    codes = [str(7391 + 1117 * place) for place in range(len(DEPTHS))]
    for place, (depth, code) in enumerate(zip(DEPTHS, codes, strict=True)):
        at = body.find(". ", int(depth * characters)) + 2
        text = f"{body[:at]}The code of the blue cabinet is {code}. {body[at:characters]}"
        question = f"{text}\n\nWhat is the code of the blue cabinet? Answer with the number only."
        reply = probe.server.post("/v1/chat/completions", probe.body(question), timeout_s=timeout_s)
        answer = Answer.of(reply)
        must_be_sane(answer.content, reasoning=answer.reasoning)
        tokens = answer.prompt_tokens
        earlier = next((one for one in codes[:place] if one in answer.content), None)
        if code not in answer.content and earlier is not None:
            raise Failed(
                f"a number at {depth:.0%} of {tokens:,} tokens was {code}, the answer {earlier}, which an earlier "
                "request held in its place",
                "cached prefixes are mixed up: `--no-enable-prefix-caching`, KV connectors, `cache_salt`",
            )
        if code not in answer.content:
            raise Failed(
                f"a number at {depth:.0%} of {tokens:,} tokens was {code}, the answer {brief(answer.content, 60)!r}",
                "attention over the context is broken: `--kv-cache-dtype auto`, another attention backend, RoPE",
            )
    return f"found at {', '.join(f'{depth:.0%}' for depth in DEPTHS)} of {tokens:,} tokens"


def _ask(probe: Probe, question: str) -> Answer:
    must_know(probe)
    return probe.chat(question)


def knows(probe: Probe) -> bool:
    """Whether the server has a model that knows something: the scripted twin has none."""
    if probe.scripted is None:
        probe.scripted = TWIN in probe.chat("Say hello in one short sentence.").content
    return not probe.scripted


def must_know(probe: Probe) -> None:
    """Skip where the server is the scripted twin.

    Raises:
        Skipped: where it is.
    """
    if not knows(probe):
        raise Skipped("this is the scripted twin of a rehearsal, which knows nothing")
