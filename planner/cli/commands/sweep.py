"""``m35-plan sweep``: a grid of settings as table, CSV, JSON or plot. It never chooses."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hw_specs.errors import M35Error
from hw_specs.units import format_gib, parse_count
from planner.cli.command import Command
from planner.cli.diagnostics import say
from planner.cli.options import ModelSource
from planner.cli.output import Align, json_text, may_colour, number, table, write, write_document
from planner.cli.page import fold, page_width
from planner.cli.progress import Progress
from planner.cli.speed_options import asks_for_speed, workload_options
from planner.errors import InvalidRequest, PlannerError
from planner.planning.load import WORKLOAD, workload_of
from planner.planning.request import SETTINGS, option_for
from planner.settings import Layout, draft_words
from planner.sweep.grid import AXES
from planner.sweep.plot import AXES as COLUMNS
from planner.sweep.plot import MEASURES

if TYPE_CHECKING:
    from planner.model import ModelSpec
    from planner.speed.workload import Workload
    from planner.sweep.grid import Grid

F = TypeVar("F", bound=Callable[..., Any])

TABLE_ROWS = 60
_CHOSEN = ("length", "at once", "KV", "draft", "util", "seqs", "batched")
"""Columns of what the grid sets; one that is the same in every row is said once."""


def _numbers(field: str, convert: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """A callback that reads ``1,2,4`` and repeated options alike."""

    def read(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[Any, ...]:
        found = []
        for text in ",".join(value).split(","):
            if not text.strip():
                continue
            try:
                found.append(convert(text.strip()))
            except (ValueError, M35Error):
                raise InvalidRequest(
                    field, f"cannot read `{text.strip()}` in {field}", hint="write values as 1,2,4"
                ) from None
        return tuple(dict.fromkeys(found))

    return read


def _axis(axis: str, text: str, convert: Callable[[str], Any] = parse_count) -> Callable[[F], F]:
    """The option that varies a setting, under the name that a plan's option has."""
    field = AXES.get(axis, axis)
    short = SETTINGS[field].short if field in SETTINGS else ""
    names = (option_for(field), *filter(None, [short]), axis)
    return click.option(*names, multiple=True, metavar="A,B,...", callback=_numbers(field, convert), help=text)


@click.command(cls=Command, short_help="compare many settings at once")
@_axis("gpus", "kinds of GPU: 8xH200,4xB200", str)
@_axis("counts", "counts to try of each kind: 1,2,4,8", int)
@_axis("tensor_parallel_sizes", "tensor-parallel sizes; all valid ones by default", int)
@_axis("max_model_lens", "context lengths; 32768,131072,262144 by default")
@_axis(
    "concurrencies",
    "sequences of full length at once per server, or with a load requests in flight; 1 by default",
)
@_axis("kv_cache_dtypes", "KV data types: auto,fp8", str)
@_axis("num_speculative_tokens", "drafted tokens per step: 0,3", int)
@_axis("spec_methods", "how they are drafted: eagle,ngram; by default the model's own draft does it", str)
@_axis("gpu_memory_utilizations", "fractions of each GPU: 0.85,0.9,0.92", float)
@_axis("max_num_seqs", "sequences per step")
@_axis("max_num_batched_tokens", "tokens per step")
@click.option("--language-model-only", is_flag=True, help="text only")
@click.option("--enforce-eager", is_flag=True, help="no graphs")
@click.option("--model", type=ModelSource(), metavar="NAME|DIR|FILE", help="another model, as in a plan")
@click.option("--vllm-version", metavar="VERSION", help="vLLM release; the newest known one by default")
@workload_options
@click.option("--fits-only", is_flag=True, help="leave out what does not fit")
@click.option("--csv", "as_csv", is_flag=True, help="write CSV")
@click.option("--json", "as_json", is_flag=True, help="write JSON")
@click.option("--plot", metavar="terminal|FILE", help="plot in the terminal, or to FILE.svg, FILE.png or FILE.pdf")
@click.option("-x", "x_axis", metavar="COLUMN", help=f"axis of the plot: {', '.join(COLUMNS[:8])}")
@click.option("-y", "y_axis", metavar="COLUMN", help=f"height of the plot: {', '.join(MEASURES)}")
def command(
    model: ModelSpec | None,
    vllm_version: str | None, fits_only: bool, as_csv: bool, as_json: bool, plot: str | None, x_axis: str | None,
    y_axis: str | None, counts: tuple[int, ...], gpus: tuple[str, ...], **options: Any,
) -> int:  # fmt: skip
    """Judge every combination of the given values by the rules of a plan.

    A batch that is not given is the release's default, or the smaller one that a plan would take to fit. Rows have no
    pipeline stages: `m35-plan -pp N` plans those.

    Any option of a load (`--prompt-tokens`, for one) adds columns of a speed forecast, with `--concurrency` requests in
    flight; one by default, or with `--request-rate` as many as arrive. Sweeps need numpy: `pip install
    numpy`.
    """
    if find_spec("numpy") is None:
        raise PlannerError("sweeps need numpy", hint="pip install numpy")
    from planner.checkpoint import load_preset
    from planner.facts.release import resolve_release
    from planner.sweep.batches import as_planned
    from planner.sweep.grid import Grid, left_out
    from planner.sweep.memory import block_rows, sweep_memory

    load = {name: options.pop(name) for name in WORKLOAD}
    # Requests that arrive at a rate are held back by nothing that was not asked for.
    in_flight = options["concurrencies"] or (1 if load["request_rate"] is None else None,)
    with_load = asks_for_speed(load)
    if with_load:
        options["concurrencies"] = ()  # the load's own lengths count then, not sequences of full length
    axes = {name: value for name, value in options.items() if value != ()}
    grid = Grid(gpus=_machines(gpus, counts), **axes)
    model, release = model or load_preset(), resolve_release(vllm_version)
    if refused := list(left_out(grid, model, release)):
        say("note", f"in no row: {'; '.join(refused)}")
    blocks = sweep_memory(grid, model=model, release=release)
    if not (grid.max_num_seqs or grid.max_num_batched_tokens):
        blocks = as_planned(blocks, model=model, release=release)
    rows: Iterator[dict[str, Any]]
    if with_load:
        from planner.sweep.speed import rows_with_speed

        workload = workload_of(load, concurrency=1)
        rows = rows_with_speed(blocks, workload, concurrencies=in_flight, model=model, vllm_version=release.version)
        if not ((as_csv or as_json) and sys.stdout.isatty()):  # there rows and progress would share the screen
            rows = _told(rows, at_most=grid.largest_size * len(in_flight))
    else:
        rows = (row for block in blocks for row in block_rows(block))
    if fits_only:
        rows = (row for row in rows if row["verdict"] != "does-not-fit")
    if as_csv:
        _write_csv(rows)
        return 0
    if as_json and plot is None:
        items = (json_text(row, depth=2) for row in rows)
        from planner.cli.documents import write_list_document

        write_list_document("sweep", {"vllm_version": release.version}, "rows", items)
        return 0
    kept = list(rows)
    if as_json:
        from planner.cli.documents import SweepDocument

        write_document(SweepDocument(vllm_version=release.version, rows=tuple(kept)))
    elif plot is None or plot == "terminal":
        _write_table(kept, grid)
    if with_load:
        _say_unforecast(kept, workload)
    if plot is not None:
        title = f"{model.name}, vLLM {release.version}, expected values"
        _plot(kept, plot, x_axis, y_axis, title=title, narrate=as_json)
    return 0


def _told(rows: Iterator[dict[str, Any]], *, at_most: int) -> Iterator[dict[str, Any]]:
    """The same rows, with a line that counts them while they take long."""
    with Progress("forecast", total=at_most) as progress:
        for row in rows:
            progress.step()
            yield row


def _say_unforecast(rows: list[dict[str, Any]], workload: Workload) -> None:
    """Why rows that fit have no forecast."""
    without = sum(row["verdict"] != "does-not-fit" and row["ttft_ms"] is None for row in rows)
    if without:
        length = workload.longest_tokens
        told = f"no forecast for {without:,} of the rows that fit"
        say("note", f"{told}: one request of {length:,} tokens is longer than their max_model_len or KV cache")


def _machines(names: tuple[str, ...], counts: tuple[int, ...]) -> tuple[Any, ...]:
    import dataclasses

    from hw_specs import parse_gpus

    if not names:
        raise InvalidRequest("gpus", "gpus must be given", hint="name kinds of GPU, such as `--gpus 8xH200,4xB200`")
    machines = [parse_gpus(name) for name in names]
    if not counts:
        return tuple(machines)
    for count in counts:
        if not 1 <= count <= 1024:
            raise InvalidRequest("counts", f"counts must be between 1 and 1024, not `{count}`")
    return tuple(dataclasses.replace(machine, count=count) for machine in machines for count in counts)


def _write_csv(rows: Iterator[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    write(text.getvalue().rstrip("\n"))


def _write_table(rows: list[dict[str, Any]], grid: Grid) -> None:
    shown = rows[:TABLE_ROWS]
    speed = bool(rows) and "ttft_ms" in rows[0]
    head = ["GPUs", "layout", *_CHOSEN, "verdict", "KV GiB", "tokens", "holds"]
    # Tokens and requests are those of all servers: a row with four small servers and one with a large one compare.
    sides: list[Align] = ["<", "<", ">", ">", "<", ">", ">", ">", ">", "<", ">", ">", ">"]
    if speed:
        head += ["tok/s", "TTFT", "TPOT"]
        sides += [">", ">", ">"]
    cells = []
    for row in shown:
        layout = Layout(tensor_parallel_size=row["tensor_parallel_size"], replicas=row["replicas"])
        cells.append(
            [
                row["gpus"], str(layout), f"{row['max_model_len']:,}",
                _in_flight(row["concurrency"]), row["kv_cache_dtype"],
                draft_words(row["spec_method"] or None, row["num_speculative_tokens"]) or "-",
                f"{row['gpu_memory_utilization']:g}", f"{row['max_num_seqs']:,}",
                f"{row['max_num_batched_tokens']:,}", row["verdict"], format_gib(row["available_bytes"]), *_held(row),
                *(number(row[name]) for name in ("output_tokens_per_s", "ttft_ms", "tpot_ms") if speed),
            ]
        )  # fmt: skip
    alike = [i for i, name in enumerate(head) if name in _CHOSEN and len({row[i] for row in cells}) == 1]
    same = ""
    if alike and len(cells) > 1:
        same = ", ".join(f"{head[i]} {cells[0][i]}" for i in alike)
        keep = [i for i in range(len(head)) if i not in alike]
        head, sides, cells = (
            [head[i] for i in keep],
            [sides[i] for i in keep],
            [[row[i] for i in keep] for row in cells],
        )
    write(table(head, cells, sides))
    if same:
        write(fold("all rows", same, column=10))
    if any(machine.count > 1 or machine.nodes > 1 for machine in grid.gpus):
        say("note", "no row has pipeline stages; `m35-plan --gpus GPUS -v` lists layouts with them")
    if len(rows) > TABLE_ROWS:
        say("note", f"{len(rows) - TABLE_ROWS:,} more rows; --csv or --json writes all")
    if not rows:
        say("note", f"none of up to {grid.largest_size:,} configurations is left")


def _in_flight(concurrency: int | None) -> str:
    return "-" if concurrency is None else f"{concurrency:,}"


def _held(row: dict[str, Any]) -> tuple[str, str]:
    """Tokens and requests of all servers; nothing where the pool would do and something else stops the start."""
    if row["verdict"] == "does-not-fit" and row["max_concurrency"] >= (row["concurrency"] or 1):
        return "-", "-"
    return f"{row['total_kv_cache_tokens']:,}", f"{row['total_concurrency']:,.1f}"


def _plot(rows: list[dict[str, Any]], target: str, x: str | None, y: str | None, *, title: str, narrate: bool) -> None:
    from planner.sweep.plot import file_plot, lines_of, terminal_plot

    lines = lines_of(rows, x=x, y=y)
    if lines.left_out:
        say("note", f"{lines.left_out} more lines are left out; fix more axes to see them")
    if target == "terminal":
        text = terminal_plot(lines, title=title, width=page_width(), colour=may_colour(sys.stdout))
        if narrate:
            say("note", "no terminal plot with JSON")
        else:
            write("\n" + text)
        return
    path = Path(target)
    file_plot(lines, path, title=title)
    say("note", f"wrote {path}")
