"""Which characters a stream gets: none that steers a terminal, and plain twins of marks that its encoding lacks.

Names, logs, servers and files are other people's words. A control character among them could move the cursor or set
the title, a bidirectional one could make a line read as another; they are shown as a mark that stands for them. Our own
colours travel as tokens that cannot be guessed, and become control characters on the way out. It writes nothing.
"""

from __future__ import annotations

import os
import re

UNBROKEN = "\N{NON-BREAKING HYPHEN}"
"""Stands for ``-`` while click wraps a help page: a flag that is cut in two cannot be copied."""

_MARK = "\ufffd"
# Expressions are compiled where they are needed: most text has nothing to hide.
_STEERING = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Control characters but tab and line end, and what turns, joins or hides the characters around it."""

_TOKEN = os.urandom(8).hex()
_CODED = f"<{_TOKEN}:([0-9;]*)>"


def coloured(text: str, code: str) -> str:
    """Return `text` that :func:`harmless` will colour with the SGR `code`."""
    return f"<{_TOKEN}:{code}>{text}<{_TOKEN}:0>"


def harmless(text: str) -> str:
    """Return `text` without a character that steers a terminal, but our own colours.

    >>> harmless("a\\x1b[31mb\\u202ec\\n")
    'a\ufffd[31mb\ufffdc\\n'
    """
    if not text.replace("\n", "").isprintable():
        text = re.sub(_STEERING, _MARK, text)
    return re.sub(_CODED, "\x1b[\\1m", text) if _TOKEN in text else text


def escaped(json_text: str) -> str:
    """Return a JSON document with such characters escaped, so that its strings stay what they are."""
    return re.sub(_STEERING, _escape, json_text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number > 0xFFFF:
        high, low = divmod(number - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\u{number:04x}"


PLAIN = {
    "█": "#",
    "▓": "=",
    "▒": "+",
    "░": "-",
    "·": ".",
    "│": "|",
    "─": "-",
    "●": "*",
    "○": "o",
    "✓": "+",
    "✗": "x",
    "→": "->",
    "↔": "<->",
    "±": "+-",
    "≈": "~",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "–": "-",
    "—": "-",
    "…": "...",
    "’": "'",
    "“": '"',
    "”": '"',
    "├": "|",
    "└": "`",
    "▌": "|",
    "\u00a0": " ",
    "\ufffd": "?",
}
"""Mark → what stands for it where a stream's encoding lacks it."""


def encodable(text: str, encoding: str | None) -> str:
    """Return `text` in characters that `encoding` has; unknown ones become ``?``. None is UTF-8.

    >>> encodable("██░ → 5", "ascii"), encodable("██░", "utf-8")
    ('##- -> 5', '██░')
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = "".join(PLAIN.get(mark, mark) if not _has(mark, encoding) else mark for mark in text)
        return plain.encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "replace").decode("ascii")
    return text


def _has(mark: str, encoding: str) -> bool:
    try:
        mark.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
