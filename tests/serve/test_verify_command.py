"""The verifier's command, its report, and the texts that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cli import main
from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts
from planner.rendering.envelope import to_value
from planner.serve.prometheus import samples
from planner.serve.verification.checks.image import png
from planner.serve.verification.checks.metrics import _least_share
from planner.serve.verification.checks.server import Failed, dig, normal_url
from planner.serve.verification.smoke import CheckResult, SmokeReport
from planner.serve.verification.verifier import CHECKS, verify

from .fakes.openai_server import fake_server
from .verified import PLANNED, run


def test_callbacks_see_each_check_in_order() -> None:
    started: list[str] = []
    seen: list[CheckResult] = []
    report = run(on_start=started.append, on_result=seen.append)
    assert started == [result.name for result in report.checks]
    assert tuple(seen) == report.checks


def test_the_key_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "very-secret-key-0123456789"
    with fake_server(api_key=key) as server:
        without = verify(server.url, PLANNED, timeout_s=20)
        assert without.checks[1].seen == "answered 401: Unauthorized"
        assert "VLLM_API_KEY" in without.checks[1].hint
        monkeypatch.setenv("VLLM_API_KEY", key)
        assert verify(server.url, PLANNED, timeout_s=20).passed
        assert main(["verify", server.url, "--json"]) == 0
    captured = capsys.readouterr()
    assert key not in captured.out + captured.err


def test_the_command_prints_a_narrow_table_and_says_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_server("colour-blind") as server:
        assert main(["verify", server.url]) == 6
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert "failed: image" in output
    assert "\x1b" not in output


def test_the_json_report_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_server() as server:
        assert main(["verify", server.url, "--json", "--skip", "concurrent"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert "concurrent" not in [result["name"] for result in document["checks"]]
    assert set(document["checks"][0]) == {"name", "status", "seen", "duration_s", "hint"}


def test_a_plan_file_sets_what_to_expect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8xH200", "--json"]) == 0
    (tmp_path / "plan.json").write_text(capsys.readouterr().out)
    with fake_server() as server:
        assert main(["verify", server.url, "--plan", str(tmp_path / "plan.json"), "--only", "max-model-len"]) == 6
    assert "4,096 tokens, expected 262,144" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["--plan", "/does/not/exist.json"],
        ["--only", "chatt"],
        ["http://user:password@host"],
        ["ftp://host"],
        ["http://"],
        ["http://host:99999"],
        ["http://" + "x" * 64],
        ["http://a..b"],
        ["--timeout", "0"],
    ],
)
def test_bad_input_is_refused_with_a_hint(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *argv]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert "hint: " in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["½", "😀", "xn--", "a" * 63 + "." + "b" * 63])
def test_a_name_that_no_server_has_is_no_traceback(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", name, "--only", "health", "--timeout", "5"]) in (2, 6)
    assert "Traceback" not in capsys.readouterr().err


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        assert normal_url(text).startswith(("http://", "https://"))
    except InvalidRequest as error:
        assert error.hint


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_metrics(text: str) -> None:
    samples(text)


json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "message"]), inner),
    max_leaves=6,
)


@given(json_values)
def test_digging_in_nonsense_fails_cleanly(document: object) -> None:
    try:
        dig(document, "choices", 0, "message")
    except Failed as failure:
        assert "choices.0.message" in str(failure)


def test_labels_with_commas_and_braces_are_read() -> None:
    (sample,) = samples('vllm:x{a="1,2}",b="say \\"hi\\""} 3 1700000000')
    assert (sample.name, sample.labels["a"], sample.value) == ("vllm:x", "1,2}", 3.0)


def test_png_is_read_by_an_imaging_library() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    picture = image.open(io.BytesIO(png(7, (255, 0, 0))))
    picture.load()
    assert (picture.size, picture.getpixel((6, 6))) == ((7, 7), (255, 0, 0))


def test_a_report_without_a_pass_has_not_passed() -> None:
    nothing = SmokeReport(url="http://h", model="", checks=(), duration_s=0.0)
    assert not nothing.passed
    assert to_value(nothing)["passed"] is False


def test_every_check_stands_in_the_how_to() -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "verify-a-server.md").read_text()
    assert [name for name in CHECKS.names if f"`{name}`" not in text] == []


def test_a_low_rate_of_accepted_drafts_is_doubted() -> None:
    told = draft_facts()
    first, second = told.methods["eagle"].low, told.methods["eagle"].low * told.decay
    assert _least_share(1, "eagle") == pytest.approx(first)
    assert _least_share(2, "eagle") == pytest.approx((first + first * second) / 2)
