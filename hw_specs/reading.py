"""The only door to files that people name: plans, snapshots, logs, configurations, `-`. It never writes.

Such a file may be anything: a pipe without a writer, a device without an end, gigabytes, JSON of 200,000 levels.
Regular files are read, at most so many bytes of them. Of pipes only those that this process was given are read, as
standard input and a shell's ``<(command)`` are, within a limit of time. Everything else is refused in words.
"""

from __future__ import annotations

import codecs
import errno
import io
import math
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from hw_specs.errors import M35Error, reason_of, shown
from hw_specs.parsing import BYTE_ORDER_MARKS, LOOKED_AT_BYTES, decoded, unmarked_codec

STDIN = "-"
"""What people write for standard input."""

DOCUMENT_BYTES = 16 << 20
"""More than any plan, snapshot or result has."""

PIPE_LIMIT_S = 30.0
"""How long the writer of a document may take through a pipe."""

STREAM_LIMIT_S = 600.0
"""How long a log is read."""

ANNOUNCED_S = 2.0
"""A longer wait is reported."""


PACKED = (
    (0, b"\x1f\x8b", "gzip", "zcat"),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (0, b"\xfd7zXZ\x00", "xz", "xzcat"),
    (0, b"BZh", "bzip2", "bzcat"),
    (0, b"\x04\x22\x4d\x18", "lz4", "lz4cat"),
    (0, b"PK\x03\x04", "zip", "unzip -p"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x -so"),
    (257, b"ustar", "tar", "tar -xOf"),
)
"""Where the mark of a packed file stands, the mark, its name, and what prints the content."""


_GIVEN = r"/dev/(?:stdin|fd/(\d+))|/proc/(?:self|thread-self|(?P<pid>\d+))/fd/(?P<fd>\d+)"


_HINT = "name a plain file that you may read, or `-` where standard input is taken"


class UnreadableInput(M35Error):
    """A file that was named cannot be read, or is not what it should be; ``reason`` says why, in a few words."""

    def __init__(self, name: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot read `{shown(name, characters=120)}`: {reason}", hint=hint or _HINT)
        self.reason = reason


def expanded(path: Path | str) -> Path:
    """Return `path` with a leading ``~`` put in full; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_bytes(source: Path | str, *, most_bytes: int = DOCUMENT_BYTES, first_bytes: int | None = None) -> bytes:
    """Return the bytes of a file, or of standard input for ``-``; with `first_bytes` only its beginning.

    Raises:
        UnreadableInput: when it is not there, is not a file, is larger than `most_bytes` or does not end in time.
    """
    with open_input(source) as file:
        if first_bytes is not None:
            return file.read(first_bytes)
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnreadableInput(str(source), f"it is larger than {_size(most_bytes)}")
    return data


def read_text(source: Path | str, *, most_bytes: int = DOCUMENT_BYTES, errors: str = "strict") -> str:
    """Return the text of a file or of standard input: UTF-8, or UTF-16 and UTF-32 as some shells write them.

    Raises:
        UnreadableInput: as :func:`read_bytes` does, and for bytes that are not text unless `errors` is ``replace``.
    """
    data = read_bytes(source, most_bytes=most_bytes)
    _refuse_packed(str(source), data[:LOOKED_AT_BYTES])
    try:
        return decoded(data, errors=errors)
    except UnicodeDecodeError as error:
        raise UnreadableInput(str(source), f"it is not text: byte {error.start:,} is not {error.encoding}") from None


def open_input(
    source: Path | str,
    *,
    limit_s: float = PIPE_LIMIT_S,
    on_wait: Callable[[], None] | None = None,
    as_log: bool = False,
) -> InputFile:
    """Open a file, a pipe that this process was given, or standard input for ``-``.

    Args:
        source: what a person named.
        limit_s: seconds that a pipe may take to its end. With `on_wait` reading ends there, without an error.
        on_wait: called once where reading takes longer than a moment.
        as_log: read a plain file to the end that it has now, which may be far before the one that a writer makes of it,
            and pass over its holes, as a rotated log has them.

    Raises:
        UnreadableInput: when it cannot be opened or is something else; reading raises it, too.
    """
    name = str(source)
    try:
        descriptor, given = _descriptor(name)
    except (OSError, ValueError) as error:
        raise UnreadableInput(name, _reason(error), hint=_nearest(name, error)) from None
    try:
        kind = os.fstat(descriptor)
        _refuse(name, kind, given=given)
    except BaseException:
        os.close(descriptor)
        raise
    # A person who types needs no limit: the end is one key away.
    endless = stat.S_ISCHR(kind.st_mode) and os.isatty(descriptor)
    most = kind.st_size if as_log and stat.S_ISREG(kind.st_mode) and kind.st_size else None
    raw = _Raw(name, descriptor, limit_s=math.inf if endless else limit_s, on_wait=on_wait, end=most)
    return InputFile(raw)


class InputFile(io.BufferedReader):
    """A file from outside, opened for reading."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__(raw)
        self._source = raw

    @property
    def was_cut(self) -> bool:
        """Whether reading ended at its limit of time, and not at the end of the file."""
        return self._source.was_cut

    def as_utf8(self) -> BinaryIO:
        """Return the rest of this file in UTF-8, without a byte order mark.

        Raises:
            UnreadableInput: for a packed file.
        """
        head = self.peek(LOOKED_AT_BYTES)[:LOOKED_AT_BYTES]
        _refuse_packed(self._source.path, head)
        mark, codec = next(((mark, codec) for mark, codec in BYTE_ORDER_MARKS if head.startswith(mark)), (b"", ""))
        if codec == "utf-8-sig":
            self.read(len(mark))
        codec = codec or unmarked_codec(head)
        if codec in ("", "utf-8-sig"):
            return cast("BinaryIO", self)
        return cast("BinaryIO", codecs.EncodedFile(cast("Any", self), "utf-8", codec, errors="replace"))


class _Raw(io.RawIOBase):
    """A descriptor that is read within a limit of time."""

    def __init__(
        self, name: str, descriptor: int, *, limit_s: float, on_wait: Callable[[], None] | None, end: int | None
    ) -> None:
        self.path = name
        self._end = end
        self._descriptor = descriptor
        self._limit_s = limit_s
        self._on_wait = on_wait
        import select

        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._begun = time.monotonic()
        self._told = on_wait is None
        self.was_cut = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Any) -> int:
        while True:
            passed = time.monotonic() - self._begun
            if passed > ANNOUNCED_S and not self._told and self._on_wait is not None:
                self._told = True
                self._on_wait()
            if passed > self._limit_s:
                if self._on_wait is None:
                    raise UnreadableInput(self.path, f"it did not end within {self._limit_s:.0f} s")
                self.was_cut = True
                return 0
            wait_s = min(self._limit_s - passed, 3600.0) if self._told else ANNOUNCED_S
            if not self._poll.poll(max(50.0, wait_s * 1000)):
                continue
            try:
                return os.readv(self._descriptor, [memoryview(buffer)[: self._room(len(buffer))]])
            except BlockingIOError:
                time.sleep(0.05)
            except OSError as error:
                raise UnreadableInput(self.path, _reason(error)) from None

    def _room(self, wanted: int) -> int:
        """How many bytes of the next data may be read, its hole before it left out; 0 at the end."""
        if self._end is None:
            return wanted
        at = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            at = os.lseek(self._descriptor, at, os.SEEK_DATA)
        except OSError as error:
            # There is none behind it; other errors come from file systems that know no holes.
            at = self._end if error.errno == errno.ENXIO else at
        return max(0, min(wanted, self._end - at))

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _refuse_packed(name: str, head: bytes) -> None:
    """Raise for a packed file, whose text nothing here can see."""
    for at, mark, kind, prints in PACKED:
        if head[at : at + len(mark)] == mark:
            said = shown(name, characters=120)
            hint = f"`{prints} {said}` prints what is in it, and `-` reads that from standard input"
            hint = hint if name != STDIN else f"unpack it on its way: `| {prints} |`"
            raise UnreadableInput(name, f"it is packed ({kind})", hint=hint)


def _descriptor(name: str) -> tuple[int, bool]:
    """An open descriptor of our own, and whether it is one that this process was given."""
    if name == STDIN:
        if sys.stdin is None:
            # Its number may be another file by now.
            raise UnreadableInput(name, "standard input is closed")
        return _duplicate(0), True
    found = re.fullmatch(_GIVEN, os.path.normpath(name))
    if found and found["pid"] in (None, str(os.getpid())):
        return _duplicate(int(found[1] or found["fd"] or 0)), True
    # Without O_NONBLOCK the opening of a pipe would wait for its other end.
    return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), False


def _duplicate(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)


def _refuse(name: str, found: os.stat_result, *, given: bool) -> None:
    """Raise for what has no promised end."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise UnreadableInput(name, "it is a folder")
    if stat.S_ISCHR(mode) and (found.st_rdev == os.makedev(1, 3) or (given and os.isatty(_given_number(name)))):
        # /dev/null is empty, and a terminal has a person behind it.
        return
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UnreadableInput(name, "it is a device, not a file")
    if not given:
        raise UnreadableInput(name, "it is a named pipe or a socket, not a file", hint="read it with `cat` into `-`")


def _given_number(name: str) -> int:
    found = None if name == STDIN else re.fullmatch(_GIVEN, os.path.normpath(name))
    return int((found[1] or found["fd"] or 0) if found else 0)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.EBADF:
            return "it is closed"
        return reason_of(error)
    return "no file has such a name"


def _nearest(name: str, error: OSError | ValueError) -> str | None:
    """What to do about a name that nothing has: the names beside it that are most like it."""
    if not isinstance(error, FileNotFoundError):
        return None
    from difflib import get_close_matches

    folder, wanted = Path(name).parent, Path(name).name
    try:
        near = get_close_matches(wanted, [path.name for path in folder.iterdir()], n=3, cutoff=0.75)
    except OSError:
        return f"there is no folder `{shown(str(folder), characters=120)}`"
    said = "`, `".join(shown(str(folder / one), characters=120) for one in near)
    return f"nearest: `{said}`" if said else "name a file that exists"


def _size(size_bytes: int) -> str:
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes >> 10} KiB"
