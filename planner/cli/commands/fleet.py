"""``m35-plan fleet``: one row per host from the snapshots of many. It touches none of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.exit_code import ExitCode
from planner.cli.options import engine_options
from planner.cli.output import style, table, write, write_json

if TYPE_CHECKING:
    from planner.fleet import FleetRow

_WIDTH = 80
_GPUS_WIDTH = 18


@click.command(short_help="plan for many machines at once, from their snapshots")
@click.argument("snapshots", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@engine_options
@click.option("--gpu-memory", metavar="SIZE", help="memory of one GPU, on every host")
@click.option("--json", "as_json", is_flag=True, help="write one object per host as JSON")
def command(snapshots: tuple[Path, ...], gpu_memory: str | None, as_json: bool, **settings: Any) -> int:
    """Plan for every SNAPSHOT that `m35-plan detect --json > host.json` wrote: one row per host.

    Settings hold for all hosts. Exit code 0: every host fits; 3: at least one does not, or has no GPU; 2: a file
    is no snapshot.
    """
    from hw_specs.units import parse_memory
    from planner.cli.diagnostics import say
    from planner.fleet import plan_fleet

    memory_bytes = parse_memory(gpu_memory) if gpu_memory else None
    rows = plan_fleet(snapshots, settings=settings, memory_override_bytes=memory_bytes)
    if as_json:
        write_json([_document(row) for row in rows])
    else:
        _write_table(rows)
    for row in rows:
        if row.problem:
            say("warning", f"{row.host}: {row.problem}" + (f"; {row.hint}" if row.hint else ""))
    if any(row.unreadable for row in rows):
        return ExitCode.USAGE
    return ExitCode.OK if all(row.feasible for row in rows) else ExitCode.DOES_NOT_FIT


def _write_table(rows: tuple[FleetRow, ...]) -> None:
    """Write one line per host; long host names give way so that the rest fits the width."""
    head = ["GPUs", "verdict", "layout", "context", "requests"]
    cells = [_cells(row) for row in rows]
    lines = table(head, cells, align=["<", "<", "<", ">", ">"]).splitlines()
    room = _WIDTH - 2 - max(map(len, lines))
    hosts = ["host", *(_cut(row.host, room) for row in rows)]
    width = max(map(len, hosts))
    first, *rest = [f"{host:<{width}}  {line}" for host, line in zip(hosts, lines, strict=True)]
    write(style(first, "1"))
    write("\n".join(rest))


def _cells(row: FleetRow) -> list[str]:
    """What a row says behind the host's name."""
    if row.plan is None:
        return ["-", "no plan", "-", "-", "-"]
    answer, settings = row.plan, row.plan.settings
    layout = f"TP{settings.tensor_parallel_size}"
    layout += f" PP{settings.pipeline_parallel_size}" if settings.pipeline_parallel_size > 1 else ""
    layout += f" x {settings.replicas}" if settings.replicas > 1 else ""
    gpus = _cut(str(answer.gpus), _GPUS_WIDTH)
    if not answer.feasible:
        return [gpus, answer.verdict, layout, "-", "-"]
    concurrency = answer.kv_cache.max_concurrency * settings.replicas
    return [gpus, answer.verdict, layout, f"{settings.max_model_len:,}", f"{concurrency:.1f}"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _document(row: FleetRow) -> dict[str, object]:
    """One host as JSON; ``plan`` is the document of ``m35-plan --json``."""
    document: dict[str, object] = {"host": row.host, "path": row.path, "feasible": row.feasible}
    if row.plan is not None:
        from planner.document import plan_document, to_json_value

        document["plan"] = to_json_value(plan_document(row.plan))
    else:
        document |= {"plan": None, "problem": row.problem, "hint": row.hint}
    return document
