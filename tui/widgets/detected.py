"""The GPUs of this machine as lines; it draws a `DetectionReport`."""

from __future__ import annotations

from textual.content import Content

from hw_specs import DetectionReport
from hw_specs.detect.devices import DetectedGpu
from hw_specs.units import format_gib
from tui.widgets.columns import fit, wrapped

BUSY = 0.05
"""Share of a GPU's memory from which another process is at work on it."""
BAR = 8
"""Cells of a GPU's bar."""


def detected_lines(report: DetectionReport, *, width: int, height: int = 8) -> list[Content]:
    """Return every GPU with a bar, what is free on it and who holds the rest; or why there is none.

    Where `height` lines are too few, two GPUs share a line, or their holders are left out.
    """
    if not report.gpus:
        lines = [Content.styled("no GPU found", "bold")]
        for problem in report.problems[:2]:
            lines += wrapped(f"{problem.message}", width=width, style="$secondary", indent="  ")
        return lines
    warnings = [
        line
        for warning in report.selection.warnings[:2]
        for line in wrapped(f"! {warning}", width=width, style="$text-warning", indent="  ")
    ]
    gpus = report.gpus
    if len({gpu.name for gpu in gpus}) == 1:
        head = Content.styled(fit(f"{len(gpus)} x {gpus[0].name}, GiB free", width), "$secondary")
        names = False
    else:
        head = Content.styled(fit(f"{len(gpus)} GPUs, GiB free", width), "$secondary")
        names = True
    if len(gpus) + len(warnings) < height:
        return [head, *(_gpu(gpu, width=width, named=names) for gpu in gpus), *warnings]
    half = (width - 2) // 2
    rows = -(-len(gpus) // 2)
    lines = []
    for index in range(rows):
        pair = [_gpu(gpu, width=half, named=False) for gpu in gpus[index::rows]]
        lines.append(Content("  ").join(pair))
    return [head, *lines, *warnings]


def _gpu(gpu: DetectedGpu, *, width: int, named: bool) -> Content:
    """One GPU in one line: number, bar, what is free, and who holds the rest."""
    total, free = gpu.engine_total_bytes, gpu.free_bytes
    used = 1 - free / total if total and free is not None else 0.0
    full = round(max(0.0, min(1.0, used)) * BAR)
    size = format_gib(free, decimals=1) if free is not None else "?"
    holders = ", ".join(process.name or f"pid {process.pid}" for process in gpu.processes)
    said = f"  {gpu.name}" if named else ""
    said += f"  {holders}" if holders else ""
    style = "$text-warning" if used > BUSY else "$accent"
    left = Content.assemble(
        (f"{gpu.label:>3} ", ""), ("█" * full, style), ("·" * (BAR - full), "$secondary"), f" {size:>6}"
    )
    return Content.assemble(left, (fit(said, max(0, width - left.cell_length)), "$secondary"))
