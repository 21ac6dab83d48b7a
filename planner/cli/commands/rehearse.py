"""``m35-plan rehearse``: try the plan on a tiny twin, or at full size with random weights. It downloads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Command
from planner.cli.diagnostics import report_error, say
from planner.cli.exit_code import ExitCode
from planner.cli.options import engine_options, gpu_options
from planner.cli.output import write, write_document
from planner.cli.page import noted_table, paragraph
from planner.cli.start_options import planned_here

if TYPE_CHECKING:
    from planner.serve.rehearsal.full_size_plan import Change
    from planner.serve.rehearsal.rehearse import RehearsalReport, Stage

_STAGES: dict[Stage, str] = {
    "twin": "making the twin",
    "start": "starting the engine",
    "checks": "running the checks",
    "stop": "stopping the engine",
}


@click.command(cls=Command, short_help="try the plan on a twin of the model, before the download")
@gpu_options
@engine_options
@click.option("--full-size", is_flag=True, help="the model's own dimensions with random weights: proves the memory")
@click.option("--vllm", "executable", default="vllm", metavar="PATH", help="the engine's executable")
@click.option("--port", type=click.IntRange(1, 65535), help="port of the rehearsed server; a free one by default")
@click.option("--run-dir", type=click.Path(path_type=Path), help="keep log and report here")
@click.option("--keep-twin", type=click.Path(path_type=Path), metavar="DIR", help="keep the twin here")
@click.option("--skip", multiple=True, metavar="CHECK", help="leave this check out (repeatable)")
@click.option("--start-limit", "start_limit_s", type=click.FloatRange(1), metavar="S", help="seconds to readiness")
@click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
def command(
    gpus: str | None,
    gpu_memory: str | None,
    full_size: bool,
    executable: str,
    port: int | None,
    run_dir: Path | None,
    keep_twin: Path | None,
    skip: tuple[str, ...],
    start_limit_s: float | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Start the installed vLLM with the plan's flags on a tiny twin of the model, test it, stop it.

    It finds faults of versions, flags, tokenizer, parsers and tool calls in a minute or two, also on a machine
    without a GPU, where vLLM's CPU build serves. What was changed for that, and what it cannot prove, is printed.

    With --full-size the engine makes tensors of the model's real sizes and fills them at random: on the GPUs of the
    plan this proves the memory, the KV cache, compilation and graphs, and compares predicted with measured.

    Exit code 0: passed, 5: the engine did not come up, 6: a check failed, 7: it took too long.
    """
    from planner.cli.check_table import result_writer
    from planner.serve.preflight.installed import find_engine
    from planner.serve.rehearsal.full_size_plan import FULL_SIZE_CHECKS, rehearsal_plan
    from planner.serve.rehearsal.rehearse import START_LIMIT_S, rehearse
    from planner.serve.verification.verifier import selected_checks

    checks = selected_checks(only=FULL_SIZE_CHECKS if full_size else (), skip=skip)
    plan = planned_here(gpus, gpu_memory, settings)
    if not plan.feasible:
        report_error("the plan does not fit, so there is nothing to rehearse", hint="`m35-plan plan` shows the levers")
        return ExitCode.DOES_NOT_FIT
    engine = find_engine(executable)
    if not as_json:
        write(f"rehearsing on vLLM {engine.version or 'of unknown version'}{', a CPU build' if engine.cpu else ''}\n")
        write(_changes(rehearsal_plan(plan, engine, full_size=full_size).changes) + "\n")
    report = rehearse(
        plan,
        engine=engine,
        full_size=full_size,
        twin_directory=keep_twin,
        run_dir=run_dir,
        port=port,
        checks=checks,
        start_limit_s=start_limit_s or START_LIMIT_S,
        on_stage=lambda stage: say("note", _STAGES[stage]),
        on_result=None if as_json else result_writer(),
    )
    if as_json:
        write_document(report)
    else:
        _write_end(report)
    if report.passed:
        return ExitCode.OK
    if report.verification is not None:
        return ExitCode.VERIFY_FAILED
    return ExitCode.TIMEOUT if report.timed_out else ExitCode.LAUNCH_FAILED


def _changes(changes: tuple[Change, ...]) -> str:
    rows = [[change.what, change.planned, change.rehearsed] for change in changes]
    return noted_table(["", "planned", "rehearsed"], rows, align="<<")


def _write_end(report: RehearsalReport) -> None:
    from planner.cli.check_table import smoke_summary

    if report.verification is not None:
        write(smoke_summary(report.verification))
        write(f"ready after {report.start_s:.1f} s, {report.duration_s:.1f} s in all")
        if report.comparison is not None and report.comparison.differences:
            from planner.cli.start_report_table import comparison_text

            write("\n" + comparison_text(report.comparison))
    elif report.failure is not None:
        write(f"did not come up: {report.failure.title}")
        for line in report.failure.evidence:
            write(paragraph(f"{line.number}: {line.text}", rest="    "))
        for cure in report.failure.cures:
            write(paragraph(cure, indent="  - ", rest="    "))
    else:
        write("it was stopped before it was ready")
    write("\nnot rehearsed")
    for unproved in report.unproved:
        write(paragraph(unproved, indent="  - ", rest="    "))
    write(f"\nlog and report: {report.run_directory}")
    if report.comparison is not None:
        write(f"to keep these figures for later plans: m35-plan calibrate {report.run_directory}")
