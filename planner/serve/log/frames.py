"""Frames of Python tracebacks, as Python, rich, IPython and Colab print them; it knows no cause."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_FRAME = re.compile(
    r'^\W*File "(?P<path>[^"]*)", line (?P<line>\d{1,9}), in (?P<function>\S+)'
    r"|^[ \t]*(?:File )?(?P<short>[~/.][^\s\":]*\.py):(?P<at>\d{1,9})(?:,)? in (?P<name>[^\s(]+)"  # IPython, rich
    r"|^[ \t]*\[(?P<linked>[^\]\s]+\.py)\]\(https?://[^)]*\) in (?P<called>[^\s(]+)"  # Colab
)
_SOURCE = ("❱", "-->", "--->", "---->", "Cell In")
"""What rich and IPython put before the line that was running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of a Python traceback."""

    path: str
    line: int
    """0 where it is not told."""
    function: str


def frames_of(lines: Iterable[str]) -> list[Frame]:
    """Return the frames in a traceback's lines, outermost first.

    >>> [(one.line, one.function) for one in frames_of(["File ~/vllm/llm.py:123, in LLM.__init__(self)"])]
    [(123, '__init__')]
    """
    found = (match for line in lines if (match := _FRAME.match(line)))
    return [
        Frame(
            path=match["path"] or match["short"] or match["linked"] or "",
            line=int(match["line"] or match["at"] or 0),
            function=(match["function"] or match["name"] or match["called"]).rpartition(".")[2],
        )
        for match in found
    ]


def is_frame(text: str) -> bool:
    """Whether a line is a frame."""
    return (".py" in text or "File " in text) and _FRAME.match(text) is not None


def is_source(text: str) -> bool:
    """Whether a line shows which line of a file was running, though it is not indented."""
    return text.startswith(_SOURCE)
