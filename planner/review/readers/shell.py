"""Shell text, read and never run: words with their places, assignments, and what stays unknown.

It knows quoting, line continuation, comments, assignments (arrays too), parameter expansion with defaults, here
documents and the operators between commands. A variable is known when the text assigns it outside of a branch;
everything else (command substitution, arguments, the caller's environment) is named as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from planner.rendering.secrets import is_secret_name
from planner.review.readers.shell_words import NAME, Scope, WordReader
from planner.review.text import Text, joined, made

__all__ = ["Command", "Scope", "commands", "each_command", "veiled"]

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)")
_PLACEHOLDER = re.compile(r"<[A-Za-z](?:[\w .:/-]{0,60}\w)?>(?=[\s\\'\"]|$)")
"""``<your model>``: what stands in a page for what the reader puts there, and no redirection."""
_LONGEST_SOURCED = 1 << 15
_OPENERS = frozenset({"if", "for", "while", "until", "case", "select"})
_CLOSERS = frozenset({"fi", "done", "esac"})
_SKIPPED = frozenset({"then", "do", "else", "elif", "{", "}", "!", "time", "function"})


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command."""

    words: tuple[Text, ...]
    assignments: tuple[tuple[str, Text], ...]
    """``NAME=value`` in front of it."""


def commands(text: Text, scope: Scope | None = None) -> list[Command]:
    """Return the simple commands of `text` in the order in which they stand."""
    return list(each_command(text, scope if scope is not None else Scope()))


def each_command(text: Text, scope: Scope) -> Iterator[Command]:
    """Yield them one by one, while `scope` holds what is assigned up to there."""
    yield from _Reader(text, scope).read()


def veiled(values: Mapping[str, Text]) -> dict[str, Text]:
    """The values of a file that keeps them, without its secrets: there they belong, and nobody is to see them."""
    return {
        name: made(f"${name}", value.start, (name,)) if is_secret_name(name) and value.value else value
        for name, value in values.items()
    }


class _Reader(WordReader):
    def __init__(self, text: Text, scope: Scope) -> None:
        super().__init__(text, scope)
        self.depth = 0
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
            elif (standing := _PLACEHOLDER.match(self.value, self.at)) is not None:
                words.append(replace(self.text.cut(self.at, standing.end()), unknown=(standing[0],)))
                self.at = standing.end()
            elif c in "<>":
                redirect = self._redirection() or redirect
            else:
                if redirect:
                    self.word()
                    redirect = False
                    continue
                if not words and (found := self._assignment()) is not None:
                    assignments.append(found)
                    continue
                before = self.at
                for word in self.word():
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
        """Step over ``<``, ``>``, ``>>``, ``>&``, ``<<``, ``<<<``; whether a word follows that is not an argument."""
        rest = self.value[self.at :]
        if rest.startswith("<<<"):
            self.at += 3
            return True
        if rest.startswith("<<"):
            self.at += 3 if rest.startswith("<<-") else 2
            while self.value[self.at : self.at + 1] in (" ", "\t"):
                self.at += 1
            end = next(iter(self.word()), None)
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
            return match[1], self.array(), more
        word = self.word(split=False)
        if more and self.depth and word and word[0].value[:1] not in (" ", ""):
            # A text that a branch makes longer, and not by words of its own.
            return match[1], None, False
        return match[1], (word[0] if word else Text("", (match.start(),)[:0]),), more

    def _finish(
        self, words: list[Text], assignments: list[tuple[str, tuple[Text, ...] | None, bool]]
    ) -> Iterator[Command]:
        if words and words[0].value in ("export", "declare", "local", "readonly", "typeset"):
            for word in words[1:]:
                name, value = word.partition("=")
                if value is not None and NAME.fullmatch(name.value):
                    self._assign(name.value, (value,), more=False)
                    self.scope.exported[name.value] = value
                elif self.scope.values.get(name.value):
                    self.scope.exported[name.value] = (self.scope.values[name.value] or (name,))[0]
            return
        if not words:
            for assigned, parts, more in assignments:
                self._assign(assigned, parts, more=more)
            return
        if words[0].value in ("unset",):
            for word in words[1:]:
                self.scope.values.pop(word.value, None)
            return
        if words[0].value == "set":
            self._set(words[1:])
        if words[0].value in ("source", ".") and len(words) > 1:
            self._source(words[1])
            return
        if words[0].value in ("read", "for") and len(words) > 1:
            self.scope.values[words[1].value] = None
        pairs = tuple((name, value[0]) for name, value, _ in assignments if value)
        yield Command(tuple(words), pairs)

    def _set(self, words: list[Text]) -> None:
        """``set -a`` and ``set -o allexport`` export every assignment that follows."""
        for index, word in enumerate(words):
            long = word.value in ("-o", "+o") and index + 1 < len(words) and words[index + 1].value == "allexport"
            if long or (word.value[:1] in ("-", "+") and "a" in word.value[1:] and word.value[1:2] != "-"):
                self.scope.exporting = word.value.startswith("-")

    def _source(self, file: Text) -> None:
        """Take over what another file assigns, at the place where it is named."""
        scope = self.scope
        if scope.beside is None or scope.files_left < 1 or not file.known:
            return
        scope.files_left -= 1
        content = scope.beside(file.value)
        if content is None or len(content) > _LONGEST_SOURCED:
            return
        inner = replace(scope, values=dict(scope.values), exported=dict(scope.exported))
        for _ in each_command(made(content, file.start), inner):
            pass
        scope.files_left, scope.exporting = inner.files_left, inner.exporting
        for name, words in inner.values.items():
            if name not in scope.values or scope.values[name] is not words:
                scope.values[name] = tuple(veiled({name: word})[name] for word in words) if words else words
        new = {name: value for name, value in inner.exported.items() if scope.exported.get(name) is not value}
        scope.exported.update(veiled(new))

    def _assign(self, name: str, value: tuple[Text, ...] | None, *, more: bool) -> None:
        self._set_value(name, value, more=more)
        now = self.scope.values.get(name)
        if self.scope.exporting and now:
            self.scope.exported[name] = now[0]

    def _set_value(self, name: str, value: tuple[Text, ...] | None, *, more: bool) -> None:
        before = self.scope.values.get(name)
        if self.depth:
            same = before is not None and value is not None and [t.value for t in before] == [t.value for t in value]
            if more and before is not None and value:
                # What was there stays; what the branch adds is perhaps there.
                value = (made(f"${name}", value[0].start, (name,)),)
                self.scope.values[name] = (*before, *value)
            else:
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
