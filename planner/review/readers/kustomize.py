"""Kustomizations: the base in the artefact's own folder with the patches and images that change it.

What ``kubectl kustomize`` would make of it, as far as servers are concerned: strategic merges, JSON patches (RFC 6902)
and images. A base that is not at hand, and a target that cannot be told, are named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from planner.review.readers.built import Built, Made
from planner.review.readers.limits import Unreadable
from planner.review.readers.tree import Elsewhere, Tree, documents
from planner.review.text import Source, Text, made

_Beside = Callable[[str], str | None]
_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_DEEPEST = 4
_MOST_FILES = 50
"""How many files one build reads, all folders together."""
_MOST_ASKED = 10
_LONGEST_INDEX = 9
_LONGEST_PATTERN, _LONGEST_NAME = 256, 253
_MOST_REPEATS = 2
_MERGE_KEYS = {
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
}
"""What tells the members of a list apart, where a strategic merge merges and does not replace; ``name`` elsewhere."""
_FIELDS = frozenset((
    "apiVersion", "kind", "metadata", "resources", "bases", "components", "crds", "namePrefix", "nameSuffix",
    "namespace", "commonLabels", "labels", "commonAnnotations", "patches", "patchesStrategicMerge", "patchesJson6902",
    "replicas", "images", "imageTags", "replacements", "vars", "configMapGenerator", "secretGenerator",
    "generatorOptions", "configurations", "generators", "transformers", "validators", "helmCharts", "helmGlobals",
    "helmChartInflationGenerator", "openapi", "inventory", "buildMetadata", "sortOptions",
))  # fmt: skip
"""Every key that a kustomization may have: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/."""
_Asked = list[tuple[Text, str]]


def is_kustomization(root: Tree) -> bool:
    """Whether a document is one, which need not say so."""
    if root.string("kind") in ("Kustomization", "Component"):
        return True
    resources = root.get("resources")
    listed = resources is not None and resources.kind == "list"
    unsaid = root.get("kind") is None and root.get("apiVersion") is None
    return listed and unsaid and all(key.value in _FIELDS for key, _ in root.items())


def resources_of(root: Tree, beside: _Beside) -> tuple[list[Tree], _Asked]:
    """Return the objects that a kustomization makes, and what it names that is not at hand."""
    build = _Build(beside)
    found = build.folder(root, (".",))
    return found, build.missing


@dataclass
class _Build:
    """One build: how many files it may still read, and what it lacks."""

    beside: _Beside
    left: int = _MOST_FILES
    missing: _Asked = field(default_factory=list)

    def ask(self, at: Text, what: str) -> None:
        """Note what is not at hand."""
        if len(self.missing) < _MOST_ASKED:
            self.missing.append((at, what))

    def read(self, *paths: str) -> str | None:
        """The first of some files that is at hand, as long as the build may read on."""
        if self.left <= 0:
            return None
        self.left -= 1
        return next((text for path in paths if (text := self.beside(path)) is not None), None)

    def folder(self, root: Tree, folders: tuple[str, ...]) -> list[Tree]:
        """The objects of one kustomization; `folders` are those that led to it, its own last."""
        found: list[Tree] = []
        for one in [one for key in ("resources", "bases", "components") for one in root.each(key)]:
            path = _path(folders[-1], one.value or "")
            content = self.read(path)
            if content is not None:
                found += [Built.of(tree) for tree in _documents(content, one.start) if tree.kind == "map"]
                continue
            inner = None
            if path not in folders and len(folders) <= _DEEPEST:
                inner = self.read(*(_path(path, name) for name in _FILES))
            roots = _documents(inner, one.start) if inner is not None else []
            if not roots:
                self.ask(one.text, f"the objects of `{(one.value or '')[:80]}`")
            for tree in roots:
                found += self.folder(tree, (*folders, path))
        charts = root.key("helmCharts")
        if charts is not None:
            self.ask(charts, "the objects of its Helm charts")
        self._patch_all(root, found, folders[-1])
        for change in root.each("images"):
            for obj in found:
                _set_image(obj, change)
        return found

    def _patch_all(self, root: Tree, found: list[Tree], folder: str) -> None:
        for key in ("patchesStrategicMerge", "patches", "patchesJson6902"):
            for one in islice(root.each(key), _MOST_FILES):
                inline = one.get("patch") if one.kind == "map" else one if "\n" in (one.value or "") else None
                named = one.get("path") if one.kind == "map" else one
                text = inline.value if inline is not None else None
                place = inline if inline is not None else named
                if text is None and named is not None:
                    text = self.read(_path(folder, named.value or ""))
                    if text is None:
                        self.ask(named.text, f"the changes of `{(named.value or '')[:80]}`")
                if text is None or place is None:
                    continue
                target = one.get("target") if one.kind == "map" else None
                try:
                    for tree in _documents(text, place.start):
                        _patch(tree, target, found)
                except _NotKnown as error:
                    at = target.text if target is not None else place.text
                    self.ask(at, f"the objects that `{str(error)[:80]}` selects")


class _NotKnown(Exception):
    """A target whose objects cannot be told."""


def _path(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name)) if name else ""


def _documents(content: str, place: int) -> list[Tree]:
    try:
        return [Elsewhere.of(tree, place) for tree in documents(Source(content))]
    except Unreadable:
        return []


def _patch(patch: Tree, target: Tree | None, found: list[Tree]) -> None:
    """Change the objects that a patch is for; one that it deletes leaves `found`.

    Raises:
        _NotKnown: for a target that selects in a way that is not read here.
    """
    for obj in [one for one in found if isinstance(one, Built) and one.pairs is not None]:
        if target is not None:
            if not _selects(target, obj):
                continue
        elif patch.kind != "map" or not _is_for(patch, obj):
            continue
        if patch.kind == "list":
            for step in patch.list():
                _step(obj, step)
        elif patch.string("$patch") == "delete":
            found[:] = [one for one in found if one is not obj]
        elif patch.kind == "map":
            _merge_object(obj, patch)


def _is_for(patch: Tree, obj: Tree) -> bool:
    """Whether a patch without a target names an object, which takes kind and name."""
    return all(
        patch.string(*path) is not None and patch.string(*path) == obj.string(*path)
        for path in (("kind",), ("metadata", "name"))
    )


def _selects(target: Tree, obj: Tree) -> bool:
    """Whether a target is an object's: its kind, name, labels and annotations."""
    return all(
        [
            *(_fits(target.string(path[-1]), obj.string(*path)) for path in (("kind",), ("metadata", "name"))),
            *(_has(target.string(f"{key}Selector"), obj.get("metadata", f"{key}s")) for key in ("label", "annotation")),
        ]
    )


def _fits(pattern: str | None, name: str | None) -> bool:
    """Whether a name is what an anchored regular expression says.

    Kustomize's engine takes linear time, ours does not: an expression that could take long is not tried.
    """
    if not pattern:
        return True
    repeats = len(re.findall(r"[*+?{]", pattern))
    if len(pattern) > _LONGEST_PATTERN or repeats > _MOST_REPEATS or re.search(r"\)[*+?{]|\(\?|\\\d", pattern):
        raise _NotKnown(pattern)
    try:
        return re.fullmatch(pattern, (name or "")[:_LONGEST_NAME]) is not None
    except (re.error, OverflowError, RecursionError):
        raise _NotKnown(pattern) from None


def _has(selector: str | None, labels: Tree | None) -> bool:
    """Whether labels are what a selector of equalities says."""
    for part in (selector or "").split(",") if selector else ():
        said = re.fullmatch(r"\s*([\w./-]+)\s*(!=|==?)\s*([\w.-]*)\s*", part)
        if said is None:
            raise _NotKnown(selector)
        value = labels.member(said[1]) if labels is not None else None
        same = value is not None and (value.value or "") == said[3]
        if same == (said[2] == "!="):
            return False
    return True


def _merge_object(obj: Built, patch: Tree) -> None:
    """Merge a patch into an object, which keeps its kind and name whatever the patch is called."""
    assert obj.pairs is not None
    kind, metadata = obj.pairs.get("kind"), obj.get("metadata")
    name = (metadata.pairs or {}).get("name") if isinstance(metadata, Built) else None
    _merge(obj, patch)
    after = obj.get("metadata")
    if kind is not None:
        obj.pairs["kind"] = kind
    if name is not None and isinstance(after, Built) and after.pairs is not None:
        after.pairs["name"] = name


def _merge(base: Built, patch: Tree) -> None:
    """Put a strategic merge patch into a mapping."""
    assert base.pairs is not None
    for key, value in patch.items():
        before = base.pairs.get(key.value, (key, None))[1]
        if (value.kind == "scalar" and value.value is None) or value.string("$patch") == "delete":
            base.pairs.pop(key.value, None)
        elif isinstance(before, Built) and before.kind == value.kind == "map" and value.string("$patch") != "replace":
            _merge(before, value)
        elif isinstance(before, Built) and before.kind == value.kind == "list" and _merges(key.value, before, value):
            _merge_list(key.value, before, value)
        else:
            base.pairs[key.value] = (key, Built.of(value))


def _merges(name: str, before: Built, value: Tree) -> bool:
    members = [*before.list(), *value.list()]
    return all(one.kind == "map" for one in members) and any(_identity(name, one) is not None for one in value.list())


def _identity(name: str, one: Tree) -> tuple[str, str] | None:
    keys = _MERGE_KEYS.get(name, ("name",))
    return next(((key, text) for key in keys if (text := one.string(key)) is not None), None)


def _merge_list(name: str, base: Built, patch: Tree) -> None:
    assert base.members is not None
    for one in patch.list():
        who = _identity(name, one)
        same = next((index for index, other in enumerate(base.members) if who and _identity(name, other) == who), None)
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
            index = _index(part)
            here = here.members[index] if 0 <= index < len(here.members) else None
        elif here is not None:
            here = here.get(part)
    if not isinstance(here, Built) or not parts or how not in ("add", "replace", "remove"):
        return
    last, new = parts[-1], Built.of(value) if value is not None and how != "remove" else None
    if here.pairs is not None:
        key = here.key(last) or (value.text if value is not None else Text("", (here.start,)))
        here.pairs.pop(last, None)
        if new is not None:
            here.pairs[last] = (made(last, key.start), new)
    elif here.members is not None:
        index = len(here.members) if last == "-" else _index(last)
        if how != "add" and 0 <= index < len(here.members):
            here.members.pop(index)
        if new is not None and 0 <= index <= len(here.members):
            here.members.insert(index, new)


def _index(part: str) -> int:
    """The place that a part of a path names; -1 for one that no list has."""
    return int(part) if part.isascii() and part.isdecimal() and len(part) <= _LONGEST_INDEX else -1


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
        container.pairs["image"] = (container.pairs["image"][0], Made(change, text))


def _containers(node: Tree) -> Iterator[Tree]:
    waiting = [node]
    while waiting:
        here = waiting.pop()
        for key, value in here.items():
            if key.value == "containers" and value.kind == "list":
                yield from (one for one in value.list() if isinstance(one, Built) and one.pairs is not None)
            waiting.append(value)
        waiting += [one for one in here.list() if one.kind != "scalar"]
