"""Shell text, read and never run: words with their places, assignments, and what stays unknown.

It knows quoting, line continuation, comments, assignments (arrays too), parameter expansion with defaults, here
documents and the operators between commands. A variable is known when the text assigns it outside of a branch;
everything else (command substitution, arguments, the caller's environment) is named as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from planner.review.text import Text, joined

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)")
_OPENERS = frozenset({"if", "for", "while", "until", "case", "select"})
_CLOSERS = frozenset({"fi", "done", "esac"})
_SKIPPED = frozenset({"then", "do", "else", "elif", "{", "}", "!", "time", "function"})
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command."""

    words: tuple[Text, ...]
    assignments: tuple[tuple[str, Text], ...]
    """``NAME=value`` in front of it."""


@dataclass
class Scope:
    """Variables of one script: name to its words (one for a plain variable); None is assigned but not known."""

    values: dict[str, tuple[Text, ...] | None] = field(default_factory=dict)
    exported: dict[str, Text] = field(default_factory=dict)
    outside: Mapping[str, Text] = field(default_factory=dict)
    """What the surroundings (a unit, a manifest) set."""
    parenthesised: bool = False
    """Whether ``$(NAME)`` is a variable, as Kubernetes has it."""

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


def commands(text: Text, scope: Scope | None = None) -> list[Command]:
    """Return the simple commands of `text` in the order in which they stand."""
    return list(_Reader(text, scope if scope is not None else Scope()).read())


class _Reader:
    def __init__(self, text: Text, scope: Scope, nesting: int = 0) -> None:
        self.text, self.value, self.scope = text, text.value, scope
        self.at = 0
        self.depth = 0
        self.nesting = nesting
        self.heredocs: list[tuple[str, bool]] = []

    def read(self) -> Iterator[Command]:
        while self.at < len(self.value):
            words, assignments = self._simple()
            if words or assignments:
                yield from self._finish(words, assignments)

    # A simple command ends at an operator or the end of its line.
    def _simple(self) -> tuple[list[Text], list[tuple[str, tuple[Text, ...] | None, bool]]]:
        words: list[Text] = []
        assignments: list[tuple[str, tuple[Text, ...] | None, bool]] = []
        redirect = False
        while self.at < len(self.value):
            c = self.value[self.at]
            if c in " \t\r":
                self.at += 1
            elif c == "\\" and self.value[self.at + 1 : self.at + 3] == "\r\n":
                self.at += 3
            elif c == "\\" and self.value[self.at + 1 : self.at + 2] == "\n":
                self.at += 2
            elif c == "\n":
                self.at += 1
                self._skip_heredocs()
                break
            elif c == "#":
                end = self.value.find("\n", self.at)
                self.at = len(self.value) if end < 0 else end
            elif c in ";()":
                self.at += 1
                break
            elif c == "&" and self.value[self.at + 1 : self.at + 2] == ">":
                self.at += 2
                redirect = True
            elif c in "|&":
                self.at += 1
                break
            elif c in "<>":
                redirect = self._redirection() or redirect
            else:
                if redirect:
                    self._word()
                    redirect = False
                    continue
                if not words and (found := self._assignment()) is not None:
                    assignments.append(found)
                    continue
                before = self.at
                for word in self._word():
                    if word.value.isdigit() and self.value[self.at : self.at + 1] in ("<", ">"):
                        continue  # 2>&1
                    if not words and word.value in _OPENERS | _CLOSERS | _SKIPPED and word.verbatim:
                        self._keyword(word.value)
                        continue
                    words.append(word)
                if self.at == before:
                    self.at += 1
        return words, assignments

    def _keyword(self, word: str) -> None:
        if word in _OPENERS:
            self.depth += 1
        elif word in _CLOSERS:
            self.depth = max(0, self.depth - 1)

    def _redirection(self) -> bool:
        """Step over ``<``, ``>``, ``>>``, ``>&``, ``<<``, ``<<<``; whether a word follows that is no argument."""
        rest = self.value[self.at :]
        if rest.startswith("<<<"):
            self.at += 3
            return True
        if rest.startswith("<<"):
            self.at += 3 if rest.startswith("<<-") else 2
            while self.value[self.at : self.at + 1] in (" ", "\t"):
                self.at += 1
            end = next(iter(self._word()), None)
            if end is not None:
                self.heredocs.append((end.value, rest.startswith("<<-")))
            return False
        self.at += 1
        while self.value[self.at : self.at + 1] in (">", "&", "|"):
            self.at += 1
        return True

    def _skip_heredocs(self) -> None:
        for mark, tabs in self.heredocs:
            while self.at < len(self.value):
                end = self.value.find("\n", self.at)
                end = len(self.value) if end < 0 else end
                line = self.value[self.at : end]
                self.at = min(end + 1, len(self.value))
                if (line.lstrip("\t") if tabs else line) == mark:
                    break
        self.heredocs.clear()

    def _assignment(self) -> tuple[str, tuple[Text, ...] | None, bool] | None:
        match = _ASSIGNMENT.match(self.value, self.at)
        if match is None:
            return None
        self.at = match.end()
        more = match[2] == "+="
        if self.value[self.at : self.at + 1] == "(":
            self.at += 1
            return match[1], self._array(), more
        word = self._word(split=False)
        return match[1], (word[0] if word else Text("", (match.start(),)[:0]),), more

    def _array(self) -> tuple[Text, ...]:
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
                words += self._word()
                if self.at == before:
                    self.at += 1
        return tuple(words)

    def _word(self, *, split: bool = True) -> list[Text]:
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
            if self.scope.parenthesised and _NAME.fullmatch(inner):
                return self._variable(inner, start)
            return [self._opaque(start)]
        match = _NAME.match(self.value, start + 1)
        if match is not None:
            self.at = match.end()
            return self._variable(match[0], start)
        if rest[1:2] and rest[1] in "@*#?$!-0123456789":
            self.at = start + 2
            return [self._opaque(start)]
        self.at = start + 1
        return [self.text.cut(start, start + 1)]

    def _opaque(self, start: int, name: str | None = None) -> Text:
        piece = self.text.cut(start, self.at)
        return Text(piece.value, piece.offsets, (name or piece.value,), piece.verbatim)

    def _variable(self, name: str, start: int) -> list[Text]:
        found = self.scope.find(name)
        return [self._opaque(start, name)] if found is None else [_elsewhere(one) for one in found]

    def _braced(self, start: int) -> list[Text]:
        inner = self.value[start + 2 : self.at - 1]
        match = _NAME.match(inner)
        if match is None:
            return [self._opaque(start)]
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
            return [self._opaque(start, name)] if found is None else self._inner(start, len(inner) - len(rest) + 1)
        if found is not None and found[0].value:
            return [_elsewhere(one) for one in found]
        if found is None and name in self.scope.values:
            return [self._opaque(start, name)]
        return self._inner(start, len(inner) - len(rest) + 1)

    def _inner(self, start: int, skipped: int) -> list[Text]:
        """The text behind ``:-``, expanded in its turn."""
        inner = self.text.cut(start + 2 + skipped, self.at - 1)
        if self.nesting >= _DEEPEST:
            return [self._opaque(start)]
        reader = _Reader(inner, self.scope, self.nesting + 1)
        parts = []
        while reader.at < len(inner.value):
            before = reader.at
            parts += reader._word(split=False)
            if reader.at == before or inner.value[reader.at : reader.at + 1].isspace():
                parts.append(inner.cut(reader.at, reader.at + 1))
                reader.at += 1
        return [joined(parts)]

    def _finish(
        self, words: list[Text], assignments: list[tuple[str, tuple[Text, ...] | None, bool]]
    ) -> Iterator[Command]:
        if words and words[0].value in ("export", "declare", "local", "readonly", "typeset"):
            for word in words[1:]:
                name, value = word.partition("=")
                if value is not None and _NAME.fullmatch(name.value):
                    self._assign(name.value, (value,), more=False)
                    self.scope.exported[name.value] = value
                elif self.scope.values.get(name.value):
                    self.scope.exported[name.value] = (self.scope.values[name.value] or (name,))[0]
            return
        if not words:
            for name, value, more in assignments:
                self._assign(name, value, more=more)
            return
        if words[0].value in ("unset",):
            for word in words[1:]:
                self.scope.values.pop(word.value, None)
            return
        if words[0].value in ("read", "for") and len(words) > 1:
            self.scope.values[words[1].value] = None
        pairs = tuple((name, value[0]) for name, value, _ in assignments if value)
        yield Command(tuple(words), pairs)

    def _assign(self, name: str, value: tuple[Text, ...] | None, *, more: bool) -> None:
        before = self.scope.values.get(name)
        if self.depth:
            same = before is not None and value is not None and [t.value for t in before] == [t.value for t in value]
            self.scope.values[name] = before if same else None
        elif more and value is not None:
            if before is None:
                self.scope.values[name] = None if name in self.scope.values else value
            elif len(value) == 1 and len(before) == 1 and value[0].value[:1] in (" ", ""):
                self.scope.values[name] = (joined((*before, *value)),)
            else:
                self.scope.values[name] = (*before, *value)
        else:
            self.scope.values[name] = value


def _elsewhere(text: Text) -> Text:
    """A value where it is used: it keeps the place where it was written."""
    return text


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
