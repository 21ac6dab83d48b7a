"""``m35-plan watch``: what a running server does beside its plan, one line a look. It changes nothing there."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import click

from planner.cli.command import Command, quiet
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.kept import plan_behind
from planner.cli.options import complete_runs
from planner.cli.output import write, write_json_line
from planner.errors import PlannerError, VerifyFailed

if TYPE_CHECKING:
    from planner.planning.answer import Plan
    from planner.serve.verification.window import Sample, Window
    from planner.speed.answer import SpeedForecast
    from planner.speed.workload import Workload

EVERY_S = 5.0
MOST_FAILURES = 3
"""Looks in a row without an answer after which the server is said to be gone."""


@click.command(cls=Command, short_help="watch a running server beside its plan")
@click.argument("server", metavar="RUN|URL", default="latest", shell_complete=complete_runs)
@click.option(
    "--every", "every_s", type=click.FloatRange(0.1), default=EVERY_S, metavar="SECONDS", help="seconds between samples"
)
@click.option("--window", "window_s", type=click.FloatRange(1), default=600.0, metavar="SECONDS",
              help="seconds of history that percentiles cover (600)")  # fmt: skip
@click.option("--count", type=click.IntRange(1), metavar="N", help="stop after so many samples")
@click.option("--json", "as_json", is_flag=True, help="print every sample as a JSON line")
def command(server: str, every_s: float, window_s: float, count: int | None, as_json: bool) -> int:
    """Watch RUN (its id, or `latest`) or the server at URL: requests, KV cache, tokens/s, TTFT and ITL, GPUs.

    With a run, its figures are shown beside its plan and a forecast for the current load; preemptions, queues and
    drift are named with what to change. Ctrl-C ends it. Exit code 0, or 6 when the server does not answer.
    """
    from hw_specs.detect.activity import ActivityReader
    from planner.cli.watch_lines import head, line
    from planner.serve.process.health import read_metrics
    from planner.serve.verification.window import Window, read_look

    # Between two looks nothing is to be said.
    quiet()
    url, plan = _server(server)
    here = any(name in url for name in ("//127.0.0.1", "//localhost", "//[::1]"))
    reader, window, seen = ActivityReader(), Window(span_s=window_s), _Forecasts(plan)
    failures, said, looks = 0, "", 0
    try:
        while True:
            try:
                page = _figures(read_metrics(url))
            except VerifyFailed:
                failures += 1
                if not looks or failures >= MOST_FAILURES:
                    raise
            else:
                failures = 0
                window = window.add(read_look(page, at_s=time.time(), gpus=reader.read() if here else ()))
                sample = _judged(window, plan, seen)
                if as_json:
                    _write_sample(sample)
                else:
                    if looks % 20 == 0:
                        write(head(sample))
                    write(line(sample))
                    told = "\n".join(f"{one.message}; {one.cure}" for one in sample.remarks)
                    for one in sample.remarks if told != said else ():
                        say("warning", one.message)
                        say("hint", one.cure)
                    said = told
                looks += 1
            if count is not None and looks >= count:
                return ExitCode.OK
            time.sleep(every_s)
    except KeyboardInterrupt:
        return ExitCode.OK


def _server(name: str) -> tuple[str, Plan | None]:
    """The address of a run or a URL, and the plan of a run."""
    if "://" in name:
        return name.rstrip("/"), None
    from planner.serve.process.runs import attach

    run = attach(name, prefer_running=True)
    if not run.status().alive:
        raise VerifyFailed(
            f"run `{run.id}` does not run any more, so there is nothing to watch", hint="`m35-plan runs` lists them"
        )
    return run.url, plan_behind(run)


def _figures(page: str) -> str:
    """The page itself, where it is one of an engine.

    Raises:
        VerifyFailed: where it holds none of the engine's figures.
    """
    if "vllm:" not in page:
        raise VerifyFailed(
            "/metrics holds none of vLLM's figures",
            hint="the address must be the engine's own, not a router's, and the engine without `--disable-log-stats`",
        )
    return page


class _Forecasts:
    """Forecasts for the loads that were seen; None where none can be made."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._known: dict[Workload, SpeedForecast | None] = {}

    def of(self, load: Workload | None) -> SpeedForecast | None:
        """The forecast for a load."""
        if load is None or self._plan is None:
            return None
        if load not in self._known:
            from planner.speed.predict import forecast

            try:
                self._known[load] = forecast(self._plan, load)
            except PlannerError:
                self._known[load] = None
        return self._known[load]


def _judged(window: Window, plan: Plan | None, seen: _Forecasts) -> Sample:
    """The newest sample with what is not as planned."""
    from planner.serve.verification.window import remarks

    sample = window.sample()
    assert sample is not None, "a look was just added"
    return dataclasses.replace(sample, remarks=remarks(sample, plan=plan, forecast=seen.of(window.load())))


def _write_sample(sample: Sample) -> None:
    from planner.rendering.envelope import to_value

    write_json_line(to_value(sample))
