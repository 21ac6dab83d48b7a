"""``m35-plan detect``: what GPUs are here, and why any is missing. It changes nothing on the machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from planner.cli.command import Command
from planner.cli.exit_code import ExitCode
from planner.cli.output import write, write_json

if TYPE_CHECKING:
    from hw_specs import DetectionReport


@click.command(cls=Command, short_help="show the GPUs of this machine, and why any is missing")
@click.argument("snapshot", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="write the report as JSON; `--gpus @FILE` reads it back")
@click.option("--ids", "show_ids", is_flag=True, help="also show bus addresses, PCI ids and UUIDs")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=3600),
    default=30.0,
    show_default=True,
    help="seconds a driver's library may take",
)
def command(snapshot: Path | None, as_json: bool, show_ids: bool, timeout_s: float) -> int:
    """Show the GPUs of this machine, as `m35-plan` plans for them without `--gpus`.

    With SNAPSHOT, show what another machine wrote with `--json`, or what `nvidia-smi -q -x`, `nvidia-smi -L`, a table
    of `nvidia-smi --query-gpu`, `amd-smi static --json` or `rocm-smi --json` printed there. `*` marks the GPUs that are
    planned for: the largest set of equal ones. Exit code 4 when there is none.
    """
    from hw_specs.detect import detect_gpus
    from hw_specs.detect.snapshot import to_document
    from hw_specs.resolve import report_in

    report = report_in(snapshot) if snapshot else detect_gpus(timeout_s=timeout_s)
    if as_json:
        write_json(to_document(report))
    elif report.gpus:
        from planner.cli.detect_text import ids_text, report_text

        write(report_text(report))
        if show_ids:
            write("\n" + ids_text(report))
    if report.gpu_set is not None:
        return ExitCode.OK
    _explain(report)
    return ExitCode.NO_GPU


def _explain(report: DetectionReport) -> None:
    """Say on stderr why there is nothing to plan for."""
    from planner.cli.detect_text import nothing_found
    from planner.cli.diagnostics import narrate, report_error, say

    if report.gpus:
        report_error("no GPU here can be planned for", "the table says why each is left out")
        return
    where = "on this machine" if report.origin == "detected" else f"in the snapshot of {report.hostname}"
    say("error", f"no GPU found {where}")
    narrate("\n" + "\n".join(nothing_found(report)) + "\n")
    say("hint", "`m35-plan --gpus 8xH200` plans for GPUs that are elsewhere")
