"""New bytes of a growing file; it survives rotation and truncation and never blocks."""

from __future__ import annotations

import os
from pathlib import Path

from planner.errors import UnsafePath
from planner.state import open_own

CHUNK_BYTES = 1 << 20


class LogTail:
    """Reads a file from its beginning, as far as it has been written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._offset = 0

    def read(self, limit: int = CHUNK_BYTES) -> bytes:
        """Return at most `limit` new bytes; empty when there are none, or no file yet.

        A file that became shorter is read again from its beginning; a file that was replaced is read to its old
        end first.
        """
        if self._descriptor is None and not self._open():
            return b""
        assert self._descriptor is not None
        try:
            if os.fstat(self._descriptor).st_size < self._offset:
                self._offset = 0
            data = os.pread(self._descriptor, limit, self._offset)
        except OSError:
            return b""
        self._offset += len(data)
        if not data and self._replaced():
            self.close()
            return self.read(limit)
        return data

    def close(self) -> None:
        """Give the file back; a later read opens it again from the beginning."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._offset = None, 0

    def _open(self) -> bool:
        try:
            self._descriptor = open_own(self._path)
        except (OSError, UnsafePath):
            return False
        return True

    def _replaced(self) -> bool:
        assert self._descriptor is not None
        try:
            there, here = self._path.lstat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)
