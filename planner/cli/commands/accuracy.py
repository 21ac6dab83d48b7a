"""``m35-plan accuracy``: the planner against start-ups that others measured. It fits nothing and changes no plan."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.command import Command
from planner.cli.output import style, table, write, write_document, write_file

_SHORT = {
    "weights": "weights",
    "activations": "activations",
    "outside_torch": "outside torch",
    "graphs": "graph estimate",
    "buffers": "buffers",
    "kv_pool": "KV pool",
}


@click.command(cls=Command, short_help="compare predictions with measured start-ups")
@click.option("--json", "as_json", is_flag=True, help="write every comparison as JSON")
@click.option(
    "--write",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="write accuracy.md and its picture into this directory",
)
def command(as_json: bool, directory: Path | None) -> None:
    """Predict every published start-up without its model, and show the errors per component.

    The data come with the program, so this needs no GPU and no network. KV pool takes the measured weights as given;
    `safe` is how often the cautious bound held.
    """
    from planner.accuracy import PLOT, evaluate, goals, own_groups, public_groups, render_page, render_plot

    report = evaluate()
    if directory:
        write_file(directory / "accuracy.md", render_page(report, evaluate(left_out="family")))
        write_file(directory / PLOT, render_plot(report))
    if as_json:
        from planner.cli.documents import AccuracyDocument, Goal, StartupFigure

        write_document(
            AccuracyDocument(
                goals=tuple(
                    Goal(goal=what, wanted=wanted, reached=value, met=met) for what, wanted, value, met in goals(report)
                ),
                groups=tuple(report.groups),
                own=tuple(own_groups()),
                public=tuple(public_groups()),
                comparisons=tuple(
                    StartupFigure(
                        startup=one.startup.label,
                        component=one.component,
                        predicted_gib=round(one.predicted_gib, 3),
                        low_gib=round(one.low_gib, 3),
                        high_gib=round(one.high_gib, 3),
                        measured_gib=round(one.measured_gib, 3),
                        source=one.startup.source,
                    )
                    for one in report.comparisons
                ),
            )
        )
        return
    rows, names = [], [""]
    captured = (*own_groups(), *public_groups())
    for group in (*report.groups, *captured):
        component = "captured graphs" if group in captured and group.component == "graphs" else _SHORT[group.component]
        names.append(group.name if group.name not in names else "")
        rows.append(
            [
                f"  {component}",
                str(group.count),
                f"{group.mean_gib:+.3f}",
                f"{group.mean_absolute_gib:.3f}",
                f"{group.mean_absolute_percent:.2f}",
                f"{group.worst_percent:+.1f}",
                f"{group.safe_percent:.0f}",
            ]
        )
    head = ["", "n", "mean GiB", "abs GiB", "abs %", "worst %", "safe %"]
    lines = table(head, rows, align=["<", ">", ">", ">", ">", ">", ">"]).splitlines()
    for name, line in zip(names, lines, strict=True):
        if name:
            write(style(name, "1"))
        write(line)
    write("")
    for what, wanted, value, met in goals(report):
        write(f"{'met    ' if met else 'missed '}  {what}: {value}, goal {wanted}")
