"""Which characters a stream can take: the marks of pictures and tables have plain twins. It writes nothing."""

from __future__ import annotations

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
