"""Makefiles: their variables, and the shell lines of their recipes."""

from __future__ import annotations

import re

from planner.review.readers.command import servers_of as shell_servers
from planner.review.readers.shell import Scope
from planner.review.server import Server
from planner.review.text import Text, joined

_VARIABLE = re.compile(r"^(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*(?:\?|:{1,3}|\+)?=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_RECIPE = re.compile(r"^\t[@+-]*((?:[^\\\n]|\\.|\\\n)*)\n?", re.MULTILINE)


def is_makefile(name: str) -> bool:
    """Whether a file is a makefile, by its name."""
    last = name.rpartition("/")[2]
    return last.lower() in ("makefile", "gnumakefile") or last.endswith((".mk", ".make"))


def servers_of(text: Text) -> list[Server]:
    """Return the servers that the recipes start; ``$(NAME)`` is the file's own variable, if it has one."""
    values: dict[str, Text] = {}
    for match in _VARIABLE.finditer(text.value):
        if "$" not in match[2] and not match[2].endswith("\\"):
            values[match[1]] = text.cut(match.start(2), match.end(2))
    recipes = [text.cut(match.start(1), match.end()) for match in _RECIPE.finditer(text.value)]
    if not recipes:
        return []
    return shell_servers(joined(recipes), kind="Makefile recipe", scope=Scope(outside=values, parenthesised=True))
