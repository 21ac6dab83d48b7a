"""Words of shell text: quoting, expansions and field splitting, each character with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from planner.review.text import Text, joined

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARGUMENT = re.compile(r"\d+:?-")
_DEEPEST = 12


@dataclass
class Scope:
    """Variables of one script: name to its words (one for a plain variable); None is assigned but not known."""

    values: dict[str, tuple[Text, ...] | None] = field(default_factory=dict)
    exported: dict[str, Text] = field(default_factory=dict)
    outside: Mapping[str, Text] = field(default_factory=dict)
    """What the surroundings (a unit, a manifest) set."""
    positional: tuple[Text, ...] | None = None
    """What ``$@`` stands for; None where that is the caller's."""
    parenthesised: bool = False
    """Whether ``$(NAME)`` is a variable, as Kubernetes has it."""
    beside: Callable[[str], str | None] | None = None
    """Returns the text of another file that is named; None where none is at hand."""
    exporting: bool = False
    """Whether every assignment is exported: ``set -a``."""
    files_left: int = 8
    """How many more files it may take in."""

    def find(self, name: str) -> tuple[Text, ...] | None:
        """The words of `name`; None where nothing says them."""
        if name in self.values:
            return self.values[name]
        value = self.outside.get(name)
        return None if value is None or not value.known else (value,)

    def knows(self, name: str) -> bool:
        """Whether the text assigns `name` at all."""
        return name in self.values or name in self.outside


class _Word:
    """A word under construction."""

    def __init__(self) -> None:
        self.parts: list[Text] = []
        self.quoted = False

    def add(self, part: Text) -> None:
        self.parts.append(part)

    @property
    def empty(self) -> bool:
        return not self.quoted and not any(part.value for part in self.parts)

    def done(self) -> Text:
        return joined(self.parts)


class WordReader:
    """Reads one word after another from a text, with the variables of a scope put in."""

    def __init__(self, text: Text, scope: Scope, nesting: int = 0) -> None:
        self.text, self.value, self.scope = text, text.value, scope
        self.at = 0
        self.nesting = nesting

    def array(self) -> tuple[Text, ...]:
        """Read the words of an array up to its closing bracket."""
        words: list[Text] = []
        while self.at < len(self.value):
            c = self.value[self.at]
            if c == ")":
                self.at += 1
                break
            if c == "#":
                end = self.value.find("\n", self.at)
                self.at = len(self.value) if end < 0 else end
            elif c in " \t\r\n" or (c == "\\" and self.value[self.at + 1 : self.at + 2] == "\n"):
                self.at += 1 if c != "\\" else 2
            else:
                before = self.at
                words += self.word()
                if self.at == before:
                    self.at += 1
        return tuple(words)

    def word(self, *, split: bool = True) -> list[Text]:
        """Read one word as it is written; expansions may make none or several of it."""
        found: list[Text] = []
        word = _Word()
        while self.at < len(self.value):
            c = self.value[self.at]
            if c in " \t\r\n;()|&<>":
                break
            if c == "\\":
                if self.value[self.at + 1 : self.at + 2] == "\n":
                    self.at += 2
                    continue
                word.add(self.text.cut(self.at + 1, self.at + 2))
                word.quoted = True
                self.at += 2
            elif c == "'":
                end = self.value.find("'", self.at + 1)
                end = len(self.value) if end < 0 else end
                word.add(self.text.cut(self.at + 1, end))
                word.quoted = True
                self.at = end + 1
            elif c == '"':
                word.quoted = True
                self._double(word, found)
            elif c in "$`":
                for index, part in enumerate(self._expansion()):
                    if index and not word.empty:
                        found.append(word.done())
                        word = _Word()
                    pieces = _fields(part) if split else [part]
                    for number, piece in enumerate(pieces):
                        if number:
                            if not word.empty:
                                found.append(word.done())
                            word = _Word()
                        word.add(piece)
            else:
                end = self.at
                while end < len(self.value) and self.value[end] not in " \t\r\n;()|&<>\\'\"$`":
                    end += 1
                word.add(self.text.cut(self.at, end))
                self.at = end
        if not word.empty:
            found.append(word.done())
        return found

    def _double(self, word: _Word, found: list[Text]) -> None:
        self.at += 1
        start = self.at
        while self.at < len(self.value) and self.value[self.at] != '"':
            c = self.value[self.at]
            if c == "\\" and self.value[self.at + 1 : self.at + 2] in ("\n", '"', "\\", "$", "`"):
                word.add(self.text.cut(start, self.at))
                if self.value[self.at + 1] != "\n":
                    word.add(self.text.cut(self.at + 1, self.at + 2))
                self.at += 2
                start = self.at
            elif c in "$`":
                word.add(self.text.cut(start, self.at))
                for index, part in enumerate(self._expansion()):
                    if index:
                        found.append(word.done())
                        word.parts = []
                    word.add(part)
                start = self.at
            else:
                self.at += 1
        word.add(self.text.cut(start, self.at))
        self.at += 1

    def _expansion(self) -> list[Text]:
        """Read ``$…`` or a command substitution; several texts for an array."""
        start = self.at
        rest = self.value[start:]
        if rest.startswith("`"):
            end = self.value.find("`", start + 1)
            self.at = len(self.value) if end < 0 else end + 1
            return [self._opaque(start)]
        if rest.startswith("${"):
            self.at = _closing(self.value, start + 1, "{", "}")
            return self._braced(start)
        if rest.startswith("$("):
            self.at = _closing(self.value, start + 1, "(", ")")
            inner = self.value[start + 2 : self.at - 1]
            if self.scope.parenthesised and NAME.fullmatch(inner):
                return self._variable(inner, start)
            return [self._opaque(start)]
        match = NAME.match(self.value, start + 1)
        if match is not None:
            self.at = match.end()
            return self._variable(match[0], start)
        if rest[1:2] and rest[1] in "@*#?$!-0123456789":
            self.at = start + 2
            if rest[1] in "@*" and self.scope.positional is not None:
                return list(self.scope.positional)
            return [self._opaque(start)]
        self.at = start + 1
        return [self.text.cut(start, start + 1)]

    def _opaque(self, start: int, name: str | None = None) -> Text:
        piece = self.text.cut(start, self.at)
        return Text(piece.value, piece.offsets, (name or piece.value,), piece.verbatim)

    def _variable(self, name: str, start: int) -> list[Text]:
        found = self.scope.find(name)
        return [self._opaque(start, name)] if found is None else list(found)

    def _braced(self, start: int) -> list[Text]:
        inner = self.value[start + 2 : self.at - 1]
        match = NAME.match(inner)
        if match is None:
            argument = _ARGUMENT.match(inner) if self.scope.positional is None else None
            # Whoever calls the script may give another one; mostly nobody does.
            return [self._opaque(start)] if argument is None else self._inner(start, argument.end())
        name, rest = match[0], inner[match.end() :]
        if rest in ("", "[@]", "[*]"):
            return self._variable(name, start)
        found = self.scope.find(name)
        if rest[:1] == ":" and rest[1:2] in ("-", "=", "?", "+"):
            rest = rest[1:]
        if rest[:1] not in ("-", "=", "?", "+"):
            return [self._opaque(start, name)]
        if rest[0] == "?":
            return self._variable(name, start)
        if rest[0] == "+":
            if found is not None:
                return self._inner(start, len(inner) - len(rest) + 1)
            return [self._opaque(start, name) if name in self.scope.values else self.text.cut(start, start)]
        if found is not None and found[0].value:
            return list(found)
        if found is None and name in self.scope.values:
            return [self._opaque(start, name)]
        return self._inner(start, len(inner) - len(rest) + 1)

    def _inner(self, start: int, skipped: int) -> list[Text]:
        """The text behind ``:-``, expanded in its turn."""
        inner = self.text.cut(start + 2 + skipped, self.at - 1)
        if self.nesting >= _DEEPEST:
            return [self._opaque(start)]
        reader = WordReader(inner, self.scope, self.nesting + 1)
        parts = []
        while reader.at < len(inner.value):
            before = reader.at
            parts += reader.word(split=False)
            if reader.at == before or inner.value[reader.at : reader.at + 1].isspace():
                parts.append(inner.cut(reader.at, reader.at + 1))
                reader.at += 1
        return [joined(parts)]


def _fields(part: Text) -> Sequence[Text]:
    """Split an unquoted expansion at its blanks, as a shell does."""
    if part.unknown or not any(c.isspace() for c in part.value):
        return [part]
    found: list[Text] = []
    start = 0
    for match in re.finditer(r"\s+", part.value):
        found.append(part.cut(start, match.start()))
        start = match.end()
    return [*found, part.cut(start)]


def _closing(value: str, start: int, opening: str, closing: str) -> int:
    """Offset behind the bracket that closes the one at `start`; the end of the text where none does."""
    depth, quote, index = 0, "", start
    while index < len(value):
        c = value[index]
        if c == "\\":
            index += 1
        elif quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == opening:
            depth += 1
        elif c == closing:
            depth -= 1
            if depth == 0:
                return index + 1
        index += 1
    return len(value)
