"""Environment files, as Compose, containers and units read them: ``NAME=value`` a line, and nothing is expanded."""

from __future__ import annotations

from functools import lru_cache

from planner.rendering.secrets import is_secret_name
from planner.review.server import Variable
from planner.review.text import made

_MOST_VARIABLES = 1000


@lru_cache(maxsize=16)
def assignments(content: str) -> tuple[tuple[str, str], ...]:
    """Names and values of an environment file, as many as anybody has."""
    found = []
    for line in content.splitlines():
        name, mark, value = line.strip().removeprefix("export ").partition("=")
        if mark and name.strip().isidentifier():
            found.append((name.strip(), value.strip().strip("'\"")))
    return tuple(found[:_MOST_VARIABLES])


def variables_of(content: str, start: int) -> dict[str, Variable]:
    """The variables of a file that is named at offset `start`."""
    found = {}
    for name, value in assignments(content):
        # Such a file is where a secret belongs, so its value is nobody's here.
        secret = is_secret_name(name) and value != ""
        found[name] = Variable(name=made(name, start), value=None if secret else made(value, start))
    return found
