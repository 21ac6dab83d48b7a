"""Which of the settings that a start was given are about what failed: the first to try without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from planner.facts.engine_flags import flags_of
from planner.facts.log_lines import log_lines
from planner.serve.log.choice import root_block
from planner.serve.log.events import Event
from planner.serve.log.frames import frames_of

_GIVEN = re.compile(rb"non-default args: \{((?:(?!non-default args: ).){0,20000}?)\}\s*$", re.MULTILINE)
_NAME = re.compile(r"'(\w+)': ")
_OPENS, _CLOSES = "{[(", "}])"
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")
_NEAREST = 6
"""Frames of vLLM's code, from the innermost outwards, whose names are about the failure."""


def tried_without(log: bytes, events: Sequence[Event], text: str) -> tuple[str, ...]:
    """Return the flags that the start in `log` gave and whose names stand where it failed; `text` is what was raised.

    The names are looked for in the innermost frames of vLLM's code and in the words of the exception.
    """
    block = root_block(events)
    frames = [one for one in frames_of(block.lines) if "vllm/" in one.path][-_NEAREST:] if block is not None else []
    places = " ".join(f"{one.path.rpartition('vllm/')[2]} {one.function}" for one in frames)
    about = _words(f"{places} {block.exception if block is not None else ''} {text}")
    return tuple(flag for name, flag in _given(log) if _meant_by(name) & about)


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text)) - frozenset(log_lines().given.everywhere)


def _meant_by(name: str) -> frozenset[str]:
    alike = log_lines().given.alike
    words = _words(name)
    return words.union(*(alike[word] for word in words if word in alike))


def _given(log: bytes) -> Iterator[tuple[str, str]]:
    """Name and flag, as it was typed, of settings that differ from their default and that a start can do without."""
    said = _GIVEN.search(log)
    text = said[1].decode("utf-8", "replace") if said is not None else ""
    needed = log_lines().given.needed
    depth = at = 0
    for found in _NAME.finditer(text):
        between = text[at : found.start()]
        depth += sum(map(between.count, _OPENS)) - sum(map(between.count, _CLOSES))
        at = found.start()
        off = "no-" if text.startswith("False", found.end()) else ""
        flag = f"--{off}{found[1].replace('_', '-')}"
        if depth == 0 and found[1] not in needed and flags_of(None).find(flag) is not None:
            yield found[1], flag
