"""YAML nodes that stand in no file as they are: put together from others, and open to change."""

from __future__ import annotations

from collections.abc import Iterator

from planner.review.readers.tree import Elsewhere, Tree
from planner.review.text import Text, made


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


class Made(Elsewhere):
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
        return made(self._made, self.start)
