"""Dockerfiles: the last stage's image, variables, entry point and command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from planner.review.readers.docker import engine_part, known
from planner.review.readers.image import pin_of, read_image
from planner.review.readers.launch import launches
from planner.review.readers.shell import Scope, commands
from planner.review.server import Server, Variable
from planner.review.text import Text, joined, made

_HEREDOC = re.compile(r"""<<(-?)["']?([A-Za-z_]\w*)["']?""")
_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+")
_FROM = re.compile(r"^[ \t]*FROM[ \t]+\S", re.IGNORECASE | re.MULTILINE)
_FIRST = re.compile(r"^(?:[ \t]*(?:#[^\n]*)?\n)*[ \t]*(?:FROM|ARG)[ \t]+\S", re.IGNORECASE)
_MOST_INSTRUCTIONS = 2000
_NAME = re.compile(r"(?<!\w)([A-Za-z_]\w*)=")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def is_dockerfile(name: str, text: str) -> bool:
    """Whether a file is a Dockerfile, by its name or by how it begins."""
    last = name.rpartition("/")[2].lower()
    named = last.startswith(("dockerfile", "containerfile")) or last.endswith((".dockerfile", ".containerfile"))
    return bool(_FROM.search(text)) and (named or bool(_FIRST.match(text)))


@dataclass
class _Stage:
    image: Text
    env: dict[str, Variable] = field(default_factory=dict)
    entry: Text | None = None
    command: Text | None = None
    pin: Text | None = None
    filled: bool = False
    """Whether something is put into it, or a volume is mounted over a part of it."""


def servers_of(text: Text) -> list[Server]:
    """Return the server that a container of the last stage is; none where it starts something else."""
    stage = _last_stage(text)
    if stage is None:
        return []
    values = known(stage.env)
    own = stage.entry or stage.command
    if own is None:
        return []
    words = (*_words(stage.entry, values), *(_words(stage.command, values) if not _shell_form(stage.entry) else ()))
    image = read_image(stage.image)
    entry = words[0] if stage.entry is not None and words else None
    engine = engine_part(words[1:] if entry is not None else words, image, entry, values)
    if engine is None:
        return []
    return [
        Server(
            kind="Dockerfile",
            platform="image",
            name="",
            at=own,
            arguments=engine.arguments(),
            env=stage.env,
            image=image,
            version=stage.pin,
            shared_memory="given",
            cached_elsewhere=stage.filled,
            inner_port=True,
            # Whoever runs the image may set more.
            hidden_variables=True,
            editable="none" if not _shell_form(own) else "words",
        )
    ]


def _last_stage(text: Text) -> _Stage | None:
    arguments: dict[str, Text] = {}
    stages: dict[str, _Stage] = {}
    stage: _Stage | None = None
    for name, rest in islice(_instructions(text), _MOST_INSTRUCTIONS):
        if name == "ARG":
            key, value = rest.partition("=")
            if value is not None:
                arguments[key.value.strip()] = _bare(value)
        elif name == "FROM":
            words = [one for one in _split(rest, arguments) if not one.value.startswith("--")]
            if not words:
                continue
            before = stages.get(words[0].value.lower())
            stage = _Stage(words[0]) if before is None else replace(before, env=dict(before.env))
            if len(words) > 2 and words[1].value.lower() == "as":
                stages[words[2].value.lower()] = stage
        elif stage is None:
            continue
        elif name == "ENV":
            stage.env.update(_variables(rest, {**arguments, **known(stage.env)}))
        elif name == "ENTRYPOINT":
            stage.entry, stage.command = rest, None
        elif name == "CMD":
            stage.command = rest
        elif name == "RUN":
            stage.pin, stage.filled = pin_of(rest) or stage.pin, True
        elif name in ("COPY", "ADD", "VOLUME"):
            stage.filled = True
    return stage


def _instructions(text: Text) -> Iterator[tuple[str, Text]]:
    """Name and the rest of each instruction, over continued lines and the comments between them."""
    at, value = 0, text.value
    while at < len(value):
        match = _INSTRUCTION.match(value, at)
        parts: list[Text] = []
        start = match.end() if match is not None else at
        while True:
            end = value.find("\n", at)
            end = len(value) if end < 0 else end
            line = value[at:end]
            comment = line.lstrip().startswith("#")
            if not comment:
                parts.append(text.cut(max(start, at), min(end + 1, len(value))))
            at = end + 1
            goes_on = (comment and parts) or line.rstrip().endswith("\\")
            if not goes_on or at >= len(value):
                break
        if match is not None and parts:
            name = match[1].upper()
            if name in ("RUN", "COPY", "ADD"):
                for opened in _HEREDOC.finditer(joined(parts).value):
                    end = _end_of_heredoc(value, at, opened[2], tabs=bool(opened[1]))
                    parts.append(text.cut(at, end))
                    at = end
            yield name, joined(parts)


def _end_of_heredoc(value: str, at: int, word: str, *, tabs: bool) -> int:
    """Where the lines that an instruction brings along end; `at` where nothing ends them."""
    indent = r"\t*" if tabs else ""
    closing = re.compile(rf"^{indent}{re.escape(word)}[ \t]*(?:\n|\Z)", re.MULTILINE)
    found = closing.search(value, at)
    return found.end() if found is not None else at


def _shell_form(text: Text | None) -> bool:
    return text is not None and not text.value.lstrip().startswith("[")


def _words(text: Text | None, values: Mapping[str, Text]) -> tuple[Text, ...]:
    """The words of an entry point or a command; only the shell form has its variables put in."""
    if text is None:
        return ()
    if not _shell_form(text):
        return tuple(_items(text))
    for launch in launches(text, Scope(outside=values)):
        if not launch.container:
            # The words before it do not matter: `vllm serve` and the rest, as a shell gives them.
            found = next((one for one in commands(text, Scope(outside=values)) if launch.at in one.words), None)
            if found is not None:
                return found.words[found.words.index(launch.at) :]
    return tuple(word for one in commands(text, Scope(outside=values)) for word in one.words)


def _items(text: Text) -> Iterator[Text]:
    for match in _STRING.finditer(text.value):
        inner = text.cut(match.start(1), match.end(1))
        if "\\" in match[1]:
            try:
                plain = str(json.loads(match[0]))
            except ValueError:
                plain = match[1]
            inner = made(plain, inner.start)
        yield inner


def _split(text: Text, values: Mapping[str, Text]) -> list[Text]:
    return [word for one in commands(text, Scope(outside=values)) for word in one.words]


def _variables(rest: Text, values: Mapping[str, Text]) -> dict[str, Variable]:
    """``ENV A=1 B="two"``, and the old ``ENV A 1``."""
    found: dict[str, Variable] = {}
    scope = Scope(outside=values)
    head = rest.value.split(None, 1)
    if head and "=" not in head[0] and len(head) > 1:
        name = rest.cut(rest.value.index(head[0]), rest.value.index(head[0]) + len(head[0]))
        value = rest.cut(rest.value.index(head[1], name.end - rest.start if name.offsets else 0))
        return {name.value: Variable(name=name, value=_bare(value))}
    places: dict[str, Text] = {}
    for match in _NAME.finditer(rest.value):
        places.setdefault(match[1], rest.cut(match.start(1), match.end(1)))
    for command in commands(rest, scope):
        for key, value in command.assignments:
            found[key] = Variable(name=places.get(key, value), value=value)
    for key, words in scope.values.items():
        if words:
            found[key] = Variable(name=places.get(key, words[0]), value=words[0])
    return found


def _bare(value: Text) -> Text:
    """A value without its quotes and the blanks around it."""
    text = value.value
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if end - start >= 2 and text[start] == text[end - 1] and text[start] in "'\"":
        start, end = start + 1, end - 1
    return value.cut(start, max(start, end))
