"""A running server over the last minutes: percentiles, rates, load, remarks, and the command that prints them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from hw_specs.detect.activity import GpuActivity
from planner import Plan, PlanRequest, forecast, plan
from planner.cli import main
from planner.serve.verification.window import Histogram, Look, Sample, Window, read_look, remarks
from planner.speed.workload import Workload

INF = float("inf")
BOUNDS = (0.01, 0.1, 1.0, INF)


def page(n: int, *, ttft: tuple[int, ...] = (0, 0, 0, 0), preempted: int = 0, waiting: int = 0) -> str:
    """``/metrics`` after `n` seconds at 100 tokens/s and one request a second."""
    buckets = "".join(
        f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="{"+Inf" if bound == INF else bound}"}} {count}.0\n'
        for bound, count in zip(BOUNDS, ttft, strict=True)
    )
    lengths = "".join(
        f'vllm:request_{kind}_tokens_bucket{{le="+Inf"}} {n}.0\nvllm:request_{kind}_tokens_sum {n * mean}.0\n'
        for kind, mean in (("prompt", 2048), ("generation", 100))
    )
    return (
        f'vllm:num_requests_running{{engine="0"}} 8.0\nvllm:num_requests_waiting{{engine="0"}} {waiting}.0\n'
        f'vllm:kv_cache_usage_perc{{engine="0"}} 0.5\nvllm:generation_tokens_total{{engine="0"}} {100 * n}.0\n'
        f'vllm:num_preemptions_total{{engine="0"}} {preempted}.0\n{buckets}'
        f"vllm:time_to_first_token_seconds_sum {ttft[-1] * 0.05}\n{lengths}"
    )


def window(*pages: str, span_s: float = 600.0, every_s: float = 1.0) -> Window:
    found = Window(span_s=span_s)
    for index, text in enumerate(pages):
        found = found.add(read_look(text, at_s=1000.0 + every_s * index))
    return found


def sample(*pages: str) -> Sample:
    found = window(*pages).sample()
    assert found is not None
    return found


def test_bounds_and_numbers_that_are_none_are_passed_over() -> None:
    odd = "".join(
        f'vllm:time_to_first_token_seconds_bucket{{le="{bound}"}} 5\n' for bound in ("x", "", "NaN", "9" * 5000)
    )
    assert window(page(1) + odd, page(2) + odd).sample() is not None


@pytest.fixture(scope="module")
def answer() -> Plan:
    return plan(PlanRequest(gpus=parse_gpus("8xH200")))


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_percentiles_rise_with_their_share_and_stay_within_the_bounds(
    counts: list[int], low: float, high: float
) -> None:
    cumulative = [sum(counts[: index + 1]) for index in range(4)]
    found = Histogram(tuple(zip(BOUNDS, map(float, cumulative), strict=True)))
    low, high = sorted((low, high))
    small, large = found.quantile(low), found.quantile(high)
    if not cumulative[-1]:
        assert small is None and large is None
        return
    assert small is not None and large is not None and 0 <= small <= large <= 1.0


def test_percentiles_are_those_of_the_window_and_not_of_the_past() -> None:
    seen = sample(page(0, ttft=(100, 100, 100, 100)), page(10, ttft=(100, 110, 110, 110)))
    assert seen.ttft_p50_ms == pytest.approx(55.0), "the hundred fast ones came before"
    assert seen.output_tokens_per_s == pytest.approx(1000.0)
    again = sample(page(10, ttft=(0, 50, 50, 50)), page(2, ttft=(0, 4, 4, 4)))
    assert again.ttft_p50_ms == pytest.approx(55.0) and again.output_tokens_per_s is None, "the server was started anew"


def test_old_looks_go_and_their_number_is_bounded() -> None:
    found = window(*(page(n) for n in range(300)), span_s=60.0)
    assert len(found.looks) == 61
    kept = found.sample()
    assert kept is not None and kept.window_s == pytest.approx(60.0)
    assert Window().sample() is None and Window().load() is None


def test_the_load_of_the_window_is_told_in_two_digits() -> None:
    assert window(page(0), page(10)).load() == Workload(prompt_tokens=2000, output_tokens=100, concurrency=8)
    assert window(page(0), page(2)).load() is None, "two requests say nothing"
    idle = page(0).replace(" 8.0", " 0.0")
    after_a_pause = window(*[idle] * 7, page(0), page(10)).load()
    assert after_a_pause is not None and after_a_pause.concurrency == 8, "idle time makes no load lighter"


def test_what_is_not_as_planned_is_named_with_what_to_change(answer: Plan) -> None:
    assert not remarks(sample(page(0), page(10)), plan=answer, forecast=None)
    found = remarks(sample(page(0), page(10, preempted=3, waiting=5)), plan=answer, forecast=None)
    assert [one.code for one in found] == ["preemptions", "queue"]
    assert "3 requests were preempted" in found[0].message and "--max-num-seqs" in found[0].cure
    waits = page(10, waiting=5)
    assert not remarks(sample(page(0), waits), plan=answer, forecast=None), "half of the KV cache is free"
    (full, queue) = remarks(sample(page(0), waits.replace(" 0.5\n", " 0.99\n")), plan=answer, forecast=None)
    assert (full.code, queue.message) == ("kv-cache-full", "5 requests wait for room in the KV cache")
    load = Workload(prompt_tokens=128, output_tokens=8, concurrency=1)
    expected = forecast(answer, load)
    slow = sample(page(0), page(10, ttft=(0, 0, 0, 10))).__class__(
        **{**_fields(sample(page(0), page(10))), "ttft_ms": 10 * expected.ttft_ms.high}
    )
    assert [one.code for one in remarks(slow, plan=answer, forecast=expected)] == ["ttft-above-forecast"]
    chats = forecast(answer, Workload(prompt_tokens=128, output_tokens=8, turns=2, concurrency=1))
    (one,) = remarks(Sample(**(_fields(slow) | {"ttft_ms": 10 * chats.ttft_ms.high})), plan=answer, forecast=chats)
    assert "forecast for chats of 2 turns, each 128 tokens in, 8 out, 1 at once" in one.message


def drafted(n: int, *, accepted: float) -> str:
    return page(n) + (
        f'vllm:spec_decode_num_drafts_total{{engine="0"}} {40 * n}.0\n'
        f'vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {40 * n * accepted}\n'
    )


@pytest.mark.parametrize(("accepted", "length"), [(1.5, 2.5), (0.0, 1.0), (1e9, None), (float("inf"), None)])
def test_the_tokens_of_a_drafted_step_are_read_off_the_server(accepted: float, length: float | None) -> None:
    assert sample(drafted(1, accepted=accepted), drafted(9, accepted=accepted)).acceptance_length == length
    assert sample(page(1), page(9)).acceptance_length is None


def test_a_forecast_for_a_watched_server_counts_on_what_its_draft_gives() -> None:
    load = window(drafted(0, accepted=1.53), drafted(9, accepted=1.53)).load()
    assert load is not None and load.acceptance_length == 2.5
    fast, slow = (plan(PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=3)) for _ in range(2))
    assert forecast(fast, load).tpot_ms.expected < forecast(slow, replace(load, acceptance_length=1.0)).tpot_ms.expected


def test_a_draft_that_is_seldom_right_is_named() -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=3))
    # Two looks, 80 steps: a good draft may miss so often.
    few = sample(drafted(1, accepted=0.1), drafted(3, accepted=0.1))
    assert few.acceptance_length is None and not remarks(few, plan=answer, forecast=None)
    (one,) = remarks(sample(drafted(1, accepted=0.1), drafted(9, accepted=0.1)), plan=answer, forecast=None)
    assert one.code == "acceptance-below-forecast" and "1.10 tokens" in one.message
    assert not remarks(sample(drafted(1, accepted=1.0), drafted(9, accepted=1.0)), plan=answer, forecast=None)


def test_a_gpu_that_holds_more_than_planned_is_named(answer: Plan) -> None:
    crowded = GpuActivity(
        vendor="nvidia", index=3, use_fraction=1.0, used_bytes=answer.ledger.total_bytes, total_bytes=None,
        power_w=None, power_limit_w=None,
    )  # fmt: skip
    look: Look = read_look(page(1), at_s=1.0, gpus=(crowded,))
    seen = Window().add(look).sample()
    assert seen is not None
    (one,) = remarks(seen, plan=answer, forecast=None)
    assert one.code == "memory" and one.message.startswith("GPU 3 holds")


def _fields(one: Sample) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__slots__}


class Metrics(BaseHTTPRequestHandler):
    count = 0

    def do_GET(self) -> None:
        type(self).count += 10
        body = page(self.count, ttft=(0, self.count, self.count, self.count), preempted=self.count).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_is_watched_as_lines_and_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", url, "--every", "0.1", "--count", "3"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert "tok/s" in lines[0] and "50%" in lines[1]
    assert told.err.count("were preempted") >= 1 and "--max-num-seqs" in told.err
    assert main(["watch", url, "--every", "0.1", "--count", "2", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["kind"] == "watch" and first["output_tokens_per_s"] is None
    assert second["ttft_p50_ms"] == pytest.approx(55.0) and second["remarks"][0]["code"] == "preemptions"


def test_a_server_that_does_not_answer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "http://127.0.0.1:9"]) == 6
    assert main(["watch", "no-such-run"]) == 2
    assert "no-such-run" in capsys.readouterr().err
