"""How messages of the engine name its settings: ``setting_words.toml``; it compiles no expression."""

from collections.abc import Mapping
from typing import Literal

from planner.facts.record import Record, door


class SettingWords(Record):
    """The whole file."""

    source: str
    basis: Literal["exact"]
    advice: tuple[str, ...]
    """What a sentence that tells what to do begins with."""
    within: tuple[str, ...]
    """What stands in one that begins otherwise."""
    rule: tuple[str, ...]
    """What stands in one that only tells what must be."""
    no_advice: tuple[str, ...]
    """What tells to write to somebody, or to read on."""
    conflict: tuple[str, ...]
    """Words for settings that do not go together."""
    need: tuple[str, ...]
    """Words for a setting that asks for another one."""
    fit: tuple[str, ...]
    """Words for values that break a rule."""
    fields: Mapping[str, str]
    """Flag that takes JSON → its keys."""
    words: Mapping[str, tuple[str, ...]]
    """What is typed → expressions for what messages call it."""
    off: Mapping[str, str]
    """What is on without being asked for → what turns it off."""


setting_words = door("setting_words.toml", SettingWords)
