"""JSON files from outside, read with limits; it never trusts a type, a size or a nesting depth.

Every getter of :class:`Section` names the file and the key in its error, so that a person can fix the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hw_specs.errors import shown
from hw_specs.parsing import BadJson, parse_json
from hw_specs.reading import UnreadableInput, read_bytes
from planner.errors import UnreadableCheckpoint

CONFIG_LIMIT_BYTES = 32 * 2**20
"""No configuration or index is larger; a quantisation list of 100,000 layers stays below it."""
INDEX_LIMIT_BYTES = 128 * 2**20


def parse_object(text: bytes, *, origin: str) -> Section:
    """Return the JSON object in `text`.

    Raises:
        UnreadableCheckpoint: when it is no JSON, or no object.
    """
    try:
        value = parse_json(text)
    except BadJson as error:
        raise UnreadableCheckpoint(f"`{origin}` {error}") from None
    if not isinstance(value, dict):
        raise UnreadableCheckpoint(f"`{origin}` holds {_kind(value)} where an object is needed")
    return Section(origin=origin, values=value)


def read_object(path: Path, *, limit_bytes: int = CONFIG_LIMIT_BYTES) -> Section:
    """Return the JSON object in the file at `path`.

    Raises:
        UnreadableCheckpoint: when the file cannot be read, is larger than `limit_bytes` or is no JSON object.
    """
    origin = shown(path.name)
    try:
        text = read_bytes(path, most_bytes=limit_bytes)
    except UnreadableInput as error:
        raise UnreadableCheckpoint(f"cannot read `{origin}`: {error.reason}", hint=error.hint) from None
    return parse_object(text, origin=origin)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names = {bool: "a truth value", int: "an integer", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Section:
    """One JSON object and where it stands. Each getter raises `UnreadableCheckpoint` for a value of another kind."""

    origin: str
    """File, and keys below it: ``config.json: text_config``."""
    values: dict[str, object]

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def _wrong(self, key: str, wanted: str) -> UnreadableCheckpoint:
        value = self.values.get(key)
        found = f"`{shown(str(value))}`" if isinstance(value, (int, float, str)) else _kind(value)
        return UnreadableCheckpoint(f"`{shown(key)}` in `{self.origin}` must be {wanted}, not {found}")

    def _optional(self, key: str, kind: type[T], wanted: str) -> T | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise self._wrong(key, wanted)
        return value

    def integer(self, key: str, *, limit: int, default: int | None = None) -> int:
        """Return a positive integer of at most `limit`; `default` where the key is missing or null."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise self._wrong(key, f"an integer between 1 and {limit}")
        return value

    def number(self, key: str, *, low: float, high: float, default: float | None = None) -> float:
        """Return a number in ``[low, high]``; `default` where the key is missing or null."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a number between {low:g} and {high:g}")
        return float(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a truth value; `default` where the key is missing or null."""
        value = self._optional(key, bool, "true or false")
        return default if value is None else value

    def text(self, key: str, *, default: str = "") -> str:
        """Return a text; `default` where the key is missing or null."""
        value = self._optional(key, str, "a text")
        return default if value is None else value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; empty where the key is missing or null."""
        value = self._optional(key, list, "a list of texts") or []
        if not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts")
        return value

    def section(self, key: str) -> Section | None:
        """Return the object below `key`, None where the key is missing or null."""
        value = self._optional(key, dict, "an object")
        return None if value is None else Section(origin=f"{self.origin}: {shown(key)}", values=value)
