"""A log whose lines were wrapped on their way here, by a terminal, a mail, a pager: its lines put together again.

It knows no meaning, only where lines end and what lines begin with. The number of lines stays: what went on in other
lines stands in the first of them, and they are empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, takewhile

from planner.facts.wrapped import wrapped_facts
from planner.serve.log.frames import is_frame, is_source
from planner.serve.log.lines import begins_anew

_EXCEPTION = re.compile(r"(?:Error|Exception|Interrupt|Failure): \S|\b(?:ERROR|FATAL)\b|\berror: ")
_OWN_LINE = re.compile(
    r"\s*$|\s{2,}|\t|[-=+*~#]{3,}|[-+*#|│╭╰┌└❱>{]|(?:INFO|DEBUG|WARNING|ERROR|CRITICAL)\b|\[?\d{4}-\d\d-\d\d|"
    r"(?:Killed|Terminated|Aborted|Segmentation fault)|"
    r"(?:Traceback|During handling|The above exception|Process|Exception|Failed:|raise|return|File|Cell) ?|"
    r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Warning): |.*\d%\|"
)
"""How a line begins that does not go on from the one before it."""


def readings(log: bytes) -> Iterator[bytes]:
    """Yield the ways in which `log` may have been one before it was wrapped, the surest first.

    The first is `log` itself where too little shows that it was wrapped.

    >>> cut = b"ValueError: " + b"x" * 68 + b"\\n" + b"y" * 80 + b"\\nand z\\n"
    >>> first = next(readings(cut))
    >>> first.count(b"\\n"), first.split(b"\\n")[0][-7:]
    (3, b'yyand z')
    """
    if len(log) > wrapped_facts().screen.most_bytes:
        yield log
        return
    lines = [line.rstrip() for line in log.decode("utf-8", "surrogateescape").split("\n")]
    width = max(map(len, lines))
    ways = []
    if _may_be_a_screen(width):
        sure = _at_width(lines, width) or _at_blanks(lines, width)
        yield _joined(lines, sure) if sure else log
        cut = [at for at, line in enumerate(lines[:-1], 1) if len(line) >= width - 1 and not _is_own(lines[at])]
        ways = [dict.fromkeys(cut, ""), dict.fromkeys(cut, " "), dict.fromkeys(_soft(lines, width, width + 1), " ")]
    else:
        yield log
    alone = _of_exceptions(lines)
    for way in (*ways, dict.fromkeys(alone, " "), dict.fromkeys(alone, "")):
        if way:
            yield _joined(lines, way)


def _of_exceptions(lines: list[str]) -> list[int]:
    """Lines in which an exception's text goes on, though the lines around it may be wider than the screen."""
    found: list[int] = []
    most_pieces = wrapped_facts().evidence.most_pieces
    for at, line in enumerate(lines):
        if not _may_be_a_screen(len(line)) or _EXCEPTION.search(line) is None:
            continue
        run = [
            line,
            *takewhile(lambda one: one.strip() and not _is_own(one.strip()), lines[at + 1 : at + most_pieces]),
        ]
        width = max(map(len, run))
        last = next((n for n, pair in enumerate(pairwise(run)) if _had_room(*pair, width)), len(run) - 1)
        found += range(at + 1, at + last + 1)
    return found


def _may_be_a_screen(width: int) -> bool:
    screen = wrapped_facts().screen
    return screen.narrowest <= width <= screen.widest


def _had_room(line: str, after: str, width: int) -> bool:
    """Whether the first word of `after` would have fitted behind `line`."""
    return len(line) + 1 + len(after.split(None, 1)[0]) <= width


def _joined(lines: list[str], joints: dict[int, str]) -> bytes:
    whole = [*lines]
    most_pieces = wrapped_facts().evidence.most_pieces
    first = 0
    for index in range(1, len(lines)):
        if (between := joints.get(index)) is None or index - first >= most_pieces:
            first = index
        else:
            whole[first] += between + (lines[index].lstrip() if between else lines[index])
            whole[index] = ""
    return "\n".join(whole).encode("utf-8", "surrogateescape")


def _at_width(lines: list[str], width: int) -> dict[int, str]:
    """Line that goes on from the one before it → what stood between them, where lines were cut at one column."""
    facts = wrapped_facts().evidence
    full = [index for index, line in enumerate(lines[:-1], 1) if len(line) == width]
    goes_on = [index for index in full if not _is_own(lines[index])]
    # What several processes say alike is as wide, too.
    told = {lines[index - 1][-facts.told_apart :] for index in goes_on}
    if len(told) < facts.fewest_cuts or len(full) - len(goes_on) > facts.most_own_ends_share * len(full):
        return {}
    short = [index for index, line in enumerate(lines[:-1], 1) if len(line) == width - 1 and not _is_own(lines[index])]
    if 2 * len(_soft(lines, width, width - 1)) > len(goes_on):
        return {}
    return dict.fromkeys(goes_on, "") | dict.fromkeys(short, " ")


def _at_blanks(lines: list[str], width: int) -> dict[int, str]:
    """The same where lines were cut between words: the next word had no room."""
    facts = wrapped_facts().evidence
    found = _soft(lines, width, width + 1)
    short = (at for at in found if len(lines[at].split(" ", 1)[0]) < facts.long_word)
    told = {lines[at - 1][-facts.told_apart :] for at in short}
    others = sum(bool(line) and not _is_own(after) for line, after in pairwise(lines)) - len(found)
    return dict.fromkeys(found, " ") if len(told) >= facts.fewest_at_blanks and others <= len(found) else {}


def _soft(lines: list[str], width: int, below: int) -> list[int]:
    return [
        index
        for index, (line, after) in enumerate(pairwise(lines), 1)
        if 0 < len(line) < below and not _is_own(after) and not _had_room(line, after, width)
    ]


def _is_own(line: str) -> bool:
    return _OWN_LINE.match(line) is not None or begins_anew(line) or is_frame(line) or is_source(line)
