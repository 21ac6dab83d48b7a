"""Unpacks piece N of ``pack.py`` on the machine: the tree, or every library whose last slice came with it.

    python unpack.py N TARGET      pieces lie in TARGET/in, index.json beside this file

Never run it while a process uses what it writes, and never overwrite this folder while it runs: both end in SIGBUS.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import zstandard  # noqa: E402  (travels beside this file)


class Slices(io.RawIOBase):
    """Bytes `start` to `end` of the stream that lies in pieces of equal size."""

    def __init__(self, folder: Path, size: int, start: int, end: int) -> None:
        self.folder, self.size, self.at, self.end = folder, size, start, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece, offset = divmod(self.at, self.size)
        wanted = min(len(buffer), self.size - offset, self.end - self.at)
        if wanted <= 0:
            return 0
        with (self.folder / f"p{piece + 2}").open("rb") as file:
            file.seek(offset)
            data = file.read(wanted)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def main() -> None:
    began, number, target = time.monotonic(), int(sys.argv[1]), Path(sys.argv[2])
    index = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
    unpacker = zstandard.ZstdDecompressor(max_window_size=2**31)
    if number == 1:
        with (
            (target / "in" / "p1").open("rb") as file,
            unpacker.stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(target, filter="fully_trusted")
    else:
        before, have = (number - 2) * index["slice"], (number - 1) * index["slice"]
        for member in index["members"]:
            if before < member["end"] <= have:
                path = target / member["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                source = Slices(target / "in", index["slice"], member["start"], member["end"])
                with path.open("wb") as out:
                    unpacker.copy_stream(io.BufferedReader(source, 1 << 20), out)
                if path.stat().st_size != member["size"]:
                    raise SystemExit(f"{path}: {path.stat().st_size} bytes instead of {member['size']}")
                path.chmod(0o755)
                print(path.name, flush=True)
    (target / f"done{number}").write_text("", encoding="utf-8")
    print(f"piece {number} unpacked after {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
