"""The Python API as a page: what every public name is, its fields and its errors, read from the source."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise

from planner.planning.request import SETTINGS, PlanRequest

DOORS = {
    "planner": "Plan, write and read plans, start servers and prove them.",
    "planner.serve": "More of servers: runs, rehearsals, reports of starts.",
    "planner.review": "Judge commands and files that are already there.",
    "hw_specs": "GPUs: the catalogue, what is typed, what is here.",
}
"""Packages whose ``__all__`` is the promise."""
ROLE = re.compile(r":\w+:`~?([\w.]+)`")
SECTION = re.compile(r"^(Raises|Yields|Returns):$")


def api_page() -> str:
    """Every public name of every door: signature, meaning, fields, errors."""
    parts = [
        "# Python API\n\nWhat stands here is public and follows the [version policy](versions.md); nothing else does. "
        "Names are loaded when they are first used. Every class of values is frozen and takes its fields by name.\n"
    ]
    for package, what in DOORS.items():
        door = importlib.import_module(package)
        parts.append(f"## {package}\n\n{what}\n")
        for name in sorted(door.__all__):
            parts.append("\n".join([f"### `{package}.{name}`\n", *_entry(name, getattr(door, name))]))
    return "\n".join(parts)


def _entry(name: str, thing: object) -> Iterator[str]:
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        assert isinstance(thing, Mapping), f"{name} is neither class, function nor table"
        yield f"`{type(thing).__name__}`: {', '.join(f'`{one}`' for one in thing)}\n"
        return
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        known = {name: value for name, value in thing.__globals__.items() if name.isupper()}
        definition.args = _Values(known).visit(definition.args)
        yield f"```python\n{_signature(definition, name)}\n```\n"
    text = inspect.getdoc(thing)
    assert text is not None, f"{name} has no docstring"
    yield _markdown(text.replace(f">>> {thing.__name__}(", f">>> {name}("))
    if isinstance(definition, ast.ClassDef):
        yield from _members(definition, thing)


class _Values(ast.NodeTransformer):
    """Puts numbers and texts in the place of the constants that name them."""

    def __init__(self, known: dict[str, object]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.known.get(node.id)
        return ast.Constant(value) if isinstance(value, int | float | str) else node


def _members(definition: ast.ClassDef, cls: object) -> Iterator[str]:
    """The fields as a table, then properties and methods."""
    rows = list(_fields(definition, cls))
    above = [one.__name__ for one in getattr(cls, "__bases__", ()) if dataclasses.is_dataclass(one)]
    if above:
        yield f"Every field of `{above[0]}`, and:\n"
    if rows:
        yield "| field | type | meaning |\n| --- | --- | --- |"
        yield from rows
        yield ""
    for node in definition.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(one) for one in node.decorator_list}
        first = _markdown(ast.get_docstring(node) or "").split("\n\n")[0].strip()
        if decorators & {"property", "cached_property"}:
            returns = f": `{ast.unparse(node.returns)}`" if node.returns else ""
            yield f"* `.{node.name}`{returns}. {first}"
        else:
            yield f"* `.{_signature(node, node.name, one_line=True)}`. {first}"
    yield ""


def _fields(definition: ast.ClassDef, cls: object) -> Iterator[str]:
    """One row a field; those of a request are described by their settings."""
    given = {
        field.name: "worked out" if not field.init else "optional"
        for field in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ())
        if not field.default is field.default_factory is dataclasses.MISSING
    }
    body = [*definition.body, ast.Pass()]
    for stated, text in pairwise(body):
        if not isinstance(stated, ast.AnnAssign) or not isinstance(stated.target, ast.Name):
            continue
        name = stated.target.id
        said = SETTINGS[name].help if cls is PlanRequest and name in SETTINGS else ""
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            said = " ".join(_markdown(str(text.value.value)).split())
        kind = ast.unparse(stated.annotation).strip("'").replace("|", "\\|")
        yield f"| `{name}`{f' ({given[name]})' if name in given else ''} | `{kind}` | {said} |"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, *, one_line: bool = False) -> str:
    arguments = ast.unparse(node.args)
    arguments = re.sub(r"^(self|cls)(, )?", "", arguments)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({arguments}){returns}"
    if one_line or len(line) <= 100:
        return line
    inside = ",\n    ".join(_parts(arguments))
    return f"{name}(\n    {inside},\n){returns}"


def _parts(arguments: str) -> Iterator[str]:
    """The arguments, cut at the commas between them."""
    depth, start = 0, 0
    for place, character in enumerate(arguments):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield arguments[start:place].strip()
            start = place + 1
    yield arguments[start:].strip()


def _markdown(text: str) -> str:
    """A docstring as Markdown: names in code, errors as a list, examples as code."""
    text = ROLE.sub(lambda role: f"`{role[1].rsplit('.', 1)[-1]}`", text).replace("``", "`")
    out: list[str] = []
    listing = example = False
    for line in text.splitlines():
        if SECTION.match(line.strip()):
            listing = True
            out.append(f"**{line.strip()[:-1]}**\n")
        elif line.startswith(">>>") or (example and line.strip()):
            out.append(line if example else f"```python\n{line}")
            example = True
            listing = False
        elif listing and line.startswith("    ") and not line.startswith("     "):
            kind, _, why = line.strip().partition(": ")
            out.append(f"* `{kind}`: {why}" if why else f"* {kind}")
        elif listing and line.startswith("     "):
            out.append("  " + line.strip())
        else:
            if example:
                out.append("```")
                example = False
            listing = listing and not line.strip()
            out.append(line)
    if example:
        out.append("```")
    return "\n".join(out).rstrip() + "\n"
