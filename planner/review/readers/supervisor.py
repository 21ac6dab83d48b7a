"""supervisord's configuration: the command of each program."""

from __future__ import annotations

import re
from dataclasses import replace

from planner.review.readers.command import servers_of as shell_servers
from planner.review.readers.command import variables
from planner.review.server import Server
from planner.review.text import Text

_SECTION = re.compile(r"^\[([^\]\n]+)\][^\n]*$", re.MULTILINE)
_SETTING = re.compile(r"^(\w+)[ \t]*=[ \t]*(.*(?:\n[ \t]+.*)*)$", re.MULTILINE)
_PAIR = re.compile(r"""([A-Za-z_]\w*)=(?:"([^"\n]*)"|'([^'\n]*)'|([^,\n"']*))""")


def is_configuration(text: str) -> bool:
    """Whether a text has a program of supervisord's."""
    return bool(re.search(r"^\[program:[^\]\n]+\]", text, re.MULTILINE))


def servers_of(text: Text) -> list[Server]:
    """Return the server of each program that is one."""
    found: list[Server] = []
    sections = [*_SECTION.finditer(text.value)]
    for number, section in enumerate(sections):
        if not section[1].startswith("program:"):
            continue
        end = sections[number + 1].start() if number + 1 < len(sections) else len(text.value)
        settings = {one[1]: one for one in _SETTING.finditer(text.value, section.end(), end)}
        command, given = settings.get("command"), settings.get("environment")
        if command is None:
            continue
        env = variables(_pairs(text, given)) if given is not None else {}
        words = text.cut(command.start(2), command.end(2))
        # Lines that are indented belong to the value; a newline in it ends no command.
        words = replace(words, value=words.value.replace("\n", " "))
        for one in shell_servers(words, kind="supervisord program", platform="systemd"):
            found.append(replace(one, env={**env, **one.env}, name=section[1].partition(":")[2]))
    return found


def _pairs(text: Text, given: re.Match[str]) -> list[tuple[str, Text]]:
    pairs = []
    for match in _PAIR.finditer(text.value, given.start(2), given.end(2)):
        group = next(number for number in (2, 3, 4) if match[number] is not None)
        pairs.append((match[1], text.cut(match.start(group), match.end(group))))
    return pairs
