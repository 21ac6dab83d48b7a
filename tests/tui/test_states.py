"""What the last two steps show, without a screen: news in, the next state out."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import Workload, plan
from planner.errors import PlannerError
from planner.serve import Failure, StartOrder, StartReport
from planner.serve.check import CheckResult
from planner.serve.log.events import PhaseStarted, ServerEnded, ServerReady
from planner.serve.log.measured import Measured
from planner.serve.process.progress import StartProgress
from planner.serve.process.run import Run
from tui import news, serving, starting
from tui.cures import Cure
from tui.serving import Serving
from tui.starting import Start

from .stage import metrics_page
from .world import request

RUN = cast(Run, object())  # opaque to a state: it is only carried
UP = ServerReady(url="http://127.0.0.1:8000", after_s=9.0, said_by="health")
DOWN = ServerEnded(exit_code=1, after_s=99.0, was_ready=True)
FAILURE = Failure(code="x", title="it broke", phase="kv", term="", evidence=(), cures=())
FAILED = StartReport(outcome="failed", measured=Measured(), failure=FAILURE)
STOPPED = StartReport(outcome="stopped", measured=Measured())
LOOKS = [news.MetricsRead(metrics_page(n), at_s=2.0 * n, alive=True) for n in range(9)]
METRICS = 'vllm:generation_tokens_total{engine="0"} %s\n'


def check(status: str) -> news.Checked:
    return news.Checked(CheckResult(name="port", status=status, seen=""))  # type: ignore[arg-type]


def smoke(name: str) -> CheckResult:
    return CheckResult(name=name, status="pass", seen="", duration_s=0.0)


def started(*heard: news.News, start: Start | None = None) -> Start:
    start = start or Start()
    for one in heard:
        start = starting.take(start, one)
    return start


def served(*heard: news.News) -> Serving:
    state = Serving()
    for one in heard:
        state = serving.take(state, one)
    return state


def test_a_load_is_forecast_once_and_one_at_a_time() -> None:
    """Which forecast is wanted follows from the news alone."""
    planned = plan(request())
    known = serving.take(served(*LOOKS), news.RunKnown(RUN, planned, None, "m", STOPPED))
    wanted = known.to_forecast
    assert wanted is not None and wanted[0] is planned
    assert serving.take(known, news.ForecastBegun()).to_forecast is None
    done = news.Forecasted(*wanted, PlannerError("none"))
    assert serving.take(serving.take(known, news.ForecastBegun()), done).to_forecast is None
    assert served(*LOOKS).to_forecast is None, "without a plan nothing can be forecast"


def test_a_long_watch_keeps_the_forecasts_of_the_last_loads() -> None:
    planned, state = plan(request()), served(*LOOKS)
    loads = [Workload(prompt_tokens=count, output_tokens=8, concurrency=1) for count in range(1, 100)]
    for load in loads:
        state = serving.take(state, news.Forecasted(planned, load, PlannerError("none")))
    assert [load for load, _ in state.forecasts] == loads[-serving.KEPT_FORECASTS :]


def test_another_start_keeps_the_checks_and_what_is_started_and_drops_the_cures() -> None:
    order = StartOrder.docker(plan(request()))
    begun = started(news.CheckingBegun(docker=True, order=order), check("warn"), news.PreflightDone())
    failed = started(news.CuresFound((Cure(label="unchanged", apply=lambda old: old),)), start=begun)
    assert failed.cures and failed.order is order
    again = started(news.Launched(RUN), start=failed)
    assert (again.order, again.checks, again.cures, again.state) == (order, begun.checks, (), "starting")


def test_checks_gather_until_the_preflight_is_done() -> None:
    start = started(news.CheckingBegun(docker=True), check("pass"), check("fail"), news.PreflightDone())
    assert start.state == "checked" and start.docker and len(start.failed_checks) == 1
    assert not started(news.CheckingBegun(docker=False), start=start).checks


def test_a_start_forgets_the_one_before_it_but_not_its_checks() -> None:
    first = started(check("pass"), news.PreflightDone(), news.Launched(RUN), news.ServerNews((UP,), b"", 9.0))
    first = started(news.StartReported(FAILED), start=first)
    assert first.state == "failed" and first.failure is FAILURE
    again = started(news.Launched(RUN, StartProgress(earlier_starts=2)), start=first)
    assert again.state == "starting" and again.failure is None and again.start_report is None
    assert again.checks == first.checks and again.progress.earlier_starts == 2 and again.at_s == 0.0


def test_phases_follow_the_events() -> None:
    batch = (PhaseStarted(phase="load"), PhaseStarted(phase="ready"), UP)
    start = started(news.Launched(RUN), news.ServerNews(batch, b"log", 20.0))
    assert start.state == "ready" and start.progress.phase == "ready" and start.at_s == 20.0
    assert not start.ended and started(news.ServerNews((DOWN,), b"", 99.0), start=start).ended


def test_a_late_preflight_does_not_take_a_start_back() -> None:
    assert started(news.Launched(RUN), news.PreflightDone()).state == "starting"


@pytest.mark.parametrize(("doing", "state"), [("preflight", "checking"), ("launch", "checked"), ("attach", "checked")])
def test_a_refusal_leaves_a_step_that_can_go_on(doing: str, state: str) -> None:
    assert started(news.Refused(PlannerError("no"), doing)).state == state


def test_a_stopped_server_is_no_failure() -> None:
    assert started(news.Launched(RUN), news.StartReported(STOPPED)).state == "stopped"


def test_checks_of_a_server_begin_anew() -> None:
    state = served(news.VerifyBegun(), news.SmokeStarted("health"), news.SmokeDone(smoke("health")))
    assert [one.name for one in state.results] == ["health"] and state.checking == "…"
    again = serving.take(state, news.VerifyBegun())
    assert again.results == () and again.report is None


def test_the_chat_grows_by_whole_turns() -> None:
    state = served(news.Asked("hello"), news.Said("Bon"), news.Said("jour"))
    assert state.talking and state.answer == "Bonjour" and len(state.turns) == 1
    state = serving.take(state, news.Said("", over=True))
    assert not state.talking and [turn.content for turn in state.turns] == ["hello", "Bonjour"]


def test_an_hour_of_looks_is_kept_and_a_dead_server_is_named() -> None:
    looks = [news.MetricsRead(METRICS % (10 * n), at_s=60.0 * n, alive=True) for n in range(100)]
    state = served(*looks)
    assert len(state.window.looks) == 61 and len(state.shown.looks) == 11
    assert state.sample is not None and state.sample.output_tokens_per_s == pytest.approx(10 / 60)
    hour = serving.take(state, news.WindowChosen(3600))
    assert len(hour.shown.looks) == 61
    gone = serving.take(state, news.MetricsRead(PlannerError("no connection"), at_s=1e6, alive=False))
    assert gone.trouble == "the server has ended" and gone.window == state.window


ANY = st.sampled_from(
    [
        news.CheckingBegun(docker=False),
        check("fail"),
        news.PreflightDone(),
        news.Launched(RUN),
        news.ServerNews((PhaseStarted(phase="load"),), b"x", 3.0),
        news.ServerNews((UP,), b"", 9.0),
        news.ServerNews((DOWN,), b"", 99.0),
        news.StartReported(FAILED),
        news.StartReported(STOPPED),
        news.RehearsalBegun(),
        news.RehearsalStage("twin"),
        news.SmokeDone(smoke("chat")),
        news.Refused(PlannerError("no"), "launch"),
        news.Asked("hello"),
        news.Said("", over=True),
        news.Stopped("killed"),
    ]
)


@given(st.lists(ANY, max_size=30))
def test_any_order_of_news_gives_a_state_that_can_be_drawn(heard: list[news.News]) -> None:
    from tui.widgets.startup import left_lines, phase_block, startup_title

    start = started(*heard)
    assert start.state in starting.STATES
    assert (start.state == "failed") <= (start.failure is not None)
    for width in (24, 36, 90):
        lines = [*left_lines(start, width=width), *phase_block(start, width=width)]
        assert all(line.cell_length <= max(width, 40) for line in lines)
    assert startup_title(start)
    served(*heard)


def test_the_engines_own_cure_stands_first_and_what_was_not_measured_is_only_expected() -> None:
    from planner import plan
    from planner.planning.choose import all_levers
    from tui.cures import cures
    from tui.wizard import Answers

    answers = Answers(request=request(max_model_len=262_144))
    failure = Failure(
        code="max-model-len", title="too long", phase="kv", term="kv_cache", evidence=(),
        cures=("`--max-model-len 26208` or less: what the engine itself says would fit",),
    )  # fmt: skip
    found = cures(failure, measured=Measured(), plan=plan(request()), answers=answers, levers=all_levers)
    assert found[0].label == "--max-model-len 26208 (proposed by the engine)"
    asked = found[0].apply(answers).request
    assert asked is not None and asked.max_model_len == 26_208
    assert any("(expected to fit)" in one.label for one in found)
    assert not any("(would fit)" in one.label for one in found)
