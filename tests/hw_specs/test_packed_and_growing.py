"""Files that people name for logs: without a mark, packed, with holes, and growing while they are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
from pathlib import Path

import pytest

from hw_specs.reading import UnreadableInput, open_input, read_text


def tar_of(data: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        entry = tarfile.TarInfo("log")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return held.getvalue()


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_two_bytes_a_letter_are_seen_without_a_mark(codec: str, tmp_path: Path) -> None:
    """As `iconv -t utf-16le` and some agents write."""
    path, text = tmp_path / "log", "INFO 05-13 a line\n" * 3 + "\u6771\u4eac \u00e4\n"
    path.write_bytes(text.encode(codec))
    assert read_text(path) == text
    with open_input(path) as file:
        assert file.as_utf8().read(1 << 20) == text.encode()
    path.write_bytes(b"a\x00b c d e f g h")
    with open_input(path) as file:
        assert file.as_utf8().read(1 << 20) == b"a\x00b c d e f g h"


@pytest.mark.parametrize(
    ("data", "kind", "prints"),
    [
        (gzip.compress(b"a line\n", mtime=0), "gzip", "zcat"),
        (bz2.compress(b"a line\n"), "bzip2", "bzcat"),
        (lzma.compress(b"a line\n"), "xz", "xzcat"),
        (b"\x28\xb5\x2f\xfd rest", "zstd", "zstdcat"),
        (b"PK\x03\x04 rest", "zip", "unzip -p"),
        (tar_of(b"a line\n"), "tar", "tar -xOf"),
    ],
)
def test_a_packed_file_is_named_with_what_unpacks_it(data: bytes, kind: str, prints: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(UnreadableInput, match=re.escape(f"it is packed ({kind})")) as refused:
        read_text(path)
    assert f"`{prints} {path}`" in str(refused.value.hint)
    with open_input(path) as file, pytest.raises(UnreadableInput, match="it is packed"):
        file.as_utf8()


def test_a_log_is_read_to_the_end_that_it_has_and_without_its_holes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    with path.open("r+b") as sparse:
        sparse.seek(8 << 30)
        sparse.write(b"last\n")
        sparse.truncate(16 << 30)
    with open_input(path, as_log=True) as file, path.open("ab") as writer:
        writer.write(b"later\n")
        writer.flush()
        data = file.read()
    assert data.replace(b"\0", b"") == b"first\nlast\n" and len(data) < 1 << 20


def test_a_file_of_the_kernel_has_no_size_and_is_read() -> None:
    with open_input("/proc/self/status", as_log=True) as file:
        assert b"Pid:" in file.read()
