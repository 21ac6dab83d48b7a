"""``m35-plan fleet``: one row per host from the snapshots of many. It touches none of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw_specs.units import counted, format_figure
from planner.cli.command import Command
from planner.cli.exit_code import ExitCode
from planner.cli.options import Trimmed, engine_options
from planner.cli.output import headed, json_text, table, write, write_document
from planner.cli.speed_options import workload_options
from planner.errors import InvalidRequest
from planner.planning.load import WORKLOAD

if TYPE_CHECKING:
    from planner.planning.fleet import FleetRow

_NAMED = 4
"""Hosts that are named where a note holds for many."""


@click.command(cls=Command, short_help="plan for many machines at once, from their snapshots")
@click.argument("hosts", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@engine_options
@workload_options
@click.option("--ttft-ms", type=float, metavar="MS", help="target for the mean time to first token (TTFT)")
@click.option("--tpot-ms", type=float, metavar="MS", help="target for the mean time per output token (TPOT)")
@click.option("--gpu-memory", type=Trimmed(), metavar="SIZE", help="memory of one GPU, on every host")
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

    HOSTS are files, or `-` for standard input: `kubectl get nodes -o json`, ResourceSlices, `scontrol show node`,
    `nvidia-smi -q -x`, `-L` or CSV, `amd-smi static --json`, `rocm-smi -a --json`, `m35-plan detect --json`, a cloud's
    list of instances, or YAML such as `- {host: node-1, gpus: 8xH200}`. Settings hold for all hosts. Exit code 0: every
    host that is in service and has GPUs fits; 3: one does not, or there is none; 2: a file cannot be read.

    With `--request-rate` the load is distributed: which hosts serve it, with which layout,
    and which are unused; 3 then: none can.
    """
    from hw_specs.units import parse_memory
    from planner.planning.fleet import plan_fleet

    load = {name: settings.pop(name) for name in WORKLOAD}
    if load["request_rate"] is not None and settings["concurrency"] is not None:
        raise InvalidRequest(
            "concurrency", "concurrency and request_rate exclude each other: a host takes as much as it keeps up with",
            hint="leave --concurrency out; --max-num-seqs bounds what one server runs at once",
        )  # fmt: skip
    memory_bytes = None if gpu_memory is None else parse_memory(gpu_memory)
    rows = plan_fleet(hosts, settings=settings, memory_override_bytes=memory_bytes)
    unreadable = any(row.unreadable for row in rows)
    if load["request_rate"] is not None and not all(row.unreadable for row in rows):
        counted = tuple(row for row in rows if row.counts)
        code = _share(counted, load, ttft_ms=ttft_ms, tpot_ms=tpot_ms, as_json=as_json)
        return ExitCode.USAGE if unreadable else code
    if as_json:
        from planner.cli.documents import write_list_document

        write_list_document("fleet", {}, "hosts", _documents(rows))
    else:
        _write_table([row for row in rows if not row.no_gpu])
    _narrate(rows)
    if unreadable:
        return ExitCode.USAGE
    wanted = [row for row in rows if row.counts]
    return ExitCode.OK if wanted and all(row.feasible for row in wanted) else ExitCode.DOES_NOT_FIT


def _narrate(rows: Sequence[FleetRow]) -> None:
    """Say on stderr what the table has no room for: why a host has no plan, and what to know of the others."""
    from planner.cli.diagnostics import say

    for row in rows:
        if row.problem:
            say("warning", f"{row.host}: {row.problem}" + (f"; {row.hint}" if row.hint else ""))
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes if not row.no_gpu else ():
            notes.setdefault(note, []).append(row.host)
    for note, hosts in notes.items():
        say("note", f"{_some(hosts)}: {note}")
    idle = [row.host for row in rows if row.no_gpu]
    if idle:
        say("note", f"no GPU on {_some(idle)}")


def _some(hosts: list[str]) -> str:
    more = len(hosts) - _NAMED
    return ", ".join(hosts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _share(
    rows: tuple[FleetRow, ...],
    load: dict[str, Any],
    *,
    ttft_ms: float | None,
    tpot_ms: float | None,
    as_json: bool,
) -> int:
    """Distribute the request rate over the hosts and write which serves how much."""
    from planner.cli.diagnostics import say
    from planner.cli.progress import Progress
    from planner.planning.fleet_load import share_load
    from planner.planning.load import workload_of
    from planner.speed.answer import Targets

    workload = workload_of(load, concurrency=None)
    targets = Targets(ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    say("note", f"forecasting {counted(len(rows), 'host')}")
    with Progress("forecast", total=len(rows)) as progress:
        shared = share_load(rows, workload, targets, progress=progress.at)
    if as_json:
        from planner.cli.documents import FleetLoadDocument, HostLoad
        from planner.rendering.envelope import entry

        hosts = tuple(
            entry(
                HostLoad,
                host,
                gpus=str(host.plan.gpus) if host.plan else None,
                capacity_requests_per_s=round(host.capacity_requests_per_s, 3),
                assigned_requests_per_s=round(host.assigned_requests_per_s, 3),
            )
            for host in shared.hosts
        )
        write_document(entry(FleetLoadDocument, shared, hosts=hosts))
    else:
        cells = [
            [
                host.host,
                str(host.plan.gpus) if host.plan else "-",
                str(host.layout or "-"),
                format_figure(host.capacity_requests_per_s, decimals=2),
                format_figure(host.assigned_requests_per_s, decimals=2) if host.assigned_requests_per_s else "",
                "unused" if host.unused else "",
            ]
            for host in shared.hosts
        ]
        head = ["host", "GPUs", "layout", "requests/s", "assigned", ""]
        write(table(head, cells, align=["<", "<", "<", ">", ">", "<"]))
        served, asked = shared.assigned_requests_per_s, shared.request_rate
        part = f"{format_figure(served, decimals=2)} of {format_figure(asked, decimals=2)} requests/s"
        write(f"\n{'all is' if shared.served else 'not all is'} served: {part}")
    for host in shared.hosts:
        if host.reason:
            say("note", f"{host.host}: {host.reason}")
    return ExitCode.OK if shared.served else ExitCode.DOES_NOT_FIT


def _write_table(rows: Sequence[FleetRow]) -> None:
    """Write one line per host, however long its name: people pick lines by it."""
    if not rows:
        return
    head = ["host", "GPUs", "verdict", "layout", "context", "requests"]
    cells = [[row.host, *_cells(row)] for row in rows]
    write(headed(table(head, cells, align=["<", "<", "<", "<", ">", ">"])))


def _cells(row: FleetRow) -> list[str]:
    """What a row says behind the host's name."""
    if row.plan is None:
        named = str(row.gpus) if row.gpus is not None else "-"
        return [named, "out of service" if row.out_of_service else "no plan", "-", "-", "-"]
    answer, settings = row.plan, row.plan.settings
    layout = str(settings.layout)
    gpus = str(answer.gpus)
    if not answer.feasible:
        return [gpus, answer.verdict, layout, "-", "-"]
    concurrency = answer.kv_cache.max_concurrency * settings.replicas
    return [gpus, answer.verdict, layout, f"{settings.max_model_len:,}", f"{concurrency:.1f}"]


def _documents(rows: Iterable[FleetRow]) -> Iterator[str]:
    """Each host as JSON; ``plan`` is the document of ``m35-plan --json``, made once for hosts that share a plan."""
    from planner.cli.documents import HostPlan
    from planner.rendering.document import plan_document, to_json_value
    from planner.rendering.envelope import entry

    made: dict[int, str] = {}
    for row in rows:
        gpus = None if row.gpus is None else str(row.gpus)
        document = dataclasses.asdict(entry(HostPlan, row, gpus=gpus, plan=None))
        if row.plan is None:
            yield json_text(document, depth=2)
            continue
        del document["plan"]
        if id(row.plan) not in made:
            made[id(row.plan)] = json_text(to_json_value(plan_document(row.plan)), depth=3)
        head = json_text(document, depth=2).removesuffix("\n    }")
        yield f'{head},\n      "plan": {made[id(row.plan)]}\n    }}'
