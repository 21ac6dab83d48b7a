"""``m35-plan fleet``: one row per host from the snapshots of many. It touches none of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Command
from planner.cli.documents import write_document
from planner.cli.exit_code import ExitCode
from planner.cli.options import Filled, engine_options
from planner.cli.output import style, table, write
from planner.cli.speed_options import workload_options
from planner.planning.load import WORKLOAD

if TYPE_CHECKING:
    from planner.planning.fleet import FleetRow

_WIDTH = 80
_GPUS_WIDTH = 18


@click.command(cls=Command, short_help="plan for many machines at once, from their snapshots")
@click.argument("hosts", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@engine_options
@workload_options
@click.option("--ttft-ms", type=float, metavar="MS", help="mean time to first token to stay under")
@click.option("--tpot-ms", type=float, metavar="MS", help="mean time per further token to stay under")
@click.option("--gpu-memory", type=Filled(), metavar="SIZE", help="memory of one GPU, on every host")
@click.option("--json", "as_json", is_flag=True, help="write one object per host as JSON")
def command(
    hosts: tuple[Path, ...],
    gpu_memory: str | None,
    as_json: bool,
    ttft_ms: float | None,
    tpot_ms: float | None,
    **settings: Any,
) -> int:
    """Plan for every host in HOSTS: one row each.

    HOSTS are snapshots that `m35-plan detect --json > host.json` wrote, or YAML lists such as
    `- {host: node-1, gpus: 8xH200}`. Settings hold for all hosts. Exit code 0: every host fits; 3: at least one does
    not, or has no GPU; 2: a file cannot be read.

    With `--request-rate` the wanted load is dealt out instead: which hosts carry it, with what, and which are left
    over. Exit code 3 then means that the fleet does not carry it.
    """
    from hw_specs.units import parse_memory
    from planner.cli.diagnostics import say
    from planner.planning.fleet import plan_fleet

    load = {name: settings.pop(name) for name in WORKLOAD}
    memory_bytes = None if gpu_memory is None else parse_memory(gpu_memory)
    rows = plan_fleet(hosts, settings=settings, memory_override_bytes=memory_bytes)
    if load["request_rate"] is not None and not any(row.unreadable for row in rows):
        return _share(rows, load, ttft_ms=ttft_ms, tpot_ms=tpot_ms, as_json=as_json)
    if as_json:
        write_document("fleet", {"hosts": [_document(row) for row in rows]})
    else:
        _write_table(rows)
    for row in rows:
        if row.problem:
            say("warning", f"{row.host}: {row.problem}" + (f"; {row.hint}" if row.hint else ""))
    if any(row.unreadable for row in rows):
        return ExitCode.USAGE
    return ExitCode.OK if all(row.feasible for row in rows) else ExitCode.DOES_NOT_FIT


def _share(
    rows: tuple[FleetRow, ...],
    load: dict[str, Any],
    *,
    ttft_ms: float | None,
    tpot_ms: float | None,
    as_json: bool,
) -> int:
    """Deal the wanted request rate over the hosts and write who carries what."""
    from planner.cli.diagnostics import say
    from planner.planning.fleet_load import share_load
    from planner.planning.load import workload_of
    from planner.speed.answer import Targets

    workload = workload_of(load, concurrency=None)
    targets = Targets(ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    say("note", f"forecasting {len(rows)} hosts")
    dealt = share_load(rows, workload, targets)
    if as_json:
        write_document(
            "fleet-load",
            {
                "wanted_requests_per_s": dealt.wanted_requests_per_s,
                "carried_requests_per_s": dealt.carried_requests_per_s,
                "carried": dealt.carried,
                "hosts": [
                    {
                        "host": host.host,
                        "gpus": str(host.plan.gpus) if host.plan else None,
                        "replicas": host.replicas,
                        "tensor_parallel_size": host.plan.settings.tensor_parallel_size if host.plan else None,
                        "capacity_requests_per_s": round(host.capacity_requests_per_s, 3),
                        "assigned_requests_per_s": round(host.assigned_requests_per_s, 3),
                        "reason": host.reason,
                    }
                    for host in dealt.hosts
                ],
            },
        )
    else:
        cells = [
            [
                _cut(host.host, 20),
                _cut(str(host.plan.gpus), _GPUS_WIDTH) if host.plan else "-",
                str(host.plan.settings.layout) if host.plan and host.capacity_requests_per_s else "-",
                f"{host.capacity_requests_per_s:.2f}",
                f"{host.assigned_requests_per_s:.2f}" if host.assigned_requests_per_s else "",
                "left over" if host.reason == "left over" else "",
            ]
            for host in dealt.hosts
        ]
        head = ["host", "GPUs", "layout", "requests/s", "carries", ""]
        write(table(head, cells, align=["<", "<", "<", ">", ">", "<"]))
        part = f"{dealt.carried_requests_per_s:.2f} of {dealt.wanted_requests_per_s:.2f} requests/s"
        write(f"\n{'carried' if dealt.carried else 'not carried'}: {part}")
    for host in dealt.hosts:
        if host.reason and host.reason != "left over":
            say("note", f"{host.host}: {host.reason}")
    return ExitCode.OK if dealt.carried else ExitCode.DOES_NOT_FIT


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
    layout = str(settings.layout)
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
        from planner.rendering.document import plan_document, to_json_value

        document["plan"] = to_json_value(plan_document(row.plan))
    else:
        document |= {"plan": None, "problem": row.problem, "hint": row.hint}
    return document
