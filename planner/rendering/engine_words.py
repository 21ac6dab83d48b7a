"""The one walk over the words of the engine's command line: its options, whatever way they are spelt, and other words.

It refuses nothing. A word is anything that has a text and can be parted: one of a file knows its place there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from planner.facts.engine_flags import Flags, flags_of, takes_value
from planner.facts.serve_flags import flag_of

LEVELS = ("O0", "O1", "O2", "O3")
"""Flags of optimisation levels, which have one dash and no value."""
_TRUTHS = ("true", "false", "yes", "no", "on", "off")


class Word(Protocol):
    """One word of a command."""

    @property
    def value(self) -> str:
        """Its characters."""

    def partition(self, mark: str) -> tuple[Self, Self | None]:
        """What stands before the first `mark`, and behind it; None where there is no mark."""


W = TypeVar("W", bound=Word)


@dataclass(frozen=True, slots=True)
class Plain:
    """A word that stands nowhere."""

    value: str

    def partition(self, mark: str) -> tuple[Plain, Plain | None]:
        """What stands before the first `mark`, and behind it; None where there is no mark."""
        head, found, rest = self.value.partition(mark)
        return Plain(head), Plain(rest) if found else None


@dataclass(frozen=True)
class Option(Generic[W]):
    """One option as it was written."""

    name: str
    """With dashes and without those in front: ``max-model-len``."""
    key: str
    """What follows the first dot: ``image`` of ``--limit-mm-per-prompt.image``."""
    typed: W
    """The flag itself as it stands there."""
    value: W | None
    on: bool = True
    """False for the ``--no-`` form of a switch."""
    joined: bool = False
    """Whether flag and value are one word, ``--flag=value``."""
    word: W | None = None
    """The whole word where they are one."""
    truth: W | None = None
    """A word such as ``False`` behind a switch, which takes none."""
    more: tuple[W, ...] = ()
    """Values behind the first one."""


def walk(words: Sequence[W]) -> Iterator[Option[W] | W]:
    """Yield the options, and the words that belong to none, in their order."""
    flags = flags_of(None)
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not _is_flag(word.value):
            yield word
            continue
        typed, value = word.partition("=")
        name, key, on = canonical(typed.value, flags)
        if value is not None:
            yield Option(name, key, typed, value, on, joined=True, word=word)
            continue
        if name in LEVELS and typed.value == f"-{name}":
            yield Option(name, key, typed, None)
            continue
        how = "one" if key else takes_value(_spelt(typed.value, name, on), flags)
        following = words[index] if index < len(words) else None
        truth: W | None = None
        if following is not None and how == "none" and following.value.lower() in _TRUTHS:
            truth = following
            index += 1
        elif following is not None and how != "none" and not _is_flag(following.value):
            value = following
            index += 1
        more: list[W] = []
        while how == "many" and index < len(words) and not _is_flag(words[index].value):
            more.append(words[index])
            index += 1
        yield Option(name, key, typed, value, on, truth=truth, more=tuple(more))


def canonical(typed: str, flags: Flags) -> tuple[str, str, bool]:
    """Name, dotted rest and sense of a flag as typed.

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
    """Whether a word is one; a negative number and a lone dash are values."""
    return word.startswith("-") and word != "-" and not word[1:2].isdigit()
