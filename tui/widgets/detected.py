"""The GPUs of this machine as lines; it draws a `DetectionReport`."""

from __future__ import annotations

from textual.content import Content

from hw_specs import DetectionReport
from hw_specs.units import format_gib
from tui.widgets.columns import Column, Row, lay_out
from tui.widgets.plan_panel import wrapped

MOST_GPUS = 4


def detected_lines(report: DetectionReport, *, width: int) -> list[Content]:
    """Return one line per GPU with what is free on it, or why there is none."""
    if not report.gpus:
        lines = [Content.styled("no GPU found", "bold")]
        for problem in report.problems[:2]:
            lines += wrapped(f"{problem.message}", width=width, style="$secondary", indent="  ")
        return lines
    rows = []
    for gpu in report.gpus[:MOST_GPUS]:
        free = format_gib(gpu.free_bytes, decimals=1) if gpu.free_bytes is not None else "?"
        total = format_gib(gpu.engine_total_bytes, decimals=1) if gpu.engine_total_bytes else "?"
        holders = ", ".join(process.name or f"pid {process.pid}" for process in gpu.processes)
        rows.append(Row(cells=(gpu.label, gpu.name, free, total, holders)))
    columns = (
        Column("#"),
        Column("name"),
        Column("free GiB", right=True),
        Column("of", right=True),
        Column("used by"),
    )
    head, lines = lay_out(columns, rows, width=width)
    more = len(report.gpus) - MOST_GPUS
    if more > 0:
        lines.append(Content.styled(f"and {more} more", "$secondary"))
    for warning in report.selection.warnings[:2]:
        lines += wrapped(f"! {warning}", width=width, style="$text-warning", indent="  ")
    return [head, *lines]
