"""Our frozen dataclasses against the standard library's: whatever can be asked of one, both answer alike."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from hw_specs import frozen


class Base:
    """Both kinds are made of these."""

    plain: int
    text: str = "a"
    many: list[int] = dataclasses.field(default_factory=list)
    aside: int = dataclasses.field(default=0, compare=False)
    unhashed: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)
    quiet: str = dataclasses.field(default="q", repr=False)
    fixed: int = dataclasses.field(default=5, init=False)


def made(by: Callable[..., Any], **how: bool) -> type[Any]:
    body = {key: value for key, value in vars(Base).items() if key not in ("__dict__", "__weakref__")}
    body["__annotations__"] = dict(Base.__annotations__)
    body["__qualname__"] = "Made"
    return by(frozen=True, kw_only=True, **how)(type("Made", (), body))  # type: ignore[no-any-return]


KINDS = [
    (made(frozen.dataclass, **how), made(dataclasses.dataclass, **how))
    for how in ({}, {"slots": True}, {"order": True})
]
VALUES: list[dict[str, Any]] = [
    {"plain": 1}, {"plain": 1, "aside": 9}, {"plain": 2, "text": "b"}, {"plain": 1, "quiet": "z"},
    {"plain": 1, "many": (1, 2), "unhashed": {"a": 1}}, {"plain": 1, "many": (1, 2), "unhashed": {"b": 1}},
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_values_say_and_compare_alike(ours: Any, theirs: Any) -> None:
    for one in VALUES:
        assert repr(ours(**one)) == repr(theirs(**one))
        assert dataclasses.asdict(ours(**one)) == dataclasses.asdict(theirs(**one))
        assert [field.name for field in dataclasses.fields(ours)] == [
            field.name for field in dataclasses.fields(theirs)
        ]
        assert ours(**one) != theirs(**one)
        for other in VALUES:
            assert (ours(**one) == ours(**other)) is (theirs(**one) == theirs(**other))
        if "many" in one:
            assert hash(ours(**one)) == hash(theirs(**one))
        again = dataclasses.replace(ours(**one), text="new")
        assert (again.text, again.plain, again.fixed) == ("new", one["plain"], 5)


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_mistakes_are_refused_alike(ours: Any, theirs: Any) -> None:
    for kind in (ours, theirs):
        value = kind(plain=1)
        for mistake in ({}, {"plain": 1, "other": 2}, {"plain": 1, "fixed": 2}):
            with pytest.raises(TypeError):
                kind(**mistake)
        with pytest.raises(TypeError):
            kind(1)
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'plain'"):
            value.plain = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del value.plain
        assert kind(plain=1).many is not kind(plain=1).many


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_they_tell_of_the_same_arguments(ours: Any, theirs: Any) -> None:
    told, known = (inspect.signature(kind).parameters.values() for kind in (ours, theirs))
    optional = [(one.name, one.kind, one.default is not one.empty) for one in told]
    assert optional == [(one.name, one.kind, one.default is not one.empty) for one in known]
    assert {one.name: one.default for one in told if one.default == "a"} == {"text": "a"}
    with pytest.raises(TypeError, match="needs 'plain'"):
        ours()
    with pytest.raises(TypeError, match="takes no 'fixed', 'other'"):
        ours(plain=1, fixed=2, other=3)


def test_order_is_that_of_the_fields() -> None:
    ours, theirs = KINDS[2]
    numbers = [{"plain": plain, "text": text} for plain in (2, 1) for text in ("b", "a")]
    assert [(one.plain, one.text) for one in sorted(ours(**n) for n in numbers)] == [
        (one.plain, one.text) for one in sorted(theirs(**n) for n in numbers)
    ]
    assert (ours(plain=1) < ours(plain=2), ours(plain=1) >= ours(plain=1)) == (True, True)


@frozen.dataclass(frozen=True, slots=True, kw_only=True)
class Slotted:
    plain: int
    many: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.plain < 0:
            raise ValueError("negative")


@frozen.dataclass(frozen=True, kw_only=True)
class Open:
    plain: int


@pytest.mark.parametrize("value", [Slotted(plain=3, many=(1,)), Open(plain=4)])
def test_copies_and_pickles_are_equal(value: Any) -> None:
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert again == value and hash(again) == hash(value) and type(again) is type(value)
    with pytest.raises(AttributeError):
        pickle.loads(pickle.dumps(value)).plain = 1


def test_what_a_class_checks_it_checks() -> None:
    with pytest.raises(ValueError, match="negative"):
        Slotted(plain=-1)
    with pytest.raises(ValueError, match="negative"):
        dataclasses.replace(Slotted(plain=1), plain=-1)


def test_anything_else_is_a_dataclass_of_the_standard_library() -> None:
    for how in ({"frozen": False, "kw_only": True}, {"frozen": True, "kw_only": False}):
        with pytest.raises(AssertionError):
            frozen.dataclass(**how)
