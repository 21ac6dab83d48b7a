"""Errors cross process borders: each can be copied and pickled, with its hint and its field."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil

import pytest

import hw_specs
import planner
import tui
from hw_specs.errors import M35Error

DATA = (".toml", "twin.script", "__main__")


def every_exception() -> set[type[BaseException]]:
    """Every exception class of ours, wherever it is defined."""
    found: set[type[BaseException]] = set()
    for package in (hw_specs, planner, tui):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(DATA):
                defined = vars(importlib.import_module(module.name)).values()
                classes = (one for one in defined if inspect.isclass(one) and one.__module__ == module.name)
                found |= {one for one in classes if issubclass(one, BaseException)}
    return found


EVERY = every_exception()
KINDS = {kind for kind in EVERY if issubclass(kind, M35Error)}
PUBLIC = {
    value
    for package in (
        hw_specs,
        planner,
        importlib.import_module("planner.serve"),
        importlib.import_module("planner.review"),
    )
    for value in (getattr(package, name) for name in package.__all__)
    if inspect.isclass(value) and issubclass(value, BaseException)
}


def test_every_error_of_a_door_is_ours_and_no_root_is_missing() -> None:
    assert PUBLIC <= KINDS
    assert {M35Error, planner.PlannerError} <= PUBLIC
    named = {kind for kind in KINDS if not kind.__module__.startswith(("planner.cli", "hw_specs.reading"))}
    assert named <= PUBLIC, "an error that callers may meet stands in no door"


def made(kind: type[M35Error]) -> M35Error:
    """An error with a word for each thing it needs to know."""
    needed = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
    error = kind(*(f"a {one.name}" for one in needed if one.kind is not one.KEYWORD_ONLY))
    error.hint = "another"
    return error


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__))
def test_an_error_survives_a_process_border(kind: type[M35Error]) -> None:
    error = made(kind)
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind and str(again) == str(error) and again.hint == "another"
        assert again.__dict__ == error.__dict__
