"""Packs an installed engine into pieces that a machine without a network takes one by one.

    python pack.py VENV/lib/python3.12/site-packages vllm-0.33.toml OUT --models MODELS --limit-mb 58

OUT gets ``p1``, the tree without its large libraries, and ``p2`` … , equal slices of one stream in which each blanked
library is a frame of its own, so that ``unpack.py`` writes it as soon as its last slice is there. ``index.json`` says
what lies where. MODELS is what ``models.py`` wrote; its one tokenizer travels once. Needs the package zstandard.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import shutil
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import zstandard
from fatbin import blank

WINDOW_LOG = 27
SM = 90


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text.lower())


def chosen(site: Path, plan: dict[str, Any]) -> list[str]:
    """Return the files of the wanted packages, large libraries among them.

    Raises:
        SystemExit: when a package is not installed.
    """
    installed = {
        _name(path.name.removesuffix(".dist-info").rsplit("-", 1)[0]): path for path in site.glob("*.dist-info")
    }
    missing = [name for name in plan["packages"] if _name(name) not in installed]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    skip, keep = re.compile("|".join(plan["skip"])), re.compile("|".join(plan["keep"]))
    found = []
    for package in plan["packages"]:
        with (installed[_name(package)] / "RECORD").open(encoding="utf-8") as record:
            names = [row[0] for row in csv.reader(record)]
        found += [
            name
            for name in names
            if (keep.search(name) or not skip.search(name)) and not name.endswith(".pyc") and (site / name).is_file()
        ]
    found += [name for name in plan["libraries"] if name not in found]
    return sorted(set(found))


def _level(level: int) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=WINDOW_LOG, threads=-1)
    return zstandard.ZstdCompressor(compression_params=parameters)


def tree(site: Path, names: list[str], models: Path, compiled: Path | None, target: Path) -> None:
    """Write the first piece: packages, model folders with one tokenizer, FlashInfer modules compiled beforehand."""
    with (
        target.open("wb") as out,
        _level(13).stream_writer(out) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for name in names:
            tar.add(site / name, f"site/{name}")
        for file in sorted(models.glob("*/*/params.json")):
            tar.add(file, f"models/{file.relative_to(models)}")
        tar.add(next(models.glob("cut*/model/tekken.json")), "models/tekken.json")
        for module in sorted(compiled.glob("*.so")) if compiled else []:
            tar.add(module, f"site/flashinfer/data/aot/{module.stem}/{module.name}")


def libraries(site: Path, plan: dict[str, str], stream: Path) -> list[dict[str, Any]]:
    """Write every library, blanked, as a frame of `stream`; what lies where."""
    members = []
    with stream.open("wb") as out:
        for name, what in plan.items():
            data, kept = blank(
                (site / name).read_bytes(), sm=SM, keep="" if what in {"code", "none"} else what, no_code=what == "none"
            )
            start = out.tell()
            out.write(_level(14).compress(data))
            members.append({"path": f"site/{name}", "start": start, "end": out.tell(), "size": len(data)})
            print(f"{name}: {len(data):,} bytes, {kept:,} of GPU code, packed {out.tell() - start:,}", flush=True)
    return members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--compiled", type=Path, help="folder with FlashInfer modules, NAME.so")
    parser.add_argument("--limit-mb", type=float, required=True, help="a piece must be smaller, 10**6 bytes")
    args = parser.parse_args()
    plan = tomllib.loads(args.plan.read_text(encoding="utf-8"))
    args.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in chosen(args.site, plan) if name not in plan["libraries"]]
    tree(args.site, names, args.models, args.compiled, args.out / "p1")
    stream = args.out / "stream"
    members = libraries(args.site, plan["libraries"], stream)
    count = math.ceil(stream.stat().st_size / (args.limit_mb * 1e6))
    size = math.ceil(stream.stat().st_size / count)
    with stream.open("rb") as source:
        for number in range(count):
            (args.out / f"p{number + 2}").write_bytes(source.read(size))
    stream.unlink()
    index = {"slice": size, "pieces": count + 1, "members": members}
    (args.out / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("unpack.py"), args.out)
    print(f"{len(names)} files and {len(members)} libraries in {count + 1} pieces")


if __name__ == "__main__":
    main()
