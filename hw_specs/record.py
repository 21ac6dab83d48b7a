"""Facts as values: a table of a data file becomes a frozen record, and what does not fit is named; it reads no file.

Records are not dataclasses: a plan reads about sixty kinds of table, and building as many dataclasses costs more than
reading their files. A dataclass that is needed anyway is read as it is. Modules that define either evaluate their
annotations, which are what is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin

from hw_specs.errors import BadFacts

_Read = Callable[[Any], Any]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """One table: its annotations are the keys and their types, and a key with a default may be left out."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: `{name}` cannot be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def read_value(value: object, kind: Any, file: str, *path: str, folder: str = "planner/facts") -> Any:
    """Return a value of any type that stands at `path` in a file of `folder` as one of `kind`.

    Raises:
        BadFacts: for a key that `kind` does not have, one that it needs and a value of another type, with file and key.
    """
    try:
        return _reader(kind)(value)
    except _Wrong as error:
        raise BadFacts(file, ".".join([*path, *reversed(error.keys)]), str(error), folder=folder) from None


class _Wrong(Exception):
    """What is wrong, and the keys that lead there, the innermost first."""

    def __init__(self, message: str, *keys: str) -> None:
        super().__init__(message)
        self.keys = [*keys]


def keys(kind: type) -> dict[str, Any]:
    """Return the keys of `kind`, a record or a dataclass, with their types."""
    if is_dataclass(kind):
        return {one.name: one.type for one in fields(kind)}
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        hints |= getattr(base, "__annotations__", {})
    return hints


def required(kind: type) -> list[str]:
    """Return the keys of `kind` that no table may leave out."""
    if is_dataclass(kind):
        return [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    return [key for key in keys(kind) if not hasattr(kind, key)]


@cache
def _reader(kind: Any) -> _Read:
    """What checks a value of `kind` and makes it: records of tables or names, tuples of lists."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is object:
        return lambda value: value
    if origin is Literal:
        return lambda value: _one_of(value, inside)
    if origin is Mapping:
        return _table(_reader(inside[1]), numbered=inside[0] is int)
    if origin is tuple and inside[-1] is ...:
        return _row(_reader(inside[0]))
    if origin is tuple:
        return _columns([_reader(one) for one in inside])
    if origin in (Union, UnionType):
        return _either(tuple(one for one in inside if one is not type(None)), type(None) in inside)
    if is_dataclass(kind) or (isinstance(origin or kind, type) and issubclass(origin or kind, Record)):
        table = _record(origin or kind, inside)
        return _by_name(kind.named, table) if hasattr(kind, "named") else table
    return _plain(kind)


def _plain(kind: type) -> _Read:
    other = int if kind is float else kind

    def read_plain(value: Any) -> Any:
        if type(value) is not kind and type(value) is not other:
            raise _Wrong(f"cannot be {value!r}: it is a {kind.__name__}")
        return value

    return read_plain


def _by_name(named: Callable[[str], Any], otherwise: _Read) -> _Read:
    def read_name(value: Any) -> Any:
        if type(value) is not str:
            return otherwise(value)
        try:
            return named(value)
        except (LookupError, FileNotFoundError):
            raise _Wrong(f"cannot be {value!r}: nothing has that name") from None

    return read_name


def _one_of(value: Any, words: tuple[Any, ...]) -> Any:
    if not any(value == word and type(value) is type(word) for word in words):
        raise _Wrong(f"cannot be {value!r}: it is one of {', '.join(map(repr, words))}")
    return value


def _either(kinds: tuple[Any, ...], nothing: bool) -> _Read:
    readers = [_reader(kind) for kind in kinds]

    def read_either(value: Any) -> Any:
        if nothing and value is None:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value)
            except _Wrong:
                continue
        return readers[-1](value)

    return read_either


def _table(reader: _Read, *, numbered: bool) -> _Read:
    def read_table(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"cannot be {value!r}: it is a table")
        if wrong := next((key for key in value if numbered and not key.isdecimal()), None):
            raise _Wrong("is not a whole number", wrong)
        return {int(key) if numbered else key: _at(key, reader, entry) for key, entry in value.items()}

    return read_table


def _row(reader: _Read) -> _Read:
    def read_row(value: Any) -> Any:
        return tuple(_at(str(place), reader, entry) for place, entry in enumerate(_list(value)))

    return read_row


def _columns(readers: list[_Read]) -> _Read:
    def read_columns(value: Any) -> Any:
        if len(_list(value)) != len(readers):
            raise _Wrong(f"cannot be {value!r}: it is a list of {len(readers)}")
        return tuple(_at(str(place), reader, value[place]) for place, reader in enumerate(readers))

    return read_columns


def _list(value: Any) -> Any:
    if type(value) is not list:
        raise _Wrong(f"cannot be {value!r}: it is a list")
    return value


def _record(kind: type, inside: tuple[Any, ...]) -> _Read:
    known = keys(kind)
    if inside:
        names = dict(zip(kind.__parameters__, inside, strict=True))  # type: ignore[attr-defined]  # generic classes have them
        known = {key: _filled(hint, names) for key, hint in known.items()}
    readers = {key: _reader(hint) for key, hint in known.items()}
    needed = required(kind)

    def read_record(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"cannot be {value!r}: it is a table")
        for key in value:
            if key not in readers:
                raise _Wrong("is not a known key", key)
        for key in needed:
            if key not in value:
                raise _Wrong("is missing", key)
        made, key = {}, ""
        try:
            for key, entry in value.items():
                made[key] = readers[key](entry)
        except _Wrong as error:
            error.keys.append(key)
            raise
        return kind(**made)

    return read_record


def _filled(hint: Any, names: Mapping[Any, Any]) -> Any:
    """The type with its variables filled in."""
    if isinstance(hint, TypeVar):
        return names[hint]
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(names[one] for one in parameters)] if parameters else hint


def _at(key: str, reader: _Read, value: Any) -> Any:
    try:
        return reader(value)
    except _Wrong as error:
        error.keys.append(key)
        raise
