"""YAML with places, read by ruamel.yaml's composer: no tags, no objects, no bombs. Templates are named, not run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from planner.review.readers.limits import MOST_YAML_CHARACTERS, Unreadable
from planner.review.server import Variable
from planner.review.text import HIDDEN, TEMPLATE, Source, Text

_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_VARIABLE = re.compile(r"\$\{\w+\}")
TEMPLATES = (".tpl", ".tmpl", ".template", ".envsubst", ".j2", ".jinja", ".jinja2", ".gotmpl")
"""Endings of files that something else fills in first."""
NOT_YAML = "it is not YAML"
"""Begins the reason why a text cannot be read as YAML."""
_MOST_NODES = 200_000
_DEEPEST_BRACKETS = 200
_STANDARD_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value"})


class Tree:
    """One YAML node: a mapping, a list or a scalar."""

    def __init__(self, node: Any, source: Source) -> None:
        self._node, self._source = node, source

    @property
    def kind(self) -> str:
        """``map``, ``list`` or ``scalar``."""
        name: str = self._node.id
        return {"mapping": "map", "sequence": "list"}.get(name, "scalar")

    @property
    def start(self) -> int:
        """Offset of its first character."""
        return int(self._node.start_mark.index)

    @property
    def end(self) -> int:
        """Offset behind it."""
        return int(self._node.end_mark.index)

    def _child(self, node: Any) -> Tree:
        return Tree(node, self._source)

    def items(self) -> Iterator[tuple[Text, Tree]]:
        """Keys and values of a mapping; merged ones (``<<``) last."""
        if self.kind != "map":
            return
        merged: list[Tree] = []
        for key, value in self._node.value:
            if key.value == "<<" and getattr(key, "style", None) is None:
                child = self._child(value)
                merged += list(child.list()) if child.kind == "list" else [child]
                continue
            yield self._child(key).text, self._child(value)
        for one in merged:
            yield from one.items()

    def get(self, *path: str) -> Tree | None:
        """The value behind a path of keys; None where it leads nowhere."""
        here: Tree | None = self
        for key in path:
            if here is None:
                return None
            here = here.member(key)
        return here

    def member(self, name: str) -> Tree | None:
        """The value of one key; the places of the others are not looked for."""
        if self.kind != "map":
            return None
        merged = []
        for key, value in self._node.value:
            if key.value == name and name != "<<":
                return self._child(value)
            if key.value == "<<":
                merged.append(value)
        return next((value for key, value in self.items() if key.value == name), None) if merged else None

    def key(self, name: str) -> Text | None:
        """The key `name` itself."""
        return next((key for key, _ in self.items() if key.value == name), None)

    def list(self) -> Iterator[Tree]:
        """The members of a list."""
        if self.kind == "list":
            for node in self._node.value:
                yield self._child(node)

    def each(self, *path: str) -> Iterator[Tree]:
        """The members of the list behind a path; none where there is no list."""
        found = self.get(*path)
        if found is not None:
            yield from found.list()

    def entries(self, *path: str) -> Iterator[tuple[Text, Tree]]:
        """Keys and values of the mapping behind a path; none where there is no mapping."""
        found = self.get(*path)
        if found is not None:
            yield from found.items()

    def one_or_more(self, *path: str) -> Sequence[Tree]:
        """The members of the list behind a path, or what stands there instead of one; none where nothing does."""
        found = self.get(*path)
        return () if found is None else tuple(found.list()) if found.kind == "list" else (found,)

    def scalar(self, *path: str) -> Text | None:
        """The scalar behind a path as text; None where there is none, or null."""
        found = self.get(*path)
        return found.text if found is not None and found.value is not None else None

    @property
    def text(self) -> Text:
        """A scalar as text; where a mapping or list begins otherwise."""
        if self.kind != "scalar":
            return Text("", (self.start,))
        value = self._scalar
        offsets = _align(value, self._source.text, self.start, max(self.end, self.start + 1), self._node.style)
        unknown = (TEMPLATE,) if HIDDEN in value else ()
        solid = self._node.style is None and "\n" not in self._source.text[self.start : self.end].strip()
        solid = solid or (self._node.style in ("'", '"') and self.end - self.start == len(value) + 2)
        solid = solid or self._node.style == "|"
        return Text(value, offsets, unknown, solid)

    @property
    def _scalar(self) -> str:
        # Where a folded scalar goes on in the next line, the round-trip reader leaves a bell.
        return str(self._node.value).replace("\a", "")

    @property
    def value(self) -> str | None:
        """A scalar's value as text; None for anything else and for null."""
        if self.kind != "scalar" or (self._node.style is None and self._node.value in ("", "null", "~")):
            return None
        return self._scalar

    def string(self, *path: str) -> str | None:
        """The text behind a path."""
        found = self.get(*path)
        return found.value if found is not None else None

    def integer(self, *path: str) -> int | None:
        """The whole number behind a path."""
        text = self.string(*path)
        return int(text) if text is not None and text.isdecimal() and len(text) < 12 else None


class Elsewhere(Tree):
    """A node of another file, all of it placed where that file is named."""

    def __init__(self, node: Any, source: Source, place: int) -> None:
        super().__init__(node, source)
        self._place = place

    @classmethod
    def of(cls, tree: Tree, place: int) -> Elsewhere:
        """The same node, placed at `place`."""
        return cls(tree._node, tree._source, place)

    @property
    def start(self) -> int:
        """Where the other file is named."""
        return self._place

    @property
    def end(self) -> int:
        """Behind that."""
        return self._place + 1

    def _child(self, node: Any) -> Tree:
        return Elsewhere(node, self._source, self._place)

    @property
    def text(self) -> Text:
        """A scalar's value, none of whose characters stands in this file."""
        value = self._scalar if self.kind == "scalar" else ""
        return Text(value, (self._place,) * max(1, len(value)), (TEMPLATE,) if HIDDEN in value else (), False)


class Together(Tree):
    """A mapping over others: what the first ones say counts."""

    def __init__(self, parts: Sequence[Tree]) -> None:
        super().__init__(parts[0]._node, parts[0]._source)
        self.parts = tuple(parts)

    def member(self, name: str) -> Tree | None:
        """The value of one key, of the first part that has it."""
        return next((found for part in self.parts if (found := part.member(name)) is not None), None)

    def items(self) -> Iterator[tuple[Text, Tree]]:
        """Keys and values, each key once."""
        seen: set[str] = set()
        for part in self.parts:
            for key, value in part.items():
                if key.value not in seen:
                    seen.add(key.value)
                    yield key, value


def assigned(holder: Tree, key: str) -> dict[str, Variable]:
    """The variables that stand under `key`, as a mapping or as a list of ``NAME=value``; one without a value comes
    from elsewhere."""
    found = {name.value: Variable(name=name, value=value.scalar()) for name, value in holder.entries(key)}
    for one in holder.each(key):
        name, value = one.text.partition("=")
        found[name.value] = Variable(name=name, value=value)
    return found


def documents(source: Source) -> list[Tree]:
    """Return the documents of a YAML text.

    Raises:
        Unreadable: for what is not YAML, carries tags, or nests without end.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(source.text) > MOST_YAML_CHARACTERS:
        raise Unreadable("it is larger than half a mebibyte: no manifest is", 0)
    text = hide_templates(source.text, variables=source.name.lower().endswith(TEMPLATES))
    _refuse_depth(text)
    reader = YAML(typ="rt", pure=True)
    try:
        nodes = [node for node in reader.compose_all(text) if node is not None]
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = str(getattr(error, "problem", None) or "it cannot be read").splitlines()[0]
        raise Unreadable(f"{NOT_YAML}: {problem}", int(mark.index) if mark is not None else 0) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply", 0) from None
    except (ValueError, AssertionError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Unreadable(f"{NOT_YAML}: {type(error).__name__}", 0) from None
    for node in nodes:
        _refuse_tags(node)
        _refuse_bombs(node)
    return [Tree(node, source) for node in nodes]


def _refuse_depth(text: str) -> None:
    """Refuse brackets in brackets without end before the reader, whose time grows with their square."""
    depth = 0
    for index, character in enumerate(text):
        if character in "[{":
            depth += 1
            if depth > _DEEPEST_BRACKETS:
                raise Unreadable("it is nested too deeply", index)
        elif character in "]}":
            depth = max(0, depth - 1)


def hide_templates(text: str, *, variables: bool = False) -> str:
    """Replace each ``{{ … }}`` by as many placeholders; a line of nothing else becomes a comment.

    With `variables` also what ``envsubst`` and its like replace, ``${NAME}``.
    """
    if variables:
        text = _VARIABLE.sub(lambda found: HIDDEN * len(found[0]), text)
    if "{{" not in text:
        return text
    lines = []
    for line in _TEMPLATE.sub(lambda found: re.sub(r"[^\n]", HIDDEN, found[0]), text).split("\n"):
        bare = line.strip()
        if bare and not bare.strip(HIDDEN):
            line = line.replace(HIDDEN, "#", 1)
        lines.append(line)
    return "\n".join(lines)


def _refuse_tags(root: Any) -> None:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        tag = str(node.tag or "")
        if tag and tag.removeprefix(_STANDARD_TAG) not in _PLAIN_TAGS:
            raise Unreadable(f"it carries the YAML tag `{tag[:40]}`: tags are refused", int(node.start_mark.index))
        waiting += _children(node)


def _refuse_bombs(root: Any) -> None:
    """Refuse anchors that hold themselves, or that multiply beyond any artefact's size."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(root, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[id(node)] > _MOST_NODES:
                raise Unreadable("its anchors multiply: they are refused", int(node.start_mark.index))
        elif id(node) in open_nodes:
            raise Unreadable("an anchor holds itself: it is refused", int(node.start_mark.index))
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            waiting.append((node, True))
            waiting += [(child, False) for child in _children(node) if id(child) not in sizes]


def _children(node: Any) -> list[Any]:
    if not isinstance(node.value, list):
        return []
    return [one for child in node.value for one in (child if isinstance(child, tuple) else (child,))]


def _align(value: str, text: str, start: int, end: int, style: str | None) -> tuple[int, ...]:
    """The offset of each character of a scalar, by walking along what is written."""
    at = start
    if style in ("'", '"'):
        at += 1
    elif style in ("|", ">"):
        at = text.find("\n", start) + 1 or start
    offsets: list[int] = []
    for character in value:
        if character == HIDDEN:
            offsets.append(min(at, end - 1))
            at += 1
            continue
        probe = at
        while probe < end and not _same(character, text[probe]):
            probe += 1
        if probe >= end:
            probe = min(at, end - 1)
        offsets.append(probe)
        at = probe + 1
    return tuple(offsets)


def _same(character: str, written: str) -> bool:
    return character == written or (character in " \n" and written in " \n")
