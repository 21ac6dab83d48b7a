"""Python files: ``vllm.LLM(...)`` and its relatives, read as a syntax tree; nothing is imported or run."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Literal

from planner.review.options import Arguments, Option, read_arguments
from planner.review.readers.image import pin_of
from planner.review.readers.launch import engine_words
from planner.review.readers.limits import Unreadable
from planner.review.server import Server, Variable
from planner.review.text import Source, Text, plain

_CALLS = frozenset({"LLM", "AsyncEngineArgs", "EngineArgs"})
_RAY = "LLMConfig"


def looks_like_python(text: str) -> bool:
    """Whether a text is Python that uses vLLM."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))


def servers_of(source: Source) -> list[Server]:
    """Return the engines that a Python file makes.

    Raises:
        Unreadable: when it is not Python.
    """
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        raise Unreadable(f"it is not Python: {error.msg}", _offset(source, error.lineno or 1, 0)) from None
    except (ValueError, RecursionError, MemoryError):
        raise Unreadable("it is not Python that can be read", 0) from None
    reader = _Reader(source)
    reader.visit(tree)
    # A release that the file itself installs: an image that it builds, the dependencies of a script.
    pinned = pin_of(plain(source.text, 0))
    return [replace(one, version=pinned) for one in reader.found]


def _offset(source: Source, line: int, column: int) -> int:
    """Offset of a place that ast gives in bytes of UTF-8."""
    line = max(1, min(line, len(source.starts)))
    start = source.starts[line - 1]
    text = source.line(line).encode()[:column].decode(errors="ignore")
    return start + len(text)


class _Reader(ast.NodeVisitor):
    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Server] = []
        self.names: dict[str, ast.expr | None] = {}
        self.env: dict[str, Variable] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remember what names mean, and what goes into the environment."""
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.names[target.id] = None if target.id in self.names else node.value
            elif isinstance(target, ast.Subscript) and ast.unparse(target.value) in ("os.environ", "environ"):
                key = self._value(target.slice)
                if isinstance(key, str):
                    self.env[key] = Variable(name=self._text(target.slice), value=self._text(node.value))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Take in a call that makes an engine."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _CALLS:
            self._engine(node)
        elif name == _RAY:
            self._ray(node)
        self.generic_visit(node)

    def visit_List(self, node: ast.List) -> None:
        """Take in an argument list that starts the engine as a process."""
        named = any(isinstance(item, ast.Constant) and "vllm" in str(item.value) for item in node.elts)
        words = [self._text(item) for item in node.elts] if named else []
        found = engine_words(words) if len(words) > 1 else None
        if found is not None:
            start, at = found
            self._take("Python argument list", words[at], replace(read_arguments(words[start:]), open_ended=()))
        self.generic_visit(node)

    def _engine(self, node: ast.Call) -> None:
        options: list[Option] = []
        model: Text | None = self._text(node.args[0]) if node.args else None
        for keyword in node.keywords:
            if keyword.arg is None:
                for (name, at), value in self._places(keyword.value):
                    model = self._option(name, at, value, options) or model
                continue
            at = plain(keyword.arg, _offset(self.source, keyword.lineno, keyword.col_offset))
            model = self._option(keyword.arg, at, keyword.value, options) or model
        self._take("Python LLM()", self._called(node), Arguments(options=tuple(options), model=model), entry="llm")

    def _called(self, node: ast.Call) -> Text:
        return plain(ast.unparse(node.func), _offset(self.source, node.lineno, node.col_offset))

    def _take(self, kind: str, at: Text, arguments: Arguments, *, entry: Literal["serve", "llm"] = "serve") -> None:
        server = Server(
            kind=kind, platform="python", name="", at=at, arguments=arguments, entry=entry, env=dict(self.env),
            editable="none",
        )  # fmt: skip
        self.found.append(server)

    def _ray(self, node: ast.Call) -> None:
        """Ray Serve's configuration: the engine's arguments stand in one of its own."""
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
        loading = dict(self._pairs(given.get("model_loading_config")))
        source = loading.get("model_source") or loading.get("model_id")
        options: list[Option] = []
        for (name, at), value in self._places(given.get("engine_kwargs")):
            self._option(name, at, value, options)
        model = self._text(source) if source is not None else None
        arguments = Arguments(options=tuple(options), model=model)
        self._take("Python LLMConfig()", self._called(node), arguments, entry="llm")
        more = self._pairs(dict(self._pairs(given.get("runtime_env"))).get("env_vars"))
        env = {name: Variable(name=self._text(value), value=self._text(value)) for name, value in more}
        self.found[-1] = replace(self.found[-1], env={**self.env, **env})

    def _pairs(self, node: ast.expr | None) -> list[tuple[str, ast.expr]]:
        """Keys and values of a dictionary, written in braces or as ``dict(...)``."""
        return [(name, value) for (name, _), value in self._places(node)]

    def _places(self, node: ast.expr | None) -> list[tuple[tuple[str, Text], ast.expr]]:
        if node is None:
            return []
        node = self._resolved(node)
        if isinstance(node, ast.Dict):
            return [
                ((str(name), self._text(key)), value)
                for key, value in zip(node.keys, node.values, strict=True)
                if key is not None and isinstance(name := self._value(key), str)
            ]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
            return [
                ((one.arg, plain(one.arg, _offset(self.source, one.lineno, one.col_offset))), one.value)
                for one in node.keywords
                if one.arg is not None
            ]
        return []

    def _option(self, name: str, at: Text, value: ast.expr, options: list[Option]) -> Text | None:
        if name == "model":
            return self._text(value)
        read = self._value(value)
        dashed = name.replace("_", "-")
        if isinstance(read, bool):
            options.append(Option(dashed, "", at, None, read))
        elif read is not None or not isinstance(self._resolved(value), ast.Constant):
            options.append(Option(dashed, "", at, self._text(value)))
        return None

    def _resolved(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Name) and self.names.get(node.id) is not None:
            found = self.names[node.id]
            assert found is not None
            return found
        return node

    def _value(self, node: ast.expr) -> object:
        try:
            return ast.literal_eval(self._resolved(node))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None

    def _text(self, node: ast.expr) -> Text:
        """The text of a constant at its place; an expression is unknown."""
        start = _offset(self.source, node.lineno, node.col_offset)
        value = self._value(node)
        end = _offset(self.source, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
        written = self.source.text[start:end]
        if value is None or isinstance(value, bool):
            unknown = () if isinstance(value, bool) else (written[:40] or "an expression",)
            return Text(written, tuple(range(start, start + len(written))), unknown)
        shown = value if isinstance(value, str) else _json(value)
        begin = start + 1 if written[:1] in "'\"" and isinstance(value, str) else start
        solid = shown in written
        return Text(shown, tuple(begin + min(i, max(0, len(written) - 1)) for i in range(len(shown))), (), solid)


def _json(value: object) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
