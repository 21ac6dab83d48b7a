"""Checks of variables that libraries beneath the engine read: torch, the hub's client, NCCL. It imports none of them.

Of Python's libraries their installed sources say which variables they make numbers of: whatever stands in ``int()``
there raises at import where it is none. What compiled libraries take is a table.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from hw_specs.reading import UnreadableInput, read_text
from planner.facts.preflight import preflight_facts
from planner.facts.review import variables
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight import sources
from planner.serve.preflight.subject import Subject

_NUMBERS = ("int", "float", "_as_int", "maybe_convert_int")
_WIDE = 0.75


def check_library_variables(subject: Subject) -> str | None:
    """Whether variables of torch, the hub's client and NCCL hold what those can read."""
    given, facts = subject.given, preflight_facts().library_variables
    for name, place in _as_numbers(subject):
        if not _is_number(given[name]):
            raise Failed(
                f"{name} is `{given[name][:60]}`, and {place} makes a number of it when it is imported",
                f"a number (1 for on, 0 for off), or unset {name}",
            )
    for name, value in sorted(given.items()):
        if name in facts.torch_switches and value.lower() not in facts.switch_words:
            raise Failed(f"{name} is `{value[:60]}`, and torch raises for it", f"1 or 0, or unset {name}")
        if name in facts.torch_numbers and not _is_number(value):
            raise Failed(f"{name} is `{value[:60]}`, not a number, and torch raises for it", f"unset {name}")
        if name in facts.ignored_numbers and not _is_number(value):
            raise Doubtful(f"{name} is `{value[:60]}`, not a number: it is passed over", f"a number, or unset {name}")
        if (words := facts.words.get(name)) is not None and (wrong := _strange(value, words)) is not None:
            raise Doubtful(
                f"{name} is `{value[:60]}`; `{wrong[:40]}` is not among its words: it is ignored or stops the start",
                f"some of {', '.join(word for word in words if word != '*')}, or unset {name}",
            )
    return None


def _as_numbers(subject: Subject) -> Iterator[tuple[str, str]]:
    """Variables that are set here and that a library's source makes a number of, with the file that does."""
    facts = preflight_facts().library_variables
    # Of the engine's own variables those of releases that were read have a check of their own.
    known = variables().variables
    named = [name for name in subject.given if name.startswith(facts.python_prefixes) and name not in known]
    if subject.order.in_container or not named:
        return
    for package, files in facts.python_files.items():
        folder = subject.sources(package)
        for file in files if folder is not None else ():
            found = _numbers_of(Path(folder or "") / file, named)
            yield from ((name, f"{package}/{file}") for name in named if name in found)


def _numbers_of(path: Path, named: list[str]) -> frozenset[str]:
    """Which of the names stand in a conversion to a number in the file."""
    try:
        text = read_text(path, most_bytes=sources.MOST_BYTES)
    except UnreadableInput:
        return frozenset()
    if not any(f'"{name}"' in text for name in named):
        return frozenset()
    tree = sources.module(path.parent, path.name)
    calls = [
        node
        for node in (ast.walk(tree) if tree is not None else ())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NUMBERS
    ]
    return frozenset().union(*(sources.words(node) for node in calls))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _strange(value: str, words: tuple[str, ...]) -> str | None:
    """A word of the list that is none of `words`; of a plugin's name that is like none of them nothing is said."""
    known = {word.lower() for word in words}
    for part in value.lower().replace(";", ",").split(","):
        word = part.rpartition(":")[2].strip().lstrip("^")
        if (
            word
            and word not in known
            and not word.isdecimal()
            and ("*" not in known or get_close_matches(word, known, n=1, cutoff=_WIDE))
        ):
            return word
    return None
