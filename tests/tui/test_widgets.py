"""Widgets alone: the log's lines, bars, columns, the dashboard."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from planner import Estimate, plan
from planner.rendering import picture as drawn
from planner.serve.log.events import PhaseStarted, Progress, StallSeen
from planner.serve.process.progress import PhaseView, StartProgress, StartView
from planner.serve.rehearsal.twin import CPU_TWIN, make_twin
from planner.serve.verification.live_metrics import live_metrics, read_counters
from planner.serve.verification.snippets import CLIENTS, client_snippet
from tui import main, news
from tui.serving import Serving, take
from tui.start import beginning
from tui.widgets.columns import Column, Row, fit, lay_out
from tui.widgets.dashboard import dashboard_lines
from tui.widgets.history import ceiling, history
from tui.widgets.log_lines import LogLines
from tui.widgets.log_view import LogView
from tui.widgets.phases import phase_lines
from tui.widgets.plan_panel import gpu_bar, picture
from tui.wizard import Step

from . import stage
from .world import request, until

LOG = (
    b"(A pid=1) INFO one\n\x1b[31mred\x1b[0m\r 50%\r100%\ntail \xff\xfe\x00 end\r\n"
    b"WARNING two\n  more of two\nERROR three\nopen"
)


@given(st.lists(st.integers(min_value=0, max_value=len(LOG)), max_size=8))
def test_any_chunking_of_a_log_gives_the_same_lines(cuts: list[int]) -> None:
    whole, parts = LogLines(), LogLines()
    whole.feed(LOG)
    places = [0, *sorted(cuts), len(LOG)]
    for start, end in itertools.pairwise(places):
        parts.feed(LOG[start:end])
    assert parts.lines == whole.lines == [
        "(A pid=1) INFO one", "100%", "tail �� end", "WARNING two", "  more of two", "ERROR three"
    ]  # fmt: skip
    assert parts.ranks == whole.ranks == [0, 0, 0, 1, 1, 2]


@given(st.binary(max_size=300))
def test_broken_bytes_never_reach_the_screen(data: bytes) -> None:
    lines = LogLines()
    lines.feed(data + b"\n")
    assert all(line.isprintable() for line in lines.lines)


def test_levels_and_search_go_round() -> None:
    lines = LogLines()
    lines.feed(LOG)
    assert lines.wanted(level="warning") == [3, 4, 5]
    everything = lines.wanted(level="all")
    assert lines.find("TWO", among=everything, after=len(everything), back=True) == 4
    assert lines.find("two", among=everything, after=4) == 3
    assert lines.find("absent", among=everything, after=0) is None


def test_prefixes_fold_and_one_line_stands_for_every_worker() -> None:
    head = b"INFO 11-20 09:01:42 [model_runner.py:407]"
    told = b"".join(
        b"(Worker_TP%d pid=30%d) %s Model loading took 15.92 GiB memory and 58.%d00000 seconds\n" % (n, n, head, n)
        for n in range(8)
    )
    odd = b"(Worker_TP0 pid=300) %s KV 107.36 GiB\n(Worker_TP1 pid=301) %s KV 95.00 GiB\n" % (head, head)
    lines = LogLines()
    lines.feed(told + odd + b"(EngineCore pid=200) WARNING 11-20 09:01:43 [core.py:1] slow\nbare\n" + told)
    shown = [lines.shown(index, folded=True) for index in lines.wanted(level="all", merged=True)]
    assert shown == [
        "09:01:42   Model loading took 15.92 GiB memory and 58.000000 seconds  ×8",
        "09:01:42   KV 107.36 GiB",
        "09:01:42   KV 95.00 GiB",
        "09:01:43 W slow",
        "bare",
        "09:01:42   Model loading took 15.92 GiB memory and 58.000000 seconds  ×8",
    ]
    assert len(lines.lines) == 20 and lines.shown(1, folded=False).startswith("(Worker_TP1 pid=301)")


def test_a_message_behind_a_bar_of_progress_and_the_web_server_fold_too() -> None:
    lines = LogLines()
    made = lines.feed(
        b"Loading:  44% Completed | 12/27 [00:12<00:30](Worker_TP3 pid=303) WARNING 11-20 09:01:10 [w.py:1] slow\n"
        b"(APIServer pid=100) INFO:     Application startup complete.\nERROR:    [Errno 98] address in use\n"
    )
    assert made == len(lines.lines) == 4
    assert [lines.shown(index, folded=True) for index in range(4)] == [
        "Loading:  44% Completed | 12/27 [00:12<00:30]",
        "09:01:10 W slow",
        "           Application startup complete.",
        "         E [Errno 98] address in use",
    ]
    assert lines.ranks == [0, 1, 0, 2]


async def test_long_lines_wrap_and_what_is_in_sight_is_copied_whole() -> None:
    app = LogApp()
    async with app.run_test(size=(40, 6)) as pilot:
        log = app.query_one(LogView)
        log.focus()
        log.feed(b"".join(b"(A pid=1) INFO 11-20 09:00:%02d [a.py:1] %s end\n" % (n, b"x" * 70) for n in range(20)))
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y > 0)
        assert log.virtual_size.height == 20
        await pilot.press("z")
        await until(pilot, lambda: log.virtual_size.height == 60 and log.scroll_offset.y == log.max_scroll_y)
        assert log.search("09:00:07")
        await pilot.pause()
        assert log._place(log.scroll_offset.y) <= 7 <= log._place(log.scroll_offset.y + 5)
        await pilot.press("Y")
        assert app.clipboard == f"(A pid=1) INFO 11-20 09:00:07 [a.py:1] {'x' * 70} end", "the line under the cursor"
        await pilot.press("end", "Y")
        assert len(app.clipboard.splitlines()) > 1, "the lines in sight"
        await pilot.press("up", "up", "Y")
        assert "09:00:18" in app.clipboard
        log.feed(b"a new line\n")
        await pilot.pause()
        assert "09:00:18" in log.line, "the cursor stays where it is"
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: log.following and not log.line)
        await pilot.press("p", "z")
        await until(pilot, lambda: log.virtual_size.width > 100)


class LogApp(App[None]):
    CSS = "LogView { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield LogView(id="log")


async def test_20_000_lines_are_no_strain() -> None:
    batch = b"".join(b"(Worker_TP%d pid=9) INFO 11-23 10:00:00 [x.py:1] line %d\n" % (n % 8, n) for n in range(200))
    app = LogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        started = time.process_time()
        for _ in range(100):
            log.feed(batch)
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y)
        assert time.process_time() - started < 2.0
        assert len(log.log_lines.lines) == 20_000


@pytest.mark.parametrize("gpus", ["8xH200", "1xMI300X", "1xH100", "2xB200"])
@pytest.mark.parametrize("width", [36, 60, 120])
def test_pictures_keep_their_width(gpus: str, width: int) -> None:
    answer = plan(request(gpus))
    assert gpu_bar(answer, width=width).cell_length == width
    assert all(line.cell_length <= width + 1 for line in picture(answer, width=width))
    assert sum(count for _, count in drawn.gpu_bar(answer, width=width).cells) == width


@given(st.text(max_size=30), st.integers(min_value=0, max_value=40))
def test_cells_are_cut_and_filled_to_their_width(text: str, width: int) -> None:
    from rich.cells import cell_len

    if text.isprintable():
        assert cell_len(fit(text, width)) == width


def test_numbers_stand_right_and_the_flexible_column_gives_way() -> None:
    columns = (Column("name", flex=True), Column("GiB", right=True))
    head, rows = lay_out(columns, [Row(cells=("a rather long name", "1.0")), Row(cells=("b", "100.0"))], width=20)
    assert (head.plain, [row.plain for row in rows]) == (
        "name             GiB", ["a rather lon…    1.0", "b              100.0"]
    )  # fmt: skip


def test_gauges_need_two_looks_for_rates_and_survive_a_restart() -> None:
    page = 'vllm:generation_tokens_total{{engine="0"}} {n}\nvllm:kv_cache_usage_perc{{engine="0"}} 0.5\n'
    first, second = read_counters(page.format(n=100), at_s=1.0), read_counters(page.format(n=300), at_s=3.0)
    assert live_metrics(first, None).output_tokens_per_s is None
    assert live_metrics(second, first).output_tokens_per_s == 100.0
    assert live_metrics(first, second).output_tokens_per_s is None
    assert live_metrics(second, first).kv_cache_use == 0.5
    assert live_metrics(second, first).running is None


def test_a_dashboard_says_what_is_not_as_planned_at_any_width() -> None:
    state = Serving(plan=plan(request()))
    assert "asking /metrics" in dashboard_lines(state, width=80)[0].plain
    for look in stage.looks(12):
        state = take(state, look)
    for width in (76, 116, 196):
        lines = dashboard_lines(state, width=width)
        text = "\n".join(line.plain for line in lines)
        assert all(line.cell_length <= width for line in lines)
        assert "! 3 requests were preempted" in text and "--max-num-seqs" in text
        assert "planned tokens" in text and "tokens/s out" in text and "650 W" in text
    load = state.load
    assert load is not None
    speed = stage.recording("8xH200").speed
    assert speed is not None
    state = take(state, news.Forecasted(plan(request()), load, dataclasses.replace(speed, workload=load)))
    text = "\n".join(line.plain for line in dashboard_lines(state, width=116))
    assert "forecast 111 (82.0 to 149)" in text and "forecast for what it is asked now" in text


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=40), st.integers(1, 6))
@example([5e-324], 1)
def test_a_history_ends_above_what_it_shows_and_keeps_its_size(values: list[float], height: int) -> None:
    top = ceiling(values)
    assert max(values) < top
    lines = history(values, height=height, top=top)
    assert [line.cell_length for line in lines] == [len(values)] * height
    if height > 1 and max(values) > 0:
        assert lines[0].plain.strip("█"), "what stays the same does not fill it"


def test_a_forecast_is_a_line_in_the_history_with_its_bounds() -> None:
    forecast = Estimate(expected=60.0, low=30.0, high=80.0, basis="derived")
    drawn = [line.plain for line in history([1.0] * 4 + [99.0], height=4, top=100.0, forecast=forecast)]
    assert drawn == ["┄┄┄┄█", "─────", "┄┄┄┄┄", "▁▁▁▁█"]


def test_snippets_hold_no_key_and_compile() -> None:
    for kind in CLIENTS:
        text = client_snippet(kind, base_url="http://127.0.0.1:8000", model="m")
        assert "VLLM_API_KEY" in text
    compile(client_snippet("openai", base_url="http://h:1", model="m"), "snippet", "exec")
    with pytest.raises(ValueError, match="no client"):
        client_snippet("telnet", base_url="http://h:1", model="m")


def test_the_command_line_is_kind(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert "usage: m35-tui" in capsys.readouterr().out
    assert main(["--gpus", "8xH2000"]) == 2
    assert "error: no GPU is called" in capsys.readouterr().err
    assert main(["--gpus"]) == 2
    assert main(["--model", "/no/such/model"]) == 2
    assert "/no/such/model" in capsys.readouterr().err
    assert main(["--nonsense"]) == 2
    capsys.readouterr()
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "textual":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert main([]) == 2
    assert "pip install textual" in capsys.readouterr().err


def test_another_model_is_answered_before_the_first_screen(tmp_path: Path) -> None:
    folder = make_twin(tmp_path / "t", spec=CPU_TWIN, weights=False).path
    begin = beginning(["--model", str(folder), "--gpus=8xH200"])
    answers, step = begin.answers, begin.step
    assert step is Step.WORKLOAD
    assert answers.request is not None and answers.request.model == answers.model
    assert answers.model is not None and answers.model.name == str(folder)
    without = beginning(["--model", str(folder)])
    assert (without.answers.model, without.answers.request, without.step) == (answers.model, None, Step.GPUS)


@given(
    st.integers(min_value=24, max_value=60),
    st.floats(min_value=0, max_value=4000),
    st.floats(min_value=1, max_value=4000),
)
def test_figures_of_a_phase_are_read_whole_at_any_width(width: int, spent: float, expected: float) -> None:
    def phase(name: str, title: str) -> PhaseView:
        return PhaseView(phase=name, title=title, state="now", elapsed_s=spent, expected_s=expected)

    phases = (phase("profile", "memory profiling run"), phase("ready", "ready"))
    view = StartView(phases=phases, elapsed_s=spent, remaining_s=None, earlier_starts=1)
    line = phase_lines(view, width=width)[0]
    assert line.cell_length <= width
    assert line.plain.rstrip()[-1] in "smn", "the end of a figure is not cut"


@pytest.mark.parametrize("width", [24, 46, 100])
def test_what_a_start_waits_for_stands_below_its_phases_until_something_moves(width: int) -> None:
    stall = StallSeen(code="workers-hang", phase="load", text="…", times=3, waited_s=180.0)
    waiting = StartProgress(expected_s={"load": 42.0}, earlier_starts=2).after(
        [PhaseStarted(phase="load"), stall], at_s=9.0
    )
    lines = [line.plain for line in phase_lines(waiting.view(at_s=200.0), width=width)]
    assert "waits for 3 min 0 s in weights (it usually takes 42.0 s here)" in " ".join(lines)
    assert max(map(len, lines)) <= width
    moved = waiting.after([Progress(phase="load", done=1, total=4)], at_s=210.0)
    assert not any("waits" in line.plain for line in phase_lines(moved.view(at_s=211.0), width=width))
