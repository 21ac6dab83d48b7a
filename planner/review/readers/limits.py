"""How large an artefact may be, and what is said when one cannot be read."""

from __future__ import annotations

MOST_CHARACTERS = 1 << 20
"""No command, manifest or script comes near a mebibyte; a log or a checkpoint does."""


MOST_YAML_CHARACTERS = 1 << 19
"""Reading YAML with places takes seconds beyond it."""


class Unreadable(Exception):
    """An artefact, or a part of it, that cannot be read; becomes a finding."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
