"""Write docs/reference/gpus.md and the index of names from the GPUs' files. A test holds both current."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from hw_specs import GpuSpec, list_gpus
from hw_specs.catalog import names, normalise
from hw_specs.facts import index
from hw_specs.units import format_gib

TARGET = Path(__file__).parents[1] / "docs/reference/gpus.md"
DATA = Path(__file__).parents[1] / "hw_specs/data"
INDEX = DATA / "names.toml"
_NO_GPU = {"names", "lookalikes", "architectures", "mig", "instances", "vgpu", "partitions", "resources"}
_TERA = 10**12

_INTRODUCTION = """# GPUs

<!-- Written by scripts/gpu_reference.py from hw_specs/data; edit the data, then run it again. -->

Every GPU that m35-plan knows by name. `m35-plan gpus` prints the first table, `m35-plan gpus H200` one GPU with
the source of every number, and `--json` both for programs.

Memory is what counts, in GiB: *engine* is the total that torch sees and vLLM takes its fraction of, *driver* the
total that `nvidia-smi` or `amd-smi` shows. The figure on the box is neither. *Range* is what drivers and virtual
machines were seen to leave. Speeds are dense vendor peaks.
"""

_BASES = """## How far to trust a number

| basis | means |
|---|---|
| exact | the vendor states it, or it is read in source code |
| derived | arithmetic on exact or measured numbers |
| measured | a log or capture of real hardware |
| assumed | a third party, a recollection, an announcement, or another product of the same make |
"""


def render() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION, _memory_table(), _speed_table(), _BASES, _names()]
    parts += ["## Sources, GPU by GPU\n", *map(_details, list_gpus())]
    return "\n".join(parts).rstrip() + "\n"


def render_index() -> str:
    """Return ``names.toml``: every name of every GPU's own file and the file it stands in, and the memory of each."""
    found: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for path in sorted(DATA.glob("*.toml")):
        if path.stem in _NO_GPU:
            continue
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        sizes[path.stem] = raw["engine_memory_bytes"]
        for name in (path.stem, raw["name"], *raw["driver_names"], *raw["names"]):
            key = normalise(name)
            if found.setdefault(key, path.stem) != path.stem:
                raise SystemExit(f"`{name}` names {found[key]} and {path.stem}")
    lines = ["# Written by scripts/gpu_reference.py from the GPUs' own files; keys are normalised names.", "[names]"]
    quoted = ((f'"{key}"' if set("./+()") & set(key) else key, found[key]) for key in sorted(found))
    lines += [f'{key} = "{gpu_id}"' for key, gpu_id in quoted]
    lines += ["", "[engine_memory_bytes]", *(f"{gpu_id} = {size}" for gpu_id, size in sorted(sizes.items()))]
    return "\n".join(lines) + "\n"


def _size(size_bytes: int) -> str:
    return format_gib(size_bytes) if size_bytes else "unknown"


def _tera(per_second: int | None, decimals: int = 0) -> str:
    return "–" if per_second is None else f"{per_second / _TERA:,.{decimals}f}"


def _memory_table() -> str:
    lines = [
        "## Memory\n",
        "| GPU | engine | range | driver | basis of the engine's total |",
        "|---|---:|---|---:|---|",
    ]
    for spec in list_gpus():
        low, high = _size(spec.engine_memory_low_bytes), _size(spec.engine_memory_high_bytes)
        spread = "–" if low == high else f"{low} to {high}"
        basis = spec.facts["engine_memory_bytes"].basis if spec.engine_memory_bytes else "–"
        engine, driver = _size(spec.engine_memory_bytes), _size(spec.driver_memory_bytes)
        lines.append(f"| {spec.name} | {engine} | {spread} | {driver} | {basis} |")
    lines.append("\nA GPU whose memory is unknown is planned only with `--gpu-memory`.\n")
    return "\n".join(lines)


def _speed_table() -> str:
    lines = [
        "## Speed and links\n",
        "| GPU | TB/s | BF16 TFLOP/s | FP8 TFLOP/s | FP8 | architecture | per node | link | one way, TB/s | one pair |",
        "|---|---:|---:|---:|---|---|---:|---|---:|---:|",
    ]
    for spec in list_gpus():
        lines.append(
            f"| {spec.name} | {_tera(spec.bandwidth_bytes_per_s, 2)} | {_tera(spec.bf16_flops_per_s)} | "
            f"{_tera(spec.fp8_flops_per_s)} | {spec.fp8_kind} | {spec.architecture} | {spec.max_gpus_per_node} | "
            f"{spec.link.name} | {_tera(spec.link.bytes_per_s, 3)} | {_tera(spec.link.pair_bytes_per_s, 3)} |"
        )
    return "\n".join(lines) + "\n"


def _names() -> str:
    lines = [
        "## Names\n",
        "Case, blanks, `-` and `_`, and a vendor in front do not matter.\n",
        "| GPU | also written |",
        "|---|---|",
    ]
    for spec in list_gpus():
        also = ", ".join(f"`{name}`" for name, gpu_id in sorted(names().items()) if gpu_id == spec.id)
        lines.append(f"| {spec.name} | {also} |")
    return "\n".join(lines) + "\n"


def _details(spec: GpuSpec) -> str:
    lines = [f"### {spec.name}\n"]
    if spec.pci_device_ids:
        ids = ", ".join(f"`0x{one:04x}`" for one in spec.pci_device_ids)
        lines.append(
            f"PCI device ids {ids}. Drivers call it {', '.join(f'`{name}`' for name in spec.driver_names) or '–'}.\n"
        )
    lines += [f"* {note}" for note in spec.notes]
    lines += ["", "| number | basis | source |", "|---|---|---|"]
    for key, fact in spec.facts.items():
        note = f" ({fact.note})" if fact.note else ""
        lines.append(f"| {'everything else' if key == '*' else f'`{key}`'} | {fact.basis} | {fact.source}{note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    INDEX.write_text(render_index(), encoding="utf-8")
    index.cache_clear()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(render(), encoding="utf-8")
