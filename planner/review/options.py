"""From the words of a command to its options, whatever way they are spelt; it refuses nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hw_specs.parsing import BadJson, parse_json
from planner.rendering import engine_words
from planner.rendering.engine_words import LEVELS, walk
from planner.review.text import Text

_ARGUMENTS = re.compile(r"arg|opt|flag|param|extra|[@*]", re.IGNORECASE)
"""Names of variables that hold arguments rather than a model."""


Option = engine_words.Option[Text]
"""One option as it was written, each part with its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the engine's parser is given."""

    options: tuple[Option, ...] = ()
    model: Text | None = None
    open_ended: tuple[Text, ...] = ()
    """Words without a value that may hold any number of arguments."""
    doubled: Text | None = None
    """A word that repeats the entry point of the image."""
    end: Text | None = None
    """The last argument; where another one would go."""


def read_arguments(words: Sequence[Text], *, doubled: Text | None = None, behind: Text | None = None) -> Arguments:
    """Return the options, the model (the first word that belongs to no flag), and words that may hold more of them.

    `behind` is what they stand behind.
    """
    options: list[Option] = []
    stray: list[Text] = []
    model: Text | None = None
    for one in walk(words):
        if isinstance(one, Text):
            if model is None and not options and not _ARGUMENTS.search(" ".join(one.unknown)):
                model = one
            else:
                stray.append(one)
        elif one.name not in LEVELS:
            options.append(one)
    if model is None:
        found = next((one for one in reversed(options) if one.name == "model" and not one.key), None)
        model = found.value if found is not None else None
        if model is None and not any(one.name == "model" for one in options):
            likely = [word for word in stray if word.known or re.search("model", word.unknown[0], re.IGNORECASE)]
            if likely:
                model = likely[0]
                stray.remove(model)
    return Arguments(
        options=tuple(options),
        model=model,
        open_ended=tuple(word for word in stray if word.unknown),
        doubled=doubled,
        end=words[-1] if words else behind,
    )


def json_option(options: Sequence[Option], name: str) -> dict[str, Any]:
    """The object that ``--name '{…}'`` and ``--name.key value`` give together; empty where it cannot be read."""
    found: dict[str, Any] = {}
    for one in options:
        if one.name != name or one.value is None or not one.value.known:
            continue
        if one.key:
            try:
                found[one.key] = parse_json(one.value.value)
            except BadJson:
                found[one.key] = one.value.value
            continue
        try:
            value = parse_json(one.value.value)
        except BadJson:
            continue
        if isinstance(value, dict):
            found.update(value)
    return found
