"""``m35-plan bench``: run the engine's own benchmark and compare it with the forecast. It changes no server."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Command, quiet
from planner.cli.diagnostics import say
from planner.cli.kept import plan_in
from planner.cli.output import number, table, write, write_document
from planner.cli.speed_options import workload_options
from planner.errors import InvalidRequest
from planner.planning.load import workload_of

if TYPE_CHECKING:
    from planner.planning.answer import Plan
    from planner.rendering.document import PlanDocument
    from planner.serve.bench import BenchResult
    from planner.speed.answer import SpeedForecast
    from planner.speed.workload import Workload

COMPARED = (
    ("output tokens/s", "output_tokens_per_s"), ("total tokens/s", "total_tokens_per_s"), ("TTFT, ms", "ttft_ms"),
    ("TTFT p99, ms", "ttft_p99_ms"), ("TPOT, ms", "tpot_ms"), ("TPOT p99, ms", "tpot_p99_ms"),
    ("ITL, ms", "itl_ms"), ("ITL p99, ms", "itl_p99_ms"), ("tokens a step with the draft", "acceptance_length"),
)  # fmt: skip
DEFAULT_URL = "http://127.0.0.1:8000"


@click.command(cls=Command, short_help="measure a running server and compare it with the forecast")
@click.argument("url", default=DEFAULT_URL)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="what runs there: a plan as JSON")
@click.option("--concurrency", type=click.IntRange(1), metavar="N", help="requests in flight; 32 by default")
@workload_options
@click.option("--model", help="model name at the server; the plan's, or this project's model")
@click.option("--tokenizer", metavar="PATH", help="folder or repository of the tokenizer; the model's own by default")
@click.option("--vllm", "executable", default="vllm", help="the vllm executable that holds the benchmark")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), metavar="S", help="give up after so many seconds")
@click.option("--result", "result_file", type=click.Path(path_type=Path), help="read this result instead of running")
@click.option("--print", "print_only", is_flag=True, help="print the commands and run nothing")
@click.option("--keep", is_flag=True, help="let the result correct later forecasts on this machine")
@click.option("--json", "as_json", is_flag=True, help="write JSON")
def command(
    url: str, plan_file: Path | None, concurrency: int | None, model: str | None, tokenizer: str | None,
    executable: str, timeout_s: float | None, result_file: Path | None, print_only: bool, keep: bool,
    as_json: bool, **load: Any,
) -> int:  # fmt: skip
    """Run `vllm bench serve` against the server at URL, or print the command with `--print`.

    With `--plan` (`m35-plan --gpus 8xH200 --json > plan.json`) the forecast for that plan is shown beside the measured
    figures, and `--keep` lets it correct later forecasts for the same GPUs, release and layout. The API key is read
    from VLLM_API_KEY. `--print` also shows the lm_eval call for GSM8K.
    """
    from planner.serve.bench import bench_argv, gsm8k_argv, keep_benchmark, read_result, run_bench
    from planner.serve.documents import BenchmarkCommandsDocument, BenchmarkDocument
    from planner.serve.verification.checks.server import normal_url

    url = normal_url(url)
    workload = workload_of(load, concurrency=concurrency)
    if workload.num_requests is None:
        # As the public benchmark of this model: about three waves and a tail.
        requests = max(100, 3 * (workload.concurrency or 0) + 4)
        workload = dataclasses.replace(workload, num_requests=requests)
    document = plan_in(plan_file) if plan_file is not None else None
    name = model or (document.model.name if document else _default_model())
    if print_only:
        commands = [
            bench_argv(workload, model=name, url=url, executable=executable, tokenizer=tokenizer),
            gsm8k_argv(model=name, url=url),
        ]
        if as_json:
            write_document(BenchmarkCommandsDocument(commands=tuple(commands)))
        else:
            write("\n\n".join(shlex.join(argv) for argv in commands))
        return 0
    if keep and document is None:
        raise InvalidRequest(
            "keep", "keep needs to know what was measured", hint="name the plan that runs: --plan plan.json"
        )
    if result_file is not None:
        from hw_specs.reading import read_text

        result = read_result(read_text(result_file, errors="replace"))
    else:
        # Its own progress goes to the same stream.
        quiet()
        result = run_bench(
            workload, model=name, url=url, executable=executable, tokenizer=tokenizer, timeout_s=timeout_s
        )
    forecasted, plan = _forecast(document, workload)
    if as_json:
        write_document(BenchmarkDocument(workload=workload, measured=result, forecast=forecasted))
    else:
        _write(result, forecasted)
    if keep and forecasted is not None and plan is not None:
        from planner.speed.predict import calibrate

        keep_benchmark(calibrate(forecasted, result.figures(), plan))
        say("note", "kept: later forecasts for these GPUs, this release and this layout use it")
    return 0


def _default_model() -> str:
    from planner.checkpoint import load_preset

    return load_preset().name


def _forecast(document: PlanDocument | None, workload: Workload) -> tuple[SpeedForecast | None, Plan | None]:
    """The forecast for the planned settings, and the plan made anew from them."""
    if document is None:
        return None, None
    from planner.planning.choose import make_plan
    from planner.speed.predict import forecast

    again = make_plan(document.request)
    return forecast(again, workload), again


def _write(result: BenchResult, forecasted: SpeedForecast | None) -> None:
    rows = []
    for label, name in COMPARED:
        measured = getattr(result, name)
        if measured is None:
            continue
        row = [label, number(measured)]
        estimate = getattr(forecasted, name) if forecasted is not None else None
        if estimate is not None:
            inside = estimate.low <= measured <= estimate.high
            row += [
                number(estimate.expected), number(estimate.low), number(estimate.high),
                f"{estimate.expected / measured - 1:+.0%}", "" if inside else "outside the bounds",
            ]  # fmt: skip
        rows.append(row)
    head = ["", "measured"] + (["forecast", "low", "high", "off by", ""] if forecasted else [])
    write(table(head, rows, ("<", ">", ">", ">", ">", ">", "<")))
    write(
        f"\n{result.completed:,} requests completed" + (f" in {result.duration_s:,.1f} s" if result.duration_s else "")
    )
