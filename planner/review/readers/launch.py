"""Finds the engine in a command, whatever is wrapped around it; it runs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from planner.facts.review import review_facts
from planner.review.readers.shell import Command, Scope, each_command
from planner.review.text import Text

_ENGINES = ("docker", "podman", "nerdctl")
SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ash"})
_MENTION = re.compile(r"vllm\s+serve|vllm\.entrypoints|\b(?:docker|podman|nerdctl)\s+run\b")
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of the engine, or of a container that may hold it."""

    words: tuple[Text, ...]
    """What the engine's parser gets; for a container, the words behind ``run``."""
    at: Text
    env: Mapping[str, Text] = field(default_factory=dict)
    beside: Callable[[str], str | None] | None = None
    """Returns the text of a file that it names."""
    container: str = ""
    """``docker run`` or its like; empty for the engine itself."""


def launches(text: Text, scope: Scope, depth: int = 0) -> Iterator[Launch]:
    """Yield every start of the engine in shell text."""
    for command in each_command(text, scope):
        yield from of_command(command, scope, depth)


def of_command(command: Command, scope: Scope, depth: int = 0) -> Iterator[Launch]:
    """Yield the starts in one simple command."""
    words = command.words
    if not words:
        return
    env = {**scope.exported, **dict(command.assignments)}
    first = _base(words[0].value)
    if first in review_facts().shell.talk:
        return
    index = container_run(words)
    if index is not None:
        engine = _base(words[index - 2].value) + " run"
        yield Launch(tuple(words[index:]), words[0], env, scope.beside, engine)
        return
    found = engine_words(words)
    if found is not None:
        # What the caller of a script may add, and mostly does not.
        words = tuple(word for word in words if word.value not in ("$@", "$*", "${@}"))
        if any(word.value.partition("=")[0] in ("--help", "-h") for word in words):
            return
        start, at = found
        for word in words[:at]:
            if _ASSIGNED.match(word.value):
                name, value = word.partition("=")
                env[name.value] = value or name
        yield Launch(tuple(words[start:]), words[at], env)
        return
    if depth < _DEEPEST:
        for word in words[1:]:
            if _MENTION.search(word.value) and any(c.isspace() for c in word.value):
                inner = Scope(outside={**scope.outside, **env}, parenthesised=scope.parenthesised, beside=scope.beside)
                inner.values.update(scope.values)
                yield from launches(word, inner, depth + 1)


def engine_words(words: Sequence[Text]) -> tuple[int, int] | None:
    """Index behind ``vllm serve`` or ``-m vllm.entrypoints…``, and of the program itself; None without either."""
    for index, word in enumerate(words[:-1] if len(words) > 1 else words):
        if _base(word.value) == "vllm" and index + 1 < len(words) and words[index + 1].value == "serve":
            return index + 2, index
        if word.value == "-m" and words[index + 1].value.startswith("vllm.entrypoints."):
            module = words[index + 1].value
            if module.endswith((".api_server", ".cli.main")):
                start = index + 2
                if module.endswith(".cli.main"):
                    if start >= len(words) or words[start].value != "serve":
                        return None
                    start += 1
                return start, max(0, index - 1)
    return None


def container_run(words: Sequence[Text]) -> int | None:
    """Index behind ``docker run`` (or podman's, nerdctl's) in a command that begins with it."""
    for index, word in enumerate(words):
        if _base(word.value) in _ENGINES:
            rest = index + 1
            if rest < len(words) and words[rest].value == "container":
                rest += 1
            if rest < len(words) and words[rest].value in ("run", "create") and rest == index + 1:
                return rest + 1
            return None
        wrapper = word.value.startswith("-") or _base(word.value) in review_facts().shell.wrappers
        if index > 4 or not (wrapper or _ASSIGNED.match(word.value)):
            return None
    return None


def shell_call(words: Sequence[Text]) -> tuple[Text, tuple[Text, ...]] | None:
    """The script behind ``sh -c`` and what it is called with; None for another command."""
    if not words or _base(words[0].value) not in SHELLS:
        return None
    for index, word in enumerate(words[1:], start=1):
        if word.value.startswith("-") and "c" in word.value and not word.value.startswith("--"):
            return (words[index + 1], tuple(words[index + 3 :])) if index + 1 < len(words) else None
        if not word.value.startswith("-"):
            return None
    return None


def _base(word: str) -> str:
    return PurePosixPath(word).name if "/" in word else word
