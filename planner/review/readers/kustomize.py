"""Kustomizations: the base in the artefact's own folder with the patches, images and replicas that change it.

What ``kubectl kustomize`` would make of it, as far as servers are concerned: strategic merges by name, JSON patches
(RFC 6902), images and replicas. A base that is not at hand is named.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from planner.review.readers.limits import Unreadable
from planner.review.readers.tree import Elsewhere, Tree, documents
from planner.review.text import Source, Text

_Beside = Callable[[str], str | None]
_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_DEEPEST = 4
_MOST_FILES = 50
_MERGE_KEYS = ("name", "mountPath", "containerPort")
"""What tells the members of a list apart, where a strategic merge merges and does not replace."""


class Built(Tree):
    """A node that was put together, which begins where `anchor` does."""

    def __init__(self, anchor: Tree, *, pairs: dict[str, tuple[Text, Tree]] | None, members: list[Tree] | None) -> None:
        self.anchor, self.pairs, self.members = anchor, pairs, members

    @classmethod
    def of(cls, tree: Tree) -> Tree:
        """A copy of a tree that can be changed; scalars stay as they are."""
        if tree.kind == "map":
            pairs = {key.value: (key, cls.of(value)) for key, value in reversed(list(tree.items()))}
            return cls(tree, pairs=dict(reversed(pairs.items())), members=None)
        if tree.kind == "list":
            return cls(tree, pairs=None, members=[cls.of(one) for one in tree.list()])
        return tree

    @property
    def kind(self) -> str:
        """``map`` or ``list``."""
        return "map" if self.pairs is not None else "list"

    @property
    def start(self) -> int:
        """Where the node began that it was made of."""
        return self.anchor.start

    @property
    def end(self) -> int:
        """Where that one ended."""
        return self.anchor.end

    @property
    def flow(self) -> bool:
        """It is written nowhere as a whole."""
        return False

    @property
    def text(self) -> Text:
        """Where it begins."""
        return Text("", (self.start,))

    @property
    def value(self) -> str | None:
        """None: it is not a scalar."""
        return None

    def member(self, name: str) -> Tree | None:
        """The value of one key."""
        found = (self.pairs or {}).get(name)
        return found[1] if found is not None else None

    def items(self) -> Iterator[tuple[Text, Tree]]:
        """Keys and values."""
        yield from (self.pairs or {}).values()

    def list(self) -> Iterator[Tree]:
        """The members of a list."""
        yield from self.members or ()


def is_kustomization(root: Tree) -> bool:
    """Whether a document is one, which need not say so."""
    resources = root.get("resources")
    unsaid = root.get("kind") is None and root.get("apiVersion") is None and resources is not None
    return root.string("kind") in ("Kustomization", "Component") or (
        unsaid and resources is not None and resources.kind == "list"
    )


def resources_of(
    root: Tree, beside: _Beside, folder: str = "", depth: int = 0
) -> tuple[list[Tree], list[tuple[Text, str]]]:
    """Return the objects that a kustomization makes, and what it names that is not at hand."""
    found: list[Tree] = []
    missing: list[tuple[Text, str]] = []
    named = [one for key in ("resources", "bases", "components") for one in _members(root, key)]
    for one in islice(named, _MOST_FILES):
        path = _path(folder, one.value or "")
        content = beside(path)
        if content is not None:
            found += [Built.of(tree) for tree in _documents(content, one.start) if tree.kind == "map"]
            continue
        inner = next(((name, text) for name in _FILES if (text := beside(_path(path, name))) is not None), None)
        roots = _documents(inner[1], one.start) if inner is not None and depth < _DEEPEST else []
        if not roots:
            missing.append((one.text, f"the objects of `{(one.value or '')[:80]}`"))
        for tree in roots:
            objects, asked = resources_of(tree, beside, path, depth + 1)
            found += objects
            missing += asked
    _patch_all(root, found, beside, folder)
    for change in _members(root, "images"):
        for obj in found:
            _set_image(obj, change)
    return found, missing


def _path(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name)) if name else ""


def _members(root: Tree, key: str) -> list[Tree]:
    node = root.get(key)
    return list(node.list()) if node is not None else []


def _documents(content: str, place: int) -> list[Tree]:
    try:
        return [Elsewhere.of(tree, place) for tree in documents(Source(content))]
    except Unreadable:
        return []


def _patch_all(root: Tree, found: list[Tree], beside: _Beside, folder: str) -> None:
    for key in ("patchesStrategicMerge", "patches", "patchesJson6902"):
        for one in islice(_members(root, key), _MOST_FILES):
            inline = one.get("patch") if one.kind == "map" else one if "\n" in (one.value or "") else None
            named = one.get("path") if one.kind == "map" else one
            text = inline.value if inline is not None else None
            place = inline if inline is not None else named
            if text is None and named is not None:
                text = beside(_path(folder, named.value or ""))
            if text is None or place is None:
                continue
            for tree in _documents(text, place.start):
                _patch(tree, one.get("target") if one.kind == "map" else None, found)


def _patch(patch: Tree, target: Tree | None, found: list[Tree]) -> None:
    for obj in found:
        if not isinstance(obj, Built):
            continue
        if patch.kind == "list":
            if target is not None and _matches(obj, target.string("kind"), target.string("name")):
                for step in patch.list():
                    _step(obj, step)
        elif patch.kind == "map":
            kind, name = patch.string("kind"), patch.string("metadata", "name")
            if target is not None:
                kind, name = target.string("kind") or kind, target.string("name")
            if _matches(obj, kind, name):
                _merge(obj, patch)


def _matches(obj: Tree, kind: str | None, name: str | None) -> bool:
    return (kind is None or obj.string("kind") == kind) and (name is None or obj.string("metadata", "name") == name)


def _merge(base: Built, patch: Tree) -> None:
    """Put a strategic merge patch into a mapping."""
    assert base.pairs is not None
    for key, value in patch.items():
        before = base.pairs.get(key.value, (key, None))[1]
        if value.kind == "scalar" and value.value is None:
            base.pairs.pop(key.value, None)
        elif isinstance(before, Built) and before.kind == value.kind == "map" and value.string("$patch") != "replace":
            _merge(before, value)
        elif isinstance(before, Built) and before.kind == value.kind == "list" and _merges(before, value):
            _merge_list(before, value)
        else:
            base.pairs[key.value] = (key, Built.of(value))


def _merges(before: Built, value: Tree) -> bool:
    members = [*before.list(), *value.list()]
    return all(one.kind == "map" for one in members) and any(_identity(one) is not None for one in value.list())


def _identity(one: Tree) -> tuple[str, str] | None:
    return next(((key, text) for key in _MERGE_KEYS if (text := one.string(key)) is not None), None)


def _merge_list(base: Built, patch: Tree) -> None:
    assert base.members is not None
    for one in patch.list():
        who = _identity(one)
        same = next((index for index, other in enumerate(base.members) if who and _identity(other) == who), None)
        if one.string("$patch") == "delete":
            if same is not None:
                base.members.pop(same)
            continue
        other = base.members[same] if same is not None else None
        if isinstance(other, Built) and other.kind == "map":
            _merge(other, one)
        else:
            base.members.append(Built.of(one))


def _step(obj: Built, step: Tree) -> None:
    """Do one operation of a JSON patch; one that leads nowhere is passed over."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in (step.string("path") or "").split("/")[1:]]
    value, how = step.get("value"), step.string("op")
    here: Tree | None = obj
    for part in parts[:-1]:
        if isinstance(here, Built) and here.members is not None:
            here = here.members[int(part)] if part.isdecimal() and int(part) < len(here.members) else None
        elif here is not None:
            here = here.get(part)
    if not isinstance(here, Built) or not parts or how not in ("add", "replace", "remove"):
        return
    last, new = parts[-1], Built.of(value) if value is not None and how != "remove" else None
    if here.pairs is not None:
        key = here.key(last) or (value.text if value is not None else Text("", (here.start,)))
        here.pairs.pop(last, None)
        if new is not None:
            here.pairs[last] = (Text(last, (key.start,) * len(last), (), False), new)
    elif here.members is not None:
        index = len(here.members) if last == "-" else int(last) if last.isdecimal() else -1
        if how != "add" and 0 <= index < len(here.members):
            here.members.pop(index)
        if new is not None and 0 <= index <= len(here.members):
            here.members.insert(index, new)


def _set_image(obj: Tree, change: Tree) -> None:
    """Give the containers that run an image its new name, tag or digest."""
    for container in _containers(obj):
        assert isinstance(container, Built)
        assert container.pairs is not None
        image = container.get("image")
        if image is None or image.value is None:
            continue
        repository = image.value.partition("@")[0]
        tag = repository.rpartition(":")[2] if ":" in repository.rpartition("/")[2] else ""
        repository = repository.removesuffix(f":{tag}") if tag else repository
        if repository != change.string("name"):
            continue
        repository = change.string("newName") or repository
        tag = change.string("newTag") or tag
        digest = change.string("digest")
        text = f"{repository}@{digest}" if digest else f"{repository}:{tag}" if tag else repository
        container.pairs["image"] = (container.pairs["image"][0], _Scalar(change, text))


class _Scalar(Elsewhere):
    """A text that stands in no file just so."""

    def __init__(self, anchor: Tree, text: str) -> None:
        self._anchor, self._made = anchor, text

    @property
    def kind(self) -> str:
        """``scalar``."""
        return "scalar"

    @property
    def start(self) -> int:
        """Where it comes from."""
        return self._anchor.start

    @property
    def end(self) -> int:
        """Behind that."""
        return self._anchor.end

    @property
    def value(self) -> str | None:
        """The text."""
        return self._made

    @property
    def text(self) -> Text:
        """The text, none of whose characters can be edited."""
        return Text(self._made, (self.start,) * len(self._made), (), False)


def _containers(node: Tree) -> Iterator[Tree]:
    waiting: Sequence[Tree] = [node]
    while waiting:
        here, waiting = waiting[0], waiting[1:]
        for key, value in here.items():
            if key.value == "containers" and value.kind == "list":
                yield from (one for one in value.list() if isinstance(one, Built) and one.pairs is not None)
            waiting = [*waiting, value]
        waiting = [*waiting, *(one for one in here.list() if one.kind != "scalar")]
