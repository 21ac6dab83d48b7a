"""``m35-plan calibrate``: keep what an engine measured, so that later plans on this machine use it."""

from __future__ import annotations

from typing import Any

import click

from hw_specs.units import format_gib
from planner.calibrate import calibration_of, compiled_while_profiling, keep
from planner.cli.command import Command
from planner.cli.commands.diagnose import read_log
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.gpus_option import resolve_gpus
from planner.cli.kept import known_calibrations, plan_behind
from planner.cli.options import complete_logs, engine_options, gpu_options
from planner.cli.output import table, write, write_document
from planner.errors import LogNotUnderstood
from planner.planning.request import SETTINGS
from planner.serve.log.comparison import Predicted, compare
from planner.serve.log.measured import Measured, read_measured
from planner.serve.log.parser import parse_log


@click.command(cls=Command, short_help="keep what a start measured, for later plans")
@click.argument("log", default="latest", shell_complete=complete_logs)
@gpu_options
@engine_options
@click.option("--list", "listing", is_flag=True, help="list what is kept, and stop")
@click.option("--dry-run", is_flag=True, help="show it, keep nothing")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(
    log: str,
    gpus: str | None,
    gpu_memory: str | None,
    listing: bool,
    dry_run: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Read LOG, a log file, `-` or a run, and keep what the engine measured.

    A run knows its plan. For a log, name the GPUs of that start; settings in the log are taken from it.
    Later plans with the same model, GPU, release and layout use the figures and say `measured here`.
    """
    if listing:
        return _list(as_json=as_json)
    excerpt, run = read_log(log)
    measured = read_measured(parse_log(excerpt.head))
    plan = plan_behind(run) if run is not None and gpus is None else None
    if plan is None:
        if gpus is None and run is not None:
            raise LogNotUnderstood(
                f"run `{run.id}` was started without a plan, so nothing says which GPUs it had",
                hint=f"name them: `m35-plan calibrate {run.id} --gpus 8xH200`",
            )
        if gpus is None:
            raise LogNotUnderstood(
                "a log does not say which GPU it is from", hint="name it: `m35-plan calibrate LOG --gpus 8xH200`"
            )
        from planner.planning.choose import make_plan
        from planner.planning.request import PlanRequest

        plan = make_plan(PlanRequest(gpus=resolve_gpus(gpus, gpu_memory=gpu_memory), **_settings(settings, measured)))
    calibration = calibration_of(plan, measured, run=run.id if run is not None else log)
    comparison = compare(Predicted.of(plan), measured)
    if not dry_run:
        keep(calibration)
    if as_json:
        from planner.cli.documents import CalibrationDocument

        write_document(CalibrationDocument(kept=not dry_run, calibration=calibration, comparison=comparison))
        return ExitCode.OK
    from planner.cli.start_report_table import comparison_text

    write(comparison_text(comparison))
    terms = ", ".join(f"{name} {format_gib(size)} GiB" for name, size in calibration.terms.items())
    write(f"\n{'would keep' if dry_run else 'kept'}: {terms}")
    if compiled_while_profiling(plan, measured):
        say("note", "that start compiled inside its profile run: for the peak activation calibrate a later one")
    return ExitCode.OK


def _settings(typed: dict[str, Any], measured: Measured) -> dict[str, Any]:
    """The typed settings, completed by what the log says."""
    known = {name: getattr(measured, name) for name, setting in SETTINGS.items() if setting.logged}
    settings = {name: value or known.get(name) or value for name, value in typed.items()}
    if measured.kv_cache_dtype is not None and settings.get("kv_cache_dtype") in (None, "auto"):
        settings["kv_cache_dtype"] = measured.kv_cache_dtype
    return settings


def _list(*, as_json: bool) -> int:
    kept = known_calibrations()
    if as_json:
        from planner.cli.documents import CalibrationsDocument

        write_document(CalibrationsDocument(calibrations=kept))
    elif not kept:
        write("nothing was measured on this machine yet")
    else:
        names = ("activations", "outside_torch", "graphs")
        rows = [
            (
                *(item.gpu, f"TP{item.tensor_parallel_size}", item.vllm_version, item.measured_on),
                *(format_gib(item.terms[name]) if name in item.terms else "-" for name in names),
            )
            for item in kept
        ]
        head = ("gpu", "layout", "vLLM", "measured on", "activations", "outside torch", "graphs, GiB")
        write(table(head, rows, ("<", "<", "<", "<", ">", ">", ">")))
    return ExitCode.OK
