from __future__ import annotations

import re
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.serve.rehearsal.twin.script import GREETING
from planner.serve.verification.checks.knowledge import TWIN
from planner.serve.verification.checks.sanity import nonsense, template_mark
from planner.serve.verification.smoke import Expectations, SmokeReport
from planner.serve.verification.verifier import CHECKS, selected_checks, verify

from .fakes.openai_server import MODEL, fake_server
from .fakes.words import GARBAGE
from .verified import PLANNED, run


def statuses(report: SmokeReport) -> dict[str, str]:
    return {result.name: result.status for result in report.checks}


def test_a_server_as_planned_passes_every_check() -> None:
    report = run(checks=selected_checks(long=True))
    assert statuses(report) == dict.fromkeys(CHECKS.names, "pass")
    assert report.passed
    assert report.model == MODEL


def test_a_limit_that_no_prompt_can_reach_is_not_tried() -> None:
    report = run("boundless", Expectations(), checks=selected_checks(only=["too-long", "long"], long=True))
    seen = {result.name: (result.status, result.seen) for result in report.checks}
    for name in ("too-long", "long"):
        assert seen[name][0] == "skip" and "99,999,999,999,999 tokens" in seen[name][1]


FAULTS = [
    ("health-500", "health", "answered 500"),
    ("redirect", "health", "answered 302"),
    ("no-models", "model", "lists no model"),
    ("other-model", "model", "serves .*other/model.*, expected"),
    ("short", "max-model-len", "2,048 tokens, expected 4,096"),
    ("empty", "chat", "the answer is empty"),
    ("chat-500", "chat", "answered 500: Internal Server Error"),
    ("jinja", "chat", "get_lark_from_jinja"),
    ("nonsense", "chat", "not JSON: '<html> \\[31mwelcome </html>'"),
    ("empty-object", "chat", "no `choices.0`"),
    ("list", "chat", "no `choices.0`"),
    ("half-body", "chat", "the connection broke"),
    ("stream-error", "stream", "ends in an error: .*EngineCore encountered"),
    ("stream-nonsense", "stream", "not JSON: '{oops'"),
    ("stream-breaks", "stream", r"broke off before \[DONE\]"),
    ("stream-empty", "stream", "carries no text"),
    ("stream-endless", "stream", "without a finish_reason"),
    ("hashes", "chat", "one piece repeated 60 times: '#'"),
    ("hashes", "stream", "one piece repeated 60 times"),
    ("hashes", "reasoning-high", "not text, one piece repeated"),
    ("hashes", "tool-auto", "not text, one piece repeated"),
    ("hashes", "tool-stream", "not text, one piece repeated"),
    ("words", "chat", "one piece repeated"),
    ("salad", "chat", "words of several scripts"),
    ("salad", "tool-auto", "words of several scripts"),
    ("glued", "chat", "no words"),
    ("broken-bytes", "chat", "broken characters"),
    ("template", "chat", r"a raw <\|im_end\|>"),
    ("template", "stream", r"a raw <\|im_end\|>"),
    ("one-answer", "sampling", r"asked for 4 answers \(`n`\), 1 came"),
    ("cold", "sampling", "4 answers at temperature 1 are all 'Hello.'"),
    ("stream-miscounts", "stream", "counts 1 completion tokens as a whole and 2 as a stream"),
    ("dull", "arithmetic", "38 plus 57 is 95, the answer was 'Hello.'"),
    ("dull", "language", "`house` in German was"),
    ("forgetful", "depths", "a number at 10% of .* was 7391, the answer '1234'"),
    ("cross-talk", "cross-talk", "answered with another's 4100|asked at once"),
    ("fickle", "deterministic", ", then "),
    ("nan", "logprobs", "a log probability of nan"),
    ("shifted", "logprobs", "the tokens say .*, the text says"),
    ("wrong-usage", "usage", "37 together"),
    ("no-limit", "usage", "4 completion tokens, at most 2"),
    ("no-stop", "stop", "asked to stop before 'yellow', it said 'Red, yellow and blue.'"),
    ("decays", "counting", "40 came where 41 was next"),
    ("aborted", "chat", "finish_reason is 'abort', not 'stop'"),
    ("stream-doubled", "stream", "whole 'Hello.', streamed 'HHeelllloo..'"),
    ("stream-cut", "stream", "streamed 'Hel'"),
    ("stream-uncounted", "stream", "without its usage"),
    ("unlikely", "logprobs", "log probability -9999 was chosen"),
    ("top-nan", "logprobs", "a log probability of nan"),
    ("swapped", "reasoning-high", "the answer 391 is in the reasoning"),
    ("never-required", "tool-required", "no tool call"),
    ("no-tool", "tool-parallel", "no tool call"),
    ("shared-id", "tool-parallel", "2 calls share an id"),
    ("twice-paris", "tool-parallel", "2 calls for the same city: Paris"),
    ("wrong-arguments", "tool-parallel", "lack a text `city`"),
    ("no-trace", "reasoning-high", "no reasoning, content 'It is 391.'"),
    ("raw-trace", "reasoning-high", r"a raw \[THINK\]"),
    ("old-field", "reasoning-high", "in message.reasoning_content"),
    ("always-thinks", "reasoning-none", "reasoned anyway"),
    ("any-effort", "reasoning-refused", "should have been refused"),
    ("mute-effort", "reasoning-refused", "does not name reasoning_effort"),
    ("no-tool", "tool-auto", "no tool call, content 'Hello.'"),
    ("wrong-tool", "tool-forced", "called 'rm'"),
    ("bad-arguments", "tool-stream", "not JSON"),
    ("wrong-arguments", "tool-auto", "lack a text `city`"),
    ("finish-stop", "tool-auto", "finish_reason is 'stop'"),
    ("text-only", "image", "answered 400: At most 0 image"),
    ("colour-blind", "image", "a red square was called 'Blue.'"),
    ("cannot-read", "image-word", "the word HAT was read as 'CAT'"),
    ("any-length", "too-long", "should have been refused"),
    ("mute-length", "too-long", "do not name the length"),
    ("too-long-500", "too-long", "answered 500, which is not a clear refusal"),
    ("one-in-eight", "concurrent", "1 of 8 at once failed, the first: answered 500"),
    ("fp8-cache", "kv-cache", "fp8; expected auto"),
    ("no-draft", "speculative", "no drafts in /metrics"),
]


@pytest.mark.parametrize(("fault", "name", "seen"), FAULTS, ids=[f"{fault}-{name}" for fault, name, _ in FAULTS])
def test_each_fault_is_named(fault: str, name: str, seen: str) -> None:
    report = run(fault, checks=selected_checks(only=[name]))
    (result,) = [one for one in report.checks if one.name == name]
    assert result.status == "fail"
    assert re.search(seen, result.seen), result.seen
    assert result.seen.isprintable()
    assert not report.passed


def test_a_place_that_is_never_freed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.verification.checks.consistency.FREED_S", 0.3)
    report = run("never-freed", checks=selected_checks(only=["cancel"]))
    assert "1 requests still run" in report.failed[0].seen


def test_a_server_of_several_names_answers_with_its_first() -> None:
    report = run("aliased", checks=selected_checks(only=["chat"]))
    assert (report.model, statuses(report)["chat"]) == (MODEL, "pass")


DOUBTS = [
    ("one-call", "tool-parallel", "one call"),
    ("never-ends", "chat", "only the limit of 64 tokens ended it"),
    ("misrouted", "chat", "other/model answered"),
    ("leaves-out", "counting", "100 came where 4 was next"),
    ("babbles", "counting", "it ended after 0"),
    ("stream-held", "counting", "all 100000 tokens of the stream came at once"),
]


@pytest.mark.parametrize(("fault", "name", "seen"), DOUBTS, ids=[f"{fault}-{name}" for fault, name, _ in DOUBTS])
def test_what_may_be_meant_is_a_warning(fault: str, name: str, seen: str) -> None:
    report = run(fault, checks=selected_checks(only=[name]))
    assert statuses(report)[name] == "warn"
    assert seen in report.checks[-1].seen
    assert report.passed


def test_the_scripted_twin_passes_and_what_it_cannot_know_is_skipped_by_name() -> None:
    report = run("twin")
    ended = statuses(report)
    assert {name for name, status in ended.items() if status == "skip"} == {
        "arithmetic", "language", "depths", "counting", "conversation", "sampling", "cross-talk", "image-word",
        "tool-parallel",
    }  # fmt: skip
    assert "twin" in next(result.seen for result in report.checks if result.name == "arithmetic")
    assert TWIN in "".join(GREETING)


@pytest.mark.parametrize("fault", sorted(GARBAGE))
def test_nonsense_is_said_first_and_no_parser_is_blamed(fault: str) -> None:
    for result in run(fault).failed:
        if result.name in ("chat", "stream", "tool-auto", "tool-stream", "tool-forced", "reasoning-high"):
            assert "parser" not in result.hint.replace("no parser is to blame", ""), result


SANE = [
    "Hello! How can I help you today?",
    "17 × 23 = 391. First 17 × 20 = 340, then 17 × 3 = 51, together 391.",
    "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n",
    "Die Hauptstadt von Frankreich ist Paris – eine schöne Stadt.",
    "Привет! Как я могу помочь?",
    "你好！今天我能为你做什么？",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "The angle α is 30°, so sin(α) = 1/2.",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "Yes.",
]


@pytest.mark.parametrize("text", SANE)
def test_ordinary_answers_are_no_nonsense(text: str) -> None:
    assert nonsense(text) == "" == template_mark(text)


@given(st.text(max_size=300))
def test_no_text_makes_the_judgement_raise(text: str) -> None:
    nonsense(text)
    template_mark(text)


@pytest.mark.parametrize(("fault", "status"), [("", "pass"), ("draft-rejected", "warn")])
def test_a_draft_whose_method_nobody_told_is_not_taken_for_eagle(
    fault: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.serve.verification.checks.metrics.COUNTERS_LAG_S", 0.3)
    report = run(fault, Expectations(), checks=selected_checks(only=["speculative"]))
    assert report.checks[-1].status == status and "how it drafts is not known" in report.checks[-1].seen


def test_a_rejected_draft_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.verification.checks.metrics.COUNTERS_LAG_S", 0.3)
    report = run("draft-rejected", checks=selected_checks(only=["speculative"]))
    assert report.failed[0].seen == "0 of 3 drafted tokens accepted"


@pytest.mark.parametrize("fault", ["hang", "drip", "stream-stalls"])
def test_no_server_can_hold_a_check_longer_than_its_time(fault: str) -> None:
    name = "stream" if fault.startswith("stream") else "chat"
    with fake_server(fault) as server:
        # Long enough for a healthy answer on a machine with much else to do; the server would hold it for 20 s.
        report = verify(server.url, PLANNED, timeout_s=1.5, checks=selected_checks(only=[name]))
    assert report.failed[0].name == name
    assert re.search("no (complete )?answer within 1.5 s", report.failed[0].seen)
    assert report.duration_s < 10


def test_nobody_listening_fails_once_and_skips_the_rest() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = verify(f"127.0.0.1:{port}")
    assert report.checks[0].status == "fail"
    assert {result.seen for result in report.checks[1:]} == {"the server is not up"}


def test_a_server_that_talks_no_http_fails_cleanly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x00\xffnonsense\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        report = verify(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=2, checks=selected_checks()[:1])
        thread.join()
    assert report.failed[0].seen.startswith("the connection broke")


def test_without_a_plan_what_is_found_is_reported() -> None:
    report = run("text-only", Expectations())
    assert statuses(report)["image"] == "skip"
    assert statuses(report)["kv-cache"] == "pass"
    assert report.passed


def test_metrics_that_do_not_exist_are_unknown_not_wrong() -> None:
    report = run("no-metrics", checks=selected_checks(only=["kv-cache"]))
    assert (report.checks[-1].status, report.checks[-1].seen) == ("skip", "the server has no /metrics")
    report = run("no-figures", checks=selected_checks(only=["kv-cache", "speculative", "cancel"]))
    assert {name: statuses(report)[name] for name in ("kv-cache", "speculative", "cancel")} == dict.fromkeys(
        ("kv-cache", "speculative", "cancel"), "skip"
    )
    assert any("--disable-log-stats" in one.seen for one in report.checks if one.name == "speculative")


def test_text_only_as_planned_needs_a_refusal() -> None:
    text_only = Expectations(images=False)
    only = selected_checks(only=["image"])
    assert run("text-only", text_only, checks=only).passed
    assert "expected text only" in run("", text_only, checks=only).failed[0].seen
    assert "not a clear refusal" in run("mute-image", text_only, checks=only).failed[0].seen


@pytest.mark.parametrize(("low", "high", "passes"), [(900, 1100, True), (1001, 1100, False), (900, 999, False)])
def test_blocks_are_judged_by_the_plans_bounds(low: int, high: int, passes: bool) -> None:
    planned = Expectations(num_gpu_blocks=1010, num_gpu_blocks_low=low, num_gpu_blocks_high=high)
    report = run("", planned, checks=selected_checks(only=["kv-cache"]))
    assert report.passed is passes
    assert "planned 1,010" in report.checks[-1].seen
