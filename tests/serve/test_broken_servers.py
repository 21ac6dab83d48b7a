"""Servers that answer well and with 200, and are broken: each kind is named by the check that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from planner.serve.verification.checks.sanity import next_turn, template_mark, token_piece
from planner.serve.verification.verifier import selected_checks, verify

from .fakes.openai_server import Made, Spoil, fake_server
from .verified import PLANNED

Body = dict[str, Any]


def text(change: Callable[[str], str], *, where: str = "") -> Spoil:
    """Change the words of answers to requests that hold `where`."""

    def spoil(made: Made, body: Body) -> None:
        if isinstance(made.message.get("content"), str) and where in str(body):
            made.message["content"] = change(made.message["content"])

    return spoil


def call(**changes: object) -> Spoil:
    """Change the first tool call: its own keys, or those of its function."""

    def spoil(made: Made, _body: Body) -> None:
        for one in made.message.get("tool_calls", ()):
            for name, value in changes.items():
                (one["function"] if name in one["function"] else one)[name] = value

    return spoil


def tokens(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    def spoil(made: Made, _body: Body) -> None:
        made.tokens = None if made.tokens is None else [{**one, **change(one)} for one in made.tokens]

    return spoil


def finish(reason: str, *, stream: bool = False) -> Spoil:
    def spoil(made: Made, body: Body) -> None:
        made.finish = reason if bool(body.get("stream")) is stream else made.finish

    return spoil


def prompt(change: Callable[[int], int]) -> Spoil:
    def spoil(made: Made, _body: Body) -> None:
        made.prompt_tokens = change(made.prompt_tokens)

    return spoil


def thinks_only(made: Made, _body: Body) -> None:
    if "reasoning" in made.message:
        made.message["reasoning"] += made.message["content"]
        made.message["content"] = None


def as_user(made: Made, _body: Body) -> None:
    made.message["role"] = "user"


def streamed(change: Callable[[dict[str, Any]], None]) -> Spoil:
    """Change a message with reasoning where it is streamed."""

    def spoil(made: Made, body: Body) -> None:
        if body.get("stream") and "reasoning" in made.message:
            change(made.message)

    return spoil


def after_tool(answer: str) -> Spoil:
    def spoil(made: Made, body: Body) -> None:
        if body["messages"][-1]["role"] == "tool":
            made.message = {"role": "assistant", "content": answer}

    return spoil


BROKEN: list[tuple[str, Spoil, str, str]] = [
    ("spaces of the tokenizer", text(lambda said: said.replace(" ", "\u0120") + "\u0120x"), "chat", "pieces of tokens"),
    ("marks of sentencepiece", text(lambda said: "\u2581" + said), "chat", "pieces of tokens"),
    ("single bytes", text(lambda said: said + "<0xF0>"), "chat", "pieces of tokens"),
    ("goes on as the user", text(lambda said: said + "\nUser: And then?\nAssistant: Well."), "chat", "a raw User:"),
    ("echoes the prompt", text(lambda _said: "What is 38 plus 57?"), "arithmetic", "is 95, the answer was"),
    ("a digit too far", text(lambda said: re.sub("95", "96", said)), "arithmetic", "is 95"),
    ("only the end is read", text(lambda _said: "0000", where="cabinet"), "depths", "at 10%"),
    ("one number is lost", text(lambda said: said.replace(" 57 ", " ")), "counting", "58 came where 57"),
    ("two sure tokens", tokens(lambda one: {"logprob": 0.0, "top_logprobs": [{"logprob": 0.0}] * 2}), "logprobs",
     "probability 2.00 together"),
    ("guesses", tokens(lambda one: {"logprob": -11.7, "top_logprobs": [{"logprob": -11.7}]}), "logprobs", "it guesses"),
    ("logprobs as text", tokens(lambda one: {"logprob": "-0.2"}), "logprobs", "a log probability of '-0.2'"),
    ("the prompt is cut", prompt(lambda count: min(count, 25)), "usage", "25 prompt"),
    ("the prompt is counted twice", prompt(lambda count: 2 * count), "usage", "/tokenize counts"),
    ("cut but not said", finish("stop"), "usage", "not 'length'"),
    ("another city", call(arguments='{"city": "Berlin"}'), "tool-auto", "asked for Paris"),
    ("no type", call(type=None), "tool-auto", "lacks its id or its type"),
    ("no id", call(id=""), "tool-auto", "lacks its id or its type"),
    ("a call in a call", call(arguments='"{}"'), "tool-auto", "lack a text `city`"),
    ("two objects", call(arguments='{"city": "Paris"}{"city": "Paris"}'), "tool-auto", "not JSON"),
    ("the name with its module", call(name="functions.get_weather"), "tool-auto", "called 'functions.get_weather'"),
    ("a stream that says stop", finish("stop", stream=True), "tool-stream", "not 'tool_calls'"),
    ("deaf to the tool", after_tool("I cannot know that."), "tool-result", "the tool said sunny"),
    ("as the user", as_user, "chat", "role` is 'user', not 'assistant'"),
    ("thinks only", thinks_only, "reasoning-high", "the content is empty"),
    ("a wrong product", text(lambda said: said.replace("391", "381")), "reasoning-high", "17 times 23 is 391"),
    ("thoughts as text", text(lambda said: "<think>hm</think>" + said), "reasoning-none", "a raw <think>"),
    ("every colour", text(lambda _said: "Red, green, blue.", where="image_url"), "image", "every colour"),
    ("a wrong document", text(lambda said: said.replace("95", "3")), "structured", "the document says 3"),
    ("prose for a document", text(lambda said: "95" if said.startswith("{") else said), "structured",
     "fit the schema: '95'"),
    ("no system message", text(lambda _said: "6204", where="green cabinet"), "conversation",
     "the system message is not read"),
    ("no earlier turn", text(lambda _said: "5187", where="green cabinet"), "conversation",
     "the first turn is not read"),
    ("only the last turn", text(lambda _said: "I cannot know.", where="green cabinet"), "conversation",
     "the system message and the first turn are not read"),
    ("a stale prefix", text(lambda _said: "7391", where="blue cabinet"), "depths", "which an earlier request held"),
    ("a stale image", text(lambda _said: "Red.", where="image_url"), "image", "a blue square after a red one"),
    ("mixed up from the ninth on", text(lambda said: said if int(said) < 4396 else "4100", where="Repeat this number"),
     "cross-talk", "answered with another's 4100"),
    ("a trace in the stream's text", streamed(lambda said: said.update(content="[THINK]hm[/THINK] 391")),
     "reasoning-stream", "a raw [THINK]"),
    ("a trace lost in the stream", streamed(lambda said: said.pop("reasoning")), "reasoning-stream",
     "no reasoning in the stream"),
    ("a stream of thoughts", streamed(lambda said: said.update(content="")), "reasoning-stream",
     "all of the stream is reasoning"),
    ("a stream of nonsense", streamed(lambda said: said.update(reasoning="#" * 60)), "reasoning-stream",
     "not text, one piece repeated"),
    ("a fenced document", text(lambda said: f"```json\n{said}\n```"), "structured", "asked for JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "name", "seen"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_broken_server_fails_where_it_is_broken(spoil: Spoil, name: str, seen: str) -> None:
    with fake_server(spoil=spoil) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=[name]))
    (result,) = [one for one in report.checks if one.name == name]
    assert (result.status, seen in result.seen) == ("fail", True), result
    assert not report.passed


def test_reasoning_may_speak_of_the_user() -> None:
    def thinks(made: Made, _body: Body) -> None:
        if "reasoning" in made.message:
            made.message["reasoning"] = "We look at it.\nUser: asks for 17 times 23.\n" + made.message["reasoning"]

    with fake_server(spoil=thinks) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["reasoning-high"]))
    assert report.checks[-1].status == "pass"


def test_an_answer_that_the_limit_cut_is_not_swapped_with_its_reasoning() -> None:
    def cut(made: Made, _body: Body) -> None:
        if "reasoning" in made.message:
            made.message["reasoning"] += " It is 391."
            made.message["content"], made.finish = "17 times 23 is", "length"

    with fake_server(spoil=cut) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["reasoning-high"]))
    assert report.checks[-1].status == "pass"


def test_what_the_schema_forbids_is_a_warning() -> None:
    with fake_server(spoil=call(arguments='{"city": "Paris", "unit": "C"}')) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["tool-auto"]))
    assert report.checks[-1].status == "warn" and report.passed


def test_a_call_left_in_the_text_blames_the_parser() -> None:
    def beside(made: Made, _body: Body) -> None:
        if "tool_calls" in made.message:
            made.message["content"] = '[TOOL_CALLS]get_weather{"city": "Paris"}'

    with fake_server(spoil=beside) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["tool-auto"]))
    assert report.failed and "tool-call-parser" in report.failed[0].hint


@pytest.mark.parametrize(
    "answer",
    [
        "\u0120or\u0121 lives in \u0120\u0127ajnsielem.",
        "load \u2581\u2582\u2583\u2585\u2587",
        "Ask the user: what next?",
        "User: a person",
    ],
)
def test_letters_and_words_that_only_look_so_are_fine(answer: str) -> None:
    assert template_mark(answer) == "" == next_turn(answer)
    assert token_piece(answer) == ""


def test_kv_cache_that_nobody_uses_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.verification.checks.consistency.FREED_S", 0.3)
    with fake_server("leaks") as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["cancel"]))
    assert report.checks[-1].status == "warn" and "30% of the KV cache is in use, 0% before" in report.checks[-1].seen
