"""``m35-plan gpus``: the catalogue as a table, one GPU with its sources, or JSON. It measures nothing."""

from __future__ import annotations

import click

from hw_specs import GpuSpec, get_gpu, list_gpus
from hw_specs.units import format_gib
from planner.cli.command import Command
from planner.cli.output import headed, style, table, write, write_document
from planner.cli.page import fold

_TERA = 10**12


@click.command(cls=Command, short_help="list the GPU catalogue")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="write the entries as JSON")
def command(name: str | None, as_json: bool) -> None:
    """List every GPU that can be planned for; with NAME, one GPU with the source of every number.

    Memory is what the engine can use, in GiB; speeds are dense vendor peaks. A card that is not listed can be
    planned where it is installed: `m35-plan detect` reads its memory from the driver.
    """
    specs = (get_gpu(name),) if name else list_gpus()
    if as_json:
        from planner.cli.documents import GpusDocument

        if name:
            write_document(specs[0])
        else:
            write_document(GpusDocument(gpus=specs))
    elif name:
        _write_one(specs[0])
    else:
        _write_all(specs)


def _write_all(specs: tuple[GpuSpec, ...]) -> None:
    head = ["GPU", "GiB", "TB/s", "BF16", "FP8", "arch", "per node", "link"]
    rows = [
        [
            spec.name,
            format_gib(spec.engine_memory_bytes) if spec.engine_memory_bytes else "unknown",
            f"{spec.bandwidth_bytes_per_s / _TERA:.2f}",
            _tera(spec.bf16_flops_per_s),
            _tera(spec.fp8_flops_per_s),
            spec.architecture,
            str(spec.max_gpus_per_node),
            spec.link.name,
        ]
        for spec in specs
    ]
    write(headed(table(head, rows, align=["<", ">", ">", ">", ">", "<", ">", "<"])))
    write("\nGiB: what the engine can use. BF16, FP8: dense peak, TFLOP/s.")
    write("A name shows every number with its source: m35-plan gpus H200")


def _tera(per_second: int | None) -> str:
    return "-" if per_second is None else f"{per_second / _TERA:,.0f}"


def _write_one(spec: GpuSpec) -> None:
    low, high = format_gib(spec.engine_memory_low_bytes), format_gib(spec.engine_memory_high_bytes)
    memory = f"{format_gib(spec.engine_memory_bytes)} GiB for the engine"
    if low != high:
        memory += f" ({low} to {high} seen or possible)"
    memory += f", {format_gib(spec.driver_memory_bytes)} GiB in the driver"
    link = spec.link.name
    if spec.link.bytes_per_s:
        link += f", {spec.link.bytes_per_s / _TERA:.3f} TB/s one way"
    rows = [
        ["id", spec.id],
        ["vendor", f"{spec.vendor}, {spec.family}, {spec.architecture}"],
        ["memory", memory if spec.engine_memory_bytes else "no public total"],
        ["bandwidth", f"{spec.bandwidth_bytes_per_s / _TERA:.3f} TB/s"],
        ["BF16", f"{_tera(spec.bf16_flops_per_s)} TFLOP/s"],
        ["FP8", f"{_tera(spec.fp8_flops_per_s)} TFLOP/s, {spec.fp8_kind}" if spec.fp8_flops_per_s else spec.fp8_kind],
        ["link", f"{link}; {spec.link.topology}"],
        ["per node", str(spec.max_gpus_per_node)],
        ["PCI ids", ", ".join(f"0x{one:04x}" for one in spec.pci_device_ids) or "unknown"],
        ["names", ", ".join(f"`{one}`" for one in spec.driver_names) or "unknown"],
        *(["note", note] for note in spec.notes),
    ]
    write(style(spec.name, "1"))
    write(_facts(rows))
    write("")
    write(style("where the numbers come from", "1"))
    write(
        _facts(
            [
                [
                    "other" if key == "*" else key,
                    f"{fact.basis}: {fact.source}" + (f" ({fact.note})" if fact.note else ""),
                ]
                for key, fact in spec.facts.items()
            ]
        )
    )


def _facts(rows: list[list[str]]) -> str:
    """Two columns, the second folded."""
    left = max(len(row[0]) for row in rows) + 4
    return "\n".join(fold(f"  {key}", text, column=left) for key, text in rows)
