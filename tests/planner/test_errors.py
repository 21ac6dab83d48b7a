"""Errors cross process borders: each can be copied and pickled, with its hint and its field."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import hw_specs.errors
import planner.errors
from hw_specs.errors import M35Error

KINDS = {
    kind
    for module in (hw_specs.errors, planner.errors)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, M35Error)
}


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
