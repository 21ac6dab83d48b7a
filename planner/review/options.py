"""From the words of a command to its options, whatever way they are spelt; it refuses nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hw_specs.parsing import BadJson, parse_json
from planner.facts.serve_flags import flag_of
from planner.review.flags import Flags, flags_of, takes_value
from planner.review.text import Text

_TRUTHS = ("true", "false", "yes", "no", "on", "off")
_ARGUMENTS = re.compile(r"arg|opt|flag|param|extra|[@*]", re.IGNORECASE)
"""Names of variables that hold arguments rather than a model."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was written."""

    name: str
    """With dashes and without those in front: ``max-model-len``."""
    key: str
    """What follows the first dot: ``image`` of ``--limit-mm-per-prompt.image``."""
    typed: Text
    """The flag itself as it stands there."""
    value: Text | None
    on: bool = True
    """False for the ``--no-`` form of a switch."""
    joined: bool = False
    """Whether flag and value are one word, ``--flag=value``."""
    word: Text | None = None
    """The whole word where they are one."""
    truth: Text | None = None
    """A word such as ``False`` behind a switch, which takes none."""


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
    flags = flags_of(None)
    options: list[Option] = []
    stray: list[Text] = []
    model: Text | None = None
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.value.startswith("-") or word.value == "-" or _negative(word.value):
            if model is None and not options and not _ARGUMENTS.search(" ".join(word.unknown)):
                model = word
            else:
                stray.append(word)
            continue
        typed, value = word.partition("=")
        name, key, on = canonical(typed.value, flags)
        together = value is not None
        truth: Text | None = None
        if value is None and not key and typed.value in ("-O0", "-O1", "-O2", "-O3"):
            continue
        if value is None:
            how = "one" if key else takes_value(_spelt(typed.value, name, on), flags)
            following = words[index] if index < len(words) else None
            if following is not None and how == "none" and following.value.lower() in _TRUTHS:
                truth = following
                index += 1
            if following is not None and how != "none" and (how == "one" or not _is_flag(following.value)):
                if how == "one" and _is_flag(following.value) and not _negative(following.value):
                    following = None
                if following is not None:
                    value = following
                    index += 1
            if how == "many":
                while index < len(words) and not _is_flag(words[index].value):
                    index += 1
        options.append(Option(name, key, typed, value, on, together, word if together else None, truth))
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


def canonical(typed: str, flags: Flags) -> tuple[str, str, bool]:
    """Name, dotted rest and sense of a flag as typed.

    >>> from planner.review.flags import flags_of
    >>> canonical("--no-enable_prefix_caching", flags_of(None))
    ('enable-prefix-caching', '', False)
    """
    name, _, key = flag_of(typed)[0].partition(".")
    if name.startswith("-"):
        found = flags.find(name)
        return (str(found["dest"]).replace("_", "-") if found and "dest" in found else name.lstrip("-")), key, True
    if name.startswith("no-") and flags.find("--" + name[3:]) is not None:
        return name[3:], key, False
    found = flags.find("--" + name)
    if found is not None and "dest" in found:
        dest = str(found["dest"]).replace("_", "-")
        if flags.find("--" + dest) is not None and dest != name and found.get("type") != "flag":
            return dest, key, True
    elif len(guesses := flags.abbreviates("--" + name)) == 1:
        # The parser completes it in silence, so that is what it says.
        return guesses[0].removeprefix("--"), key, True
    return name, key, True


def _spelt(typed: str, name: str, on: bool) -> str:
    if not typed.startswith("--"):
        return "--" + name
    return ("--" if on else "--no-") + name


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _negative(word)


def _negative(word: str) -> bool:
    return word[:1] == "-" and word[1:2].isdigit()


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
