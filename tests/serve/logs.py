"""The log fixtures, by kind."""

from __future__ import annotations

from pathlib import Path

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"
REAL = LOGS / "0.32.0-cpu"
PUBLIC = LOGS / "public"
RECONSTRUCTED = LOGS / "reconstructed"
ALL = sorted(LOGS.rglob("*.log"))


def read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()
