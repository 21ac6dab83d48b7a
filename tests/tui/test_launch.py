"""Launch and verify against a server that behaves like vLLM, started by the real launcher."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.widgets import ContentSwitcher

from planner import InvalidRequest, LaunchFailed, Plan
from planner.calibrate import calibrations
from planner.serve import CheckResult, RehearsalReport, SmokeReport, attach, list_runs
from planner.serve.preflight.installed import InstalledEngine
from planner.serve.rehearsal.full_size_plan import Change
from tests.ports import own_port
from tui import news
from tui.app import M35App
from tui.screens.dialogues import Ask, AskText
from tui.screens.launch import LaunchScreen
from tui.screens.verify import VerifyScreen
from tui.widgets.fields import ChatInput
from tui.widgets.log_view import LogView
from tui.wizard import Step

from . import stage
from .world import app_at, at, backend, blocks_of, preflight, text_of, typed, until

pytestmark = pytest.mark.slow


def launch_screen(app: M35App) -> LaunchScreen:
    assert isinstance(app.screen, LaunchScreen)
    return app.screen


def is_in(app: M35App, state: str) -> bool:
    return isinstance(app.screen, LaunchScreen) and app.screen.has_class(f"-{state}")


async def test_from_preflight_to_a_verified_server_that_stays(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M35_FAKE_BLOCKS", blocks_of())
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test(size=(100, 46)) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        assert "pip install 'mistral_common[image]==1.12.0'" in text_of(app)
        await pilot.press("enter")
        assert is_in(app, "checked"), "nothing is started by haste"
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "ready"))
        log = app.screen.query_one(LogView)
        await until(pilot, lambda: log.log_lines.lines[-1].startswith("\ufffd\ufffd broken bytes"))
        assert "Application startup complete" in log.log_lines.lines[-2]
        await until(pilot, lambda: "✓ ready" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VerifyScreen) and "does what was planned" in text_of(app))
        screen = app.screen
        assert isinstance(screen, VerifyScreen)
        await pilot.press("2")
        await until(pilot, lambda: "`k` keeps these figures" in text_of(app))
        await pilot.press("k")
        await until(pilot, lambda: len(calibrations()) == 1)
        assert screen.answers.request is not None
        assert screen.answers.request.calibrations == calibrations()
        await pilot.press("right")
        await until(pilot, lambda: "KV cache, %" in text_of(app) and "25.0" in text_of(app))
        await pilot.press("4")
        await typed(pilot, "hello")
        await pilot.press("enter")
        await until(pilot, lambda: "server Hello." in text_of(app))
        await pilot.press("escape", "5")
        await until(pilot, lambda: "curl http://127.0.0.1" in text_of(app))
        await pilot.press("right", "c")
        assert "from openai import OpenAI" in app.clipboard
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: not app.is_running or app.return_code == 0)
    (run,) = list_runs()
    assert run.status().state == "running"


async def test_a_running_server_is_found_again_and_stopped_on_request(program: str) -> None:
    first = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with first.run_test() as pilot:
        await until(pilot, lambda: is_in(first, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(first, "ready"))
        screen = launch_screen(first)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(first.screen, Ask))
        await pilot.press("escape")
        await until(pilot, lambda: first.screen is screen and "preflight" in text_of(first), "nothing is lost")
        await pilot.press("d")
    (run,) = list_runs()
    second = M35App(backend=dataclasses.replace(backend(), running=lambda: [run]))
    async with second.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(second.screen, Ask) and run.url in text_of(second))
        await pilot.press("enter")
        await until(pilot, lambda: is_in(second, "ready"))
        assert isinstance(launch_screen(second).answer, Plan)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(second.screen, Ask))
        await pilot.press("down", "down", "enter")  # do not quit
        await until(pilot, lambda: isinstance(second.screen, LaunchScreen))
        await until(pilot, lambda: is_in(second, "ready"))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(second.screen, Ask))
        await pilot.press("down", "enter")
        await until(pilot, lambda: not second.is_running or second.return_code == 0)
    assert run.status().state == "stopped"


async def test_something_new_beside_a_running_server(program: str) -> None:
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "ready"))
    (run,) = list_runs()
    fresh = M35App(backend=backend(running=lambda: [run]))
    async with fresh.run_test() as pilot:
        await until(pilot, lambda: isinstance(fresh.screen, Ask))
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(fresh, Step.GPUS))


async def test_a_start_that_fails_is_explained_and_cured_with_one_key(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M35_FAKE_FAIL_UNLESS", "--kv-cache-dtype fp8")
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "failed"))
        await until(pilot, lambda: "KV cache cannot hold one sequence" in text_of(app))
        screen = launch_screen(app)
        labels = [cure.label for cure in screen.start.cures]
        assert labels[-1] == "retry unchanged"
        place = next(index for index, label in enumerate(labels) if label.startswith("--kv-cache-dtype fp8"))
        await pilot.press(*["down"] * place, "enter")
        await until(pilot, lambda: is_in(app, "ready"))
        assert isinstance(screen.answer, Plan)
        assert screen.answer.settings.kv_cache_dtype == "fp8"
        assert screen.answer.request.calibrations, "planned with what the engine measured"
        assert screen.answer.settings.tensor_parallel_size == 8, "on the layout that was measured"
        assert "--kv-cache-dtype" in attach("latest").record.argv


async def test_a_retry_with_what_fits_shortens_the_context(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M35_FAKE_FAIL_UNLESS", "--max-num-seqs 128")
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "failed"))
        await pilot.press("o")
        await until(pilot, lambda: app.screen.query_one("#watching").display)
        await pilot.press("o", "enter")
        await until(pilot, lambda: is_in(app, "ready") or is_in(app, "failed"))
        request = launch_screen(app).answers.request
        assert request is not None
        assert request.calibrations


async def test_a_taken_port_offers_the_next_free_one(program: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        app = app_at(Step.LAUNCH, doors=backend(program=program), port=port)
        async with app.run_test() as pilot:
            await until(pilot, lambda: is_in(app, "checked"))
            await pilot.press("l")
            await until(pilot, lambda: is_in(app, "failed"))
            assert "--port" in text_of(app) or "Address already in use" in text_of(app)


async def test_failed_checks_are_asked_about_before_anything_starts(program: str) -> None:
    failing = CheckResult(name="port", status="fail", seen="8000 is taken by python", hint="--port 8001")
    app = app_at(Step.LAUNCH, doors=backend(program=program, preflight=preflight(failing)), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        assert "8000 is taken by python" in text_of(app)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("escape")
        await until(pilot, lambda: is_in(app, "checked"))
        assert not list_runs()
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("down", "enter")
        await until(pilot, lambda: is_in(app, "ready"))


async def test_a_server_that_dies_is_noticed_and_named(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    monkeypatch.setenv("M35_FAKE_DIE", "1.5")
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "failed"))
        await pilot.press("escape")
        await until(pilot, lambda: at(app, Step.COMMAND))


async def test_a_server_that_dies_under_the_dashboard(program: str) -> None:
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "ready"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VerifyScreen) and app.screen.serving.report is not None)
        screen = app.screen
        assert isinstance(screen, VerifyScreen)
        attach("latest").stop(grace_s=0.5)
        screen.look()
        await until(pilot, lambda: "the server has ended" in text_of(app))
        await pilot.press("4")
        await typed(pilot, "hello")
        await pilot.press("enter")
        await until(pilot, lambda: "no connection" in text_of(app))
        assert app.screen.query_one(ContentSwitcher).current == "view-chat"
        assert not app.screen.query_one(ChatInput).value


async def test_stopping_from_the_launch_step(program: str) -> None:
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "ready"))
        await pilot.press("s")
        await until(pilot, lambda: is_in(app, "stopped"))
        assert attach("latest").status().state == "stopped"


async def test_the_log_is_searched_filtered_and_followed_at_its_end_only(program: str) -> None:
    app = app_at(Step.LAUNCH, doors=backend(program=program), port=own_port())
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: is_in(app, "ready"))
        log = app.screen.query_one(LogView)
        await until(pilot, lambda: log.following and log.scroll_offset.y == log.max_scroll_y)
        log.focus()
        await pilot.press("up")
        await until(pilot, lambda: not log.following)
        place = log.scroll_offset.y
        log.feed(b"one more line\n")
        await pilot.pause()
        assert log.scroll_offset.y == place
        await pilot.press("end")
        await until(pilot, lambda: log.following)
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        await typed(pilot, "kv cache")
        await pilot.press("enter")
        await until(pilot, lambda: "/kv cache" in text_of(app))
        found = log.line
        assert "kv cache" in found.casefold()
        await pilot.press("N")
        await until(pilot, lambda: log.line != found)
        log.feed(b"(APIServer pid=1) ERROR 11-23 10:00:00 [x.py:1] something broke\n")
        await pilot.press("f", "f", "f")
        await until(pilot, lambda: "error and worse" in text_of(app) and "something broke" in text_of(app))


async def test_a_refused_launch_is_drawn() -> None:
    def refuse(*_: object) -> None:
        raise LaunchFailed("cannot start a process", hint="free some memory")

    app = app_at(Step.LAUNCH, doors=backend(launch=refuse), port=own_port())
    async with app.run_test(notifications=True) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("l")
        await until(pilot, lambda: "cannot start a process" in text_of(app))
        assert is_in(app, "checked")


async def test_a_rehearsal_ticks_through_and_says_what_it_cannot_prove(tmp_path: Path) -> None:
    def rehearse(
        _plan: object,
        directory: Path,
        on_stage: Callable[[str], None],
        on_events: Callable[[tuple[object, ...]], None],
        on_result: Callable[[CheckResult], None],
    ) -> RehearsalReport:
        for entered in ("twin", "start"):
            on_stage(entered)
        directory.mkdir(parents=True)
        (directory / "server.log").write_text("INFO a line of the twin\n")
        on_events(())
        result = CheckResult(name="chat", status="pass", seen="'Hello.'", duration_s=0.1)
        on_result(result)
        return RehearsalReport(
            engine=InstalledEngine(executable=tmp_path / "vllm", version="0.33.0"),
            argv=(),
            env={},
            changes=(
                Change(
                    what="--tensor-parallel-size",
                    planned="TP 8",
                    rehearsed="TP 1",
                    unproved="tensor parallelism over 8 GPUs",
                ),
            ),
            run_directory=directory,
            twin_bytes=1,
            start_s=1.0,
            duration_s=2.0,
            verification=SmokeReport(url="", model="m", checks=(result,), duration_s=1.0),
            failure=None,
        )

    app = app_at(Step.LAUNCH, doors=backend(rehearse=rehearse), port=own_port())
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("h")
        await until(pilot, lambda: is_in(app, "rehearsed"))
        await until(pilot, lambda: "rehearsal passed: 1 of 1 checks pass" in text_of(app))
        assert "tensor parallelism over 8 GPUs" in text_of(app)
        assert "a line of the twin" in text_of(app)


async def test_a_rehearsal_that_is_refused_is_drawn() -> None:
    def refuse(*_: object) -> None:
        raise InvalidRequest("rehearse", "there is no executable `vllm`", hint="install vLLM")

    app = app_at(Step.LAUNCH, doors=backend(rehearse=refuse), port=own_port())
    async with app.run_test(notifications=True) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("h")
        await until(pilot, lambda: "there is no executable" in text_of(app))


async def test_the_container_is_a_target_too(tmp_path: Path) -> None:
    seen: list[str] = []

    def look(order: object, _plan: object, _on_start: object) -> object:
        seen.append(order.target)  # type: ignore[attr-defined]
        return iter(())

    app = app_at(Step.LAUNCH, doors=backend(preflight=look), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        await pilot.press("t")
        await until(pilot, lambda: seen == ["local", "cuda"] and is_in(app, "checked"))
        assert "docker" in text_of(app)


def gpu_lines(lines: list[str]) -> list[str]:
    """Which GPUs have a line of their own."""
    return [found[1] for line in lines if (found := re.match(r"\s+(\d) [█▏▎▍▌▋▊▉·]{4}", line))]


async def test_the_memory_of_each_gpu_fills_towards_the_plan_phase_by_phase() -> None:
    doors = stage.staged(detect=stage.detected)
    app = stage.app_at(Step.LAUNCH, doors=doors)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: is_in(app, "checked"))
        screen = launch_screen(app)
        stage.starting(screen, share=0.3)
        screen.hear(news.GpusSeen(stage.detected()))
        stage.starting(screen, share=0.45)
        screen.hear(news.GpusSeen(stage.detected()))
        await until(pilot, lambda: "9.5 of 1" in text_of(app) or "9.5 GiB" in text_of(app))
        lines = text_of(app).splitlines()
        assert gpu_lines(lines) == ["0", "1", "2", "3", "4", "5", "6", "7"], "every GPU has a line"
        assert any(line.lstrip().startswith("1 █") and " 9.5" in line for line in lines)
        for columns, rows in ((80, 24), (100, 30), (110, 34), (200, 60)):
            await pilot.resize_terminal(columns, rows)
            await until(pilot, lambda: len(gpu_lines(text_of(app).splitlines())) == 8)


async def test_a_check_that_takes_long_says_what_and_how_long() -> None:
    go_on, now = threading.Event(), [100.0]

    def slow(_order: object, _plan: object, on_start: Callable[[str], None]) -> Iterator[CheckResult]:
        on_start("it takes every flag")
        assert go_on.wait(30)
        yield CheckResult(name="arguments", status="pass", seen="all 14 flags")

    app = app_at(Step.LAUNCH, doors=backend(preflight=slow, now=lambda: now[0]), port=own_port())
    async with app.run_test() as pilot:
        await until(pilot, lambda: "it takes every flag" in text_of(app))
        now[0] += 65
        await until(pilot, lambda: "it takes every flag  1 min 5 s" in text_of(app))
        go_on.set()
        await until(pilot, lambda: is_in(app, "checked"))
