"""Reads the installed engine's sources by their syntax alone: tables, words, small rules. It runs none of it.

What a release knows stands in tables of its modules. A module that is not there, or is laid out otherwise, gives
nothing, and whoever asks then says nothing.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hw_specs.reading import UnreadableInput, read_text

MOST_BYTES = 8 << 20
_MOST_BASES = 8
_UNSURE = object()
"""A value that only running the code would tell."""

_COMPARED: Mapping[type, Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, all_: one in all_, ast.NotIn: lambda one, all_: one not in all_,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


def module(folder: Path | None, name: str) -> ast.Module | None:
    """Return the syntax of the file `name` of a package's `folder`; None where it cannot be read or understood."""
    if folder is None:
        return None
    path = folder / name
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=32)
def _parsed(path: Path, _changed_ns: int) -> ast.Module | None:
    try:
        return ast.parse(read_text(path, most_bytes=MOST_BYTES))
    except (UnreadableInput, SyntaxError, ValueError, RecursionError):
        return None  # Not Python, or of a newer Python than this one.


def assigned(tree: ast.AST | None, name: str) -> ast.expr | None:
    """Return what the module or class assigns to `name` last; None where it does not."""
    found = None
    for line in getattr(tree, "body", ()):
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if isinstance(line, (ast.Assign, ast.AnnAssign)) and any(
            isinstance(one, ast.Name) and one.id == name for one in targets
        ):
            found = line.value
    return found


def keys(tree: ast.Module | None, name: str) -> frozenset[str]:
    """Return the keys of the table `name`: a dict, a call with keywords, or pairs."""
    return frozenset(_keys(assigned(tree, name)))


def _keys(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield from _keys(value)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield keyword.arg
            else:
                yield from _keys(keyword.value)
        for argument in node.args:
            yield from _keys(argument)
    elif isinstance(node, (ast.List, ast.Tuple)):
        for pair in node.elts:
            if isinstance(pair, (ast.Tuple, ast.List)) and pair.elts and isinstance(pair.elts[0], ast.Constant):
                yield str(pair.elts[0].value)
    elif isinstance(node, ast.BinOp):
        yield from _keys(node.left)
        yield from _keys(node.right)


def pairs(node: ast.AST | None) -> dict[str, str]:
    """Return the entries of a dict whose values are texts or names."""
    if not isinstance(node, ast.Dict):
        return {}
    found = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, (ast.Constant, ast.Name)):
            found[str(key.value)] = value.id if isinstance(value, ast.Name) else str(value.value)
    return found


def texts(tree: ast.AST | None) -> dict[str, str]:
    """Return the names of a class that stand for a text."""
    lines = [line for line in getattr(tree, "body", ()) if isinstance(line, ast.Assign)]
    return {
        target.id: line.value.value
        for line in lines
        for target in line.targets
        if isinstance(target, ast.Name) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
    }


def words(node: ast.AST | None) -> frozenset[str]:
    """Return every text that stands anywhere in `node`."""
    parts = ast.walk(node) if node is not None else ()
    return frozenset(one.value for one in parts if isinstance(one, ast.Constant) and isinstance(one.value, str))


def named(tree: ast.AST | None, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    """Return the class or function `name` of a module or class."""
    for one in getattr(tree, "body", ()):
        if isinstance(one, (ast.ClassDef, ast.FunctionDef)) and one.name == name:
            return one
    return None


def imported_from(node: ast.AST | None) -> dict[str, str]:
    """Return class → module of every ``from module import class`` in `node`, relative ones without their dots."""
    parts = ast.walk(node) if node is not None else ()
    lines = [one for one in parts if isinstance(one, ast.ImportFrom) and one.module]
    return {alias.asname or alias.name: line.module or "" for line in lines for alias in line.names}


def member(tree: ast.Module | None, kind: str, name: str, *, folder: Path | None = None) -> ast.AST | None:
    """Return the method or the value `name` of the class `kind`, its own or that of its first bases.

    Bases in other files are looked for in the package `folder`, where one is given.
    """
    for _ in range(_MOST_BASES):
        found = named(tree, kind)
        if not isinstance(found, ast.ClassDef):
            place = imported_from(tree).get(kind, "") if folder is not None else ""
            package = f"{folder.name}." if folder is not None else ""
            if folder is None or not place.startswith(package):
                return None
            tree = module(folder, place.removeprefix(package).replace(".", "/") + ".py")
            continue
        own = named(found, name) or assigned(found, name)
        if own is not None:
            return own
        bases = [base.id for base in found.bases if isinstance(base, ast.Name)]
        kind = bases[0] if bases else ""
    return None


def answer(function: ast.AST | None, given: Mapping[str, object]) -> object | None:
    """Return what a function of a few comparisons gives for the arguments `given`; None where that is not sure.

    Only constants, comparisons, remainders, ``DeviceCapability`` and functions that are given, under their names and
    two brackets, are worked out. Where a condition is not sure, both of its ways must end alike.
    """
    if not isinstance(function, ast.FunctionDef):
        return None
    found = _end(function.body, given)
    return None if found is _UNSURE else found


def _end(lines: Sequence[ast.stmt], given: Mapping[str, object]) -> object:
    """What the lines return; unsure also where they return nothing."""
    for number, line in enumerate(lines):
        if isinstance(line, ast.Return):
            return _value(line.value, given)
        if isinstance(line, ast.If):
            truth, rest = _value(line.test, given), lines[number + 1 :]
            if truth is not _UNSURE:
                return _end([*(line.body if truth else line.orelse), *rest], given)
            one, other = (_end([*way, *rest], given) for way in (line.body, line.orelse))
            return one if one is not _UNSURE and one == other else _UNSURE
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            given = {**given, line.targets[0].id: _value(line.value, given)}
            continue
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            continue  # Its description.
        return _UNSURE
    return _UNSURE


def _value(node: ast.expr | None, given: Mapping[str, object]) -> object:
    try:
        return _worked_out(node, given)
    except (TypeError, ValueError, ZeroDivisionError, AttributeError, IndexError):
        return _UNSURE


def _worked_out(node: ast.expr | None, given: Mapping[str, object]) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return given.get(node.id, _UNSURE)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        parts = [_value(one, given) for one in node.elts]
        return _UNSURE if any(one is _UNSURE for one in parts) else tuple(parts)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, given)
        part = {"major": 0, "minor": 1}.get(node.attr)
        return owner[part] if part is not None and isinstance(owner, tuple) else _UNSURE
    if isinstance(node, ast.Call):
        return _called(node, given)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        inner = _value(node.operand, given)
        if inner is _UNSURE:
            return _UNSURE
        return not inner if isinstance(node.op, ast.Not) else -inner  # type: ignore[operator]
    if isinstance(node, ast.BoolOp):
        return _joined([_value(one, given) for one in node.values], every=isinstance(node.op, ast.And))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        left, right = _value(node.left, given), _value(node.right, given)
        return left % right if isinstance(left, int) and isinstance(right, int) else _UNSURE
    if isinstance(node, ast.Compare):
        return _compared(node, given)
    return _UNSURE


def _called(node: ast.Call, given: Mapping[str, object]) -> object:
    """What a function that was given under its name and two brackets says, or a ``DeviceCapability``."""
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    parts = [_value(one, given) for one in node.args]
    function = given.get(f"{name}()")
    if node.keywords or any(part is _UNSURE for part in parts):
        return _UNSURE
    if name == "DeviceCapability":
        return tuple(parts)
    found = function(*parts) if callable(function) else None
    return _UNSURE if found is None else found


def _joined(parts: Sequence[object], *, every: bool) -> object:
    """The value of ``and`` or ``or``, of which one part may decide alone."""
    if any(part is not _UNSURE and bool(part) is not every for part in parts):
        return not every
    return _UNSURE if any(part is _UNSURE for part in parts) else every


def _compared(node: ast.Compare, given: Mapping[str, object]) -> object:
    values = [_value(one, given) for one in (node.left, *node.comparators)]
    if any(one is _UNSURE for one in values):
        return _UNSURE
    each = zip(values, node.ops, values[1:], strict=False)
    return all(_COMPARED[type(kind)](left, right) for left, kind, right in each)
