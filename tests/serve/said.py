"""Commands of this process and what they said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.ports import own_port

if TYPE_CHECKING:
    from .conftest import Fake


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> object:
        return json.loads(self.out)


def started(fake: Fake, *faults: str, **more: object) -> list[str]:
    return ["--no-check", "--", *fake.argv(*faults, **more), "--port", str(own_port())]  # type: ignore[arg-type]
