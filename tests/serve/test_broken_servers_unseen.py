"""Servers that were broken by somebody who had read no check: each is named by the check that it belongs to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable

import pytest

from planner.serve.verification.checks.sanity import nonsense
from planner.serve.verification.verifier import selected_checks, verify

from .fakes.openai_server import Made, Spoil, fake_server
from .test_broken_servers import Body, call, finish, prompt, text, tokens
from .verified import PLANNED


def streams(change: Callable[[list[str]], list[str]]) -> Spoil:
    """Change the words of an answer where it is streamed."""

    def spoil(made: Made, body: Body) -> None:
        if body.get("stream") and isinstance(made.message.get("content"), str):
            made.message["content"] = "".join(change(re.findall(r"\s*\S+", made.message["content"])))

    return spoil


def document(change: Callable[[str], str]) -> Spoil:
    return text(lambda said: change(said) if said.startswith("{") else said)


class UnderLoad:
    """Every number is one off while another request is being answered."""

    def __init__(self) -> None:
        self.running, self.lock = 0, threading.Lock()

    def __call__(self, made: Made, _body: Body) -> None:
        with self.lock:
            self.running += 1
        time.sleep(0.02)
        with self.lock:
            alone = self.running == 1
            self.running -= 1
        said = made.message.get("content")
        if not alone and isinstance(said, str) and said.isdigit():
            made.message["content"] = str(int(said) + 1)


def beyond_a_bound(made: Made, body: Body) -> None:
    if "cabinet" in str(body) and len(str(body).split()) > 2000:
        made.message["content"] = "8888"


def arguments_as_object(made: Made, _body: Body) -> None:
    for one in made.message.get("tool_calls", ()):
        one["function"]["arguments"] = json.loads(one["function"]["arguments"])


def told_twice(made: Made, _body: Body) -> None:
    if "reasoning" in made.message:
        made.message["reasoning"] = "We take 17 times 20, which is 340, and add 17 times 3, which is 51."
        made.message["content"] = f"{made.message['reasoning']} It is 391."


def likeliest(*others: tuple[str, float]) -> Spoil:
    """Tell these beside each chosen token, which is one of them where its name is empty."""
    return tokens(
        lambda one: {
            "logprob": next((value for name, value in others if not name), one["logprob"]),
            "top_logprobs": [{"token": name or one["token"], "logprob": value} for name, value in others],
        }
    )


def warm(spoil: Spoil) -> Spoil:
    return lambda made, body: spoil(made, body) if body.get("temperature") else None


def stopped(spoil: Spoil) -> Spoil:
    return lambda made, body: spoil(made, body) if body.get("stop") else None


def lost_words(words: list[str]) -> list[str]:
    return words[:-1] if len(words) > 1 else words


BROKEN: list[tuple[str, Spoil, str, str]] = [
    ("ids one too high", text(lambda said: "".join(chr(ord(one) + 1) for one in said)), "arithmetic", "':6'"),
    ("wrong under load", UnderLoad(), "cross-talk", "asked at once to repeat"),
    ("blind but polite", text(lambda _said: "I'm unable to view images.", where="image_url"), "image", "unable to"),
    ("an unfinished document", document(lambda said: said[:-1]), "structured", "asked for JSON"),
    ("a number as text", document(lambda said: said.replace("95", '"95"')), "structured", "fit the schema"),
    ("a key too many", document(lambda said: said.replace("}", ', "note": 1}')), "structured", "fit the schema"),
    ("more than certain", tokens(lambda one: {"logprob": 0.3}), "logprobs", "probability of 0.3"),
    ("no number", tokens(lambda one: {"logprob": None}), "logprobs", "probability of None"),
    ("flat", likeliest(("", -1.6), ("zz", -1.6)), "logprobs", "are equally likely"),
    ("others are the likeliest", likeliest(("zz", -0.02), ("yy", -6.0)), "logprobs", "is none of the likeliest"),
    ("a chunk twice", streams(lambda words: words[:2] + words[1:]), "counting", "2 came where 3"),
    ("two chunks change places", streams(lambda words: words[:1] + words[1:3][::-1] + words[3:]), "counting", "3 came"),
    ("a stream in capitals", streams(lambda words: [one.upper() for one in words]), "stream", "streamed 'HELLO.'"),
    ("broken at the chunks' borders", streams(lambda words: ["\ufffd".join(one) for one in words]), "stream", "broken"),
    ("cut, it says, and is not", finish("length"), "chat", "finish_reason is 'length', not 'stop'"),
    ("a loop", text(lambda said: re.sub(r" 61 .*", " 57 58 59 60" * 10, said)), "counting", "57 came where 61"),
    ("ends after thirty", text(lambda said: said.split(" 31 ")[0]), "counting", "it ended after 30 and said 'stop'"),
    ("a digit decays", text(lambda said: re.sub(r"1$", "2", said), where="cabinet"), "depths", "answer '7392'"),
    ("an end token", text(lambda said: said + "</s>"), "chat", "a raw </s>"),
    ("letters decoded twice", text(lambda said: said + " caf\u00c3\u00a9"), "chat", "decoded twice"),
    ("letters without width", text("\u200b".join), "chat", "no width"),
    ("codes of a terminal", text(lambda said: said + "\x1b[0m"), "chat", "a control character"),
    ("an object of arguments", arguments_as_object, "tool-auto", "not JSON"),
    ("no prompt", prompt(lambda _count: 0), "usage", "0 prompt"),
    ("thoughts told twice", told_twice, "reasoning-high", "stands in the content again"),
    ("another tool", call(name="search_the_web"), "tool-stream", "called 'search_the_web'"),
    ("no colour", text(lambda _said: "The image could not be rendered.", where="image_url"), "image", "was called"),
    ("salad above temperature 0", warm(text(lambda _said: "#" * 60)), "sampling", "not text, one piece repeated"),
    ("nothing before a stop word", stopped(text(lambda _said: "")), "stop", "it said nothing"),
    ("salad for a long text", text(lambda _said: "#" * 60, where="cabinet"), "depths", "not text, one piece repeated"),
    ("a tool half read", text(lambda _said: "The weather is nice.", where="'tool'"), "tool-result", "the tool said"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "name", "seen"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_server_that_is_broken_in_another_way_fails_there(spoil: Spoil, name: str, seen: str) -> None:
    with fake_server(spoil=spoil) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=[name]))
    result = report.checks[-1]
    assert (result.name, result.status, seen in result.seen) == (name, "fail", True), result


def test_a_context_that_ends_before_its_limit_is_found_by_the_long_checks() -> None:
    with fake_server(spoil=beyond_a_bound) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(long=True))
    assert [one.name for one in report.checks if one.status == "fail"] == ["depths-long"]


def test_a_server_that_slows_down_with_every_request_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.verification.checks.chat.PACE_NOTICED_S", 0.1)
    asked = 0

    def slower(_made: Made, _body: Body) -> None:
        nonlocal asked
        asked += 1
        time.sleep(0.1 * (asked - 1))

    with fake_server(spoil=slower) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["chat", "stream", "pace"]))
    assert report.passed and report.checks[-1].status == "warn", report.checks[-1]
    assert "the same one after everything else" in report.checks[-1].seen
    with fake_server() as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["pace"]))
    assert report.checks[-1].status == "skip"


def test_more_accepted_than_drafted_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([(0.0, 0.0, 0.0), (4.0, 9.0, 4.0)])
    monkeypatch.setattr("planner.serve.verification.checks.metrics._drafts", lambda _probe: next(counted))
    with fake_server() as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["speculative"]))
    assert (report.checks[-1].status, "9 draft tokens accepted of 4" in report.checks[-1].seen) == ("fail", True)


def test_a_stream_that_loses_its_last_word_is_doubted() -> None:
    with fake_server(spoil=streams(lost_words)) as server:
        report = verify(server.url, PLANNED, timeout_s=20.0, checks=selected_checks(only=["counting"]))
    assert report.checks[-1].status == "warn" and "ended after 99" in report.checks[-1].seen


@pytest.mark.parametrize(
    "answer",
    [
        "A family: \U0001f468\u200d\U0001f469\u200d\U0001f467.",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "S\u00c3O PAULO",
        "na\u00efve caf\u00e9, 5 \u20ac",
        "one\ttwo\r\nthree",
    ],
)
def test_joiners_accents_and_line_ends_are_text(answer: str) -> None:
    assert nonsense(answer) == ""
