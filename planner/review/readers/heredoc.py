"""Here documents of a script: what it writes into other files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from planner.review.readers.shell import Scope, commands
from planner.review.text import Text, substituted

_OPENING = re.compile(r"<<(-?)[ \t]*(['\"]?)([A-Za-z_]\w*)\2[^\n]*\n")
_REPLACED = re.compile(r"\\([\\$`])|\\\n|\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_MOST = 50
_NOTHING = Text("", ())


def bodies(text: Text) -> Iterator[Text]:
    """Yield each as the shell writes it: without quotes around its mark, known variables have their values."""
    for opening in islice(_OPENING.finditer(text.value), _MOST):
        indent = r"\t*" if opening[1] else ""
        closing = re.compile(rf"^{indent}{opening[3]}[ \t]*$", re.MULTILINE).search(text.value, opening.end())
        if closing is None:
            continue
        body = text.cut(opening.end(), closing.start())
        yield body if opening[2] else _written(body, text.cut(0, opening.start()))


def _written(body: Text, before: Text) -> Text:
    scope = Scope()
    commands(before, scope)

    def value(match: re.Match[str], text: Text) -> Text:
        if match[0].startswith("\\"):
            return text.cut(1) if match[1] else _NOTHING
        words = scope.find(match[2] or match[3])
        return words[0] if words else text

    return substituted(body, _REPLACED, value)
